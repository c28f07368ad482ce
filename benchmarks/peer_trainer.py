"""A peer for texts: Hugging Face Trainer, as a practitioner writes it. Trains every layer; prints one line of JSON.

AutoModelForSequenceClassification, batches of 16 padded to their longest text (256 tokens at most), 3 epochs at 5e-5,
the other settings of Trainer as they come; validation rows are left alone. Measured with transformers 5.23, accelerate
1.15, datasets 5.2 and torch 2.13 (CPU). Seconds are those of tokenization and training, without loading. --threads is
for torch alone; bind the process to cores (taskset) to bind the tokenizer too.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

RATE, BATCH, LENGTH = 5e-5, 16, 256


def main(data: Path, model: Path, seed: int, epochs: int, threads: int | None, group_by_length: bool) -> None:
    if threads:
        torch.set_num_threads(threads)
    splits = json.loads(data.read_text())
    set_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForSequenceClassification.from_pretrained(model, num_labels=len(splits["class_names"]))

    def tokenize(split: dict[str, list]) -> Dataset:
        rows = Dataset.from_dict({"text": split["texts"], "label": split["labels"]})
        return rows.map(lambda batch: tokenizer(batch["text"], truncation=True, max_length=LENGTH), batched=True)

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=epochs,
            learning_rate=RATE,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=BATCH,
            train_sampling_strategy="group_by_length" if group_by_length else "random",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=seed,
        )
        started = time.perf_counter()
        trainer = Trainer(
            model=network,
            args=arguments,
            train_dataset=tokenize(splits["train"]),
            processing_class=tokenizer,
            data_collator=DataCollatorWithPadding(tokenizer),
        )
        trainer.remove_callback(PrinterCallback)  # it prints to standard output
        trainer.train()
        seconds = time.perf_counter() - started
        started = time.perf_counter()
        logits, labels, _ = trainer.predict(tokenize(splits["test"]))
        predict_seconds = time.perf_counter() - started
    line = {
        "peer": "Trainer",
        "seed": seed,
        "accuracy": float((logits.argmax(1) == labels).mean()),
        "seconds": round(seconds, 2),
        "predict_seconds": round(predict_seconds, 2),
        "epochs": epochs,
        "learning_rate": RATE,
        "batch_size": BATCH,
        "max_length": LENGTH,
        "group_by_length": group_by_length,
        "threads": torch.get_num_threads(),
        "train_rows": len(splits["train"]["texts"]),
        "steps": trainer.state.global_step,
    }
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="JSON file of the split")
    parser.add_argument("--model", type=Path, required=True, help="folder of the network, in Hugging Face's layout")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, help="default: as torch chooses, all cores")
    parser.add_argument("--group-by-length", action="store_true", help="batches of texts of about the same length")
    main(**vars(parser.parse_args()))
