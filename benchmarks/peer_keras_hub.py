"""A peer for texts: KerasHub's own classifier, fitted as its page shows. Trains every layer; prints one line of JSON.

BertTextClassifier.from_preset on the network's folder, its default compile (Adam at 5e-5) and its default preprocessor,
which pads every text to one length: what the folder's sentence_bert_config.json says (256 tokens for all-MiniLM-L6-v2),
512 without such a file; --length sets another. The rows are a shuffled tf.data.Dataset, since fit does not shuffle
lists of texts. Validation rows are left alone. Measured with keras-hub 0.32. Seconds are those of fit, which tokenizes
on the fly, without loading.
"""

import argparse
import json
import time
from pathlib import Path

import keras
import keras_hub
import numpy as np
import tensorflow as tf


def main(data: Path, model: Path, seed: int, epochs: int, batch_size: int, length: int | None) -> None:
    splits = json.loads(data.read_text())
    keras.utils.set_random_seed(seed)
    classifier = keras_hub.models.BertTextClassifier.from_preset(str(model), num_classes=len(splits["class_names"]))
    if length:
        classifier.preprocessor.sequence_length = length
    texts, labels = splits["train"]["texts"], splits["train"]["labels"]

    started = time.perf_counter()
    rows = tf.data.Dataset.from_tensor_slices((texts, labels)).shuffle(len(texts)).batch(batch_size)
    classifier.fit(rows, epochs=epochs, verbose=0)
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    logits = classifier.predict(splits["test"]["texts"], batch_size=batch_size, verbose=0)
    predict_seconds = time.perf_counter() - started
    line = {
        "peer": "KerasHub",
        "seed": seed,
        "accuracy": float((logits.argmax(1) == np.array(splits["test"]["labels"])).mean()),
        "seconds": round(seconds, 2),
        "predict_seconds": round(predict_seconds, 2),
        "epochs": epochs,
        "learning_rate": round(float(classifier.optimizer.learning_rate), 8),
        "batch_size": batch_size,
        "max_length": classifier.preprocessor.sequence_length,
        "backend": keras.backend.backend(),
        "jit_compile": classifier.jit_compile,
        "train_rows": len(texts),
        "steps": int(classifier.optimizer.iterations),
    }
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="JSON file of the split")
    parser.add_argument("--model", type=Path, required=True, help="folder of the network, in Hugging Face's layout")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--length", type=int, help="tokens of every text; default: the preprocessor's")
    main(**vars(parser.parse_args()))
