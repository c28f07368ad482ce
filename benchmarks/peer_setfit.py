"""Peers for few labelled texts: SetFit, or with --probe logistic regression on embeddings. Prints one line of JSON.

SetFit with its defaults: contrastive training of every layer for one epoch over pairs of texts (by oversampling, unless
--num-iterations is given; the pairs grow with the square of the texts), then logistic regression. --probe: nothing but
scikit-learn's LogisticRegression(max_iter=1000), on what SentenceTransformer.encode gives, which is the mean over
tokens, scaled to length 1 for all-MiniLM-L6-v2. Both cut texts where the network's folder says (256 tokens); validation
rows are left alone. Measured with setfit 1.2.0 (it works with transformers 5), sentence-transformers 6.2, transformers
5.23, datasets 5.2, scikit-learn 1.9 and torch 2.13 (CPU). Seconds are those of tokenization and training, without
loading. --threads is for torch alone; bind the process to cores (taskset) to bind the rest.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from setfit import SetFitModel, Trainer, TrainingArguments
from sklearn.linear_model import LogisticRegression
from transformers import ProgressCallback, set_seed


def fit_probe(splits: dict, model: Path) -> tuple[np.ndarray, float, float, dict]:
    network = SentenceTransformer(str(model))
    started = time.perf_counter()
    head = LogisticRegression(max_iter=1000).fit(network.encode(splits["train"]["texts"]), splits["train"]["labels"])
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    probabilities = head.predict_proba(network.encode(splits["test"]["texts"]))
    return probabilities, seconds, time.perf_counter() - started, {"max_length": network.max_seq_length}


def fit_setfit(
    splits: dict, model: Path, seed: int, num_iterations: int | None, length: int | None = None
) -> tuple[np.ndarray, float, float, dict]:
    network = SetFitModel.from_pretrained(str(model))
    if length:
        network.model_body.max_seq_length = length
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, num_iterations=num_iterations, save_strategy="no", report_to="none", seed=seed
        )
        started = time.perf_counter()
        rows = Dataset.from_dict({"text": splits["train"]["texts"], "label": splits["train"]["labels"]})
        trainer = Trainer(model=network, args=arguments, train_dataset=rows)
        trainer.remove_callback(ProgressCallback)  # it prints to standard output
        trainer.train()
        seconds = time.perf_counter() - started
    started = time.perf_counter()
    probabilities = network.predict_proba(splits["test"]["texts"], as_numpy=True)
    settings = {
        "max_length": network.model_body.max_seq_length,
        "epochs": arguments.embedding_num_epochs,
        "learning_rate": arguments.body_embedding_learning_rate,
        "batch_size": arguments.embedding_batch_size,
        "sampling_strategy": arguments.sampling_strategy,
        "num_iterations": num_iterations,
        "steps": trainer.st_trainer.state.global_step,
    }
    return probabilities, seconds, time.perf_counter() - started, settings


def main(data: Path, model: Path, seed: int, probe: bool, num_iterations: int | None, threads: int | None) -> None:
    if threads:
        torch.set_num_threads(threads)
    splits = json.loads(data.read_text())
    set_seed(seed)
    fitted = fit_probe(splits, model) if probe else fit_setfit(splits, model, seed, num_iterations)
    probabilities, seconds, predict_seconds, settings = fitted
    line = {
        "peer": "LogisticRegression" if probe else "SetFit",
        "seed": seed,
        "accuracy": float((probabilities.argmax(axis=1) == np.array(splits["test"]["labels"])).mean()),
        "seconds": round(seconds, 2),
        "predict_seconds": round(predict_seconds, 2),
        **settings,
        "threads": torch.get_num_threads(),
        "train_rows": len(splits["train"]["texts"]),
    }
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="JSON file of the split")
    parser.add_argument("--model", type=Path, required=True, help="folder of the network, in Hugging Face's layout")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--probe", action="store_true", help="logistic regression on embeddings, in place of SetFit")
    parser.add_argument("--num-iterations", type=int, help="SetFit's option; default: none, pairs by oversampling")
    parser.add_argument("--threads", type=int, help="default: as torch chooses, all cores")
    main(**vars(parser.parse_args()))
