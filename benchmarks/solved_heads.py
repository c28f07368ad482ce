"""Solved heads on frozen features of few rows, against scikit-learn alone: accuracy and cross-entropy on all test rows.

The features are what the pretrained networks put out: MiniLM on BBC News, whole articles and headlines,
EfficientNet-Lite0 on solar cells (160 px) and on scikit-learn's handwritten digits (at 64 px). Each draw takes other
training rows, so many of each class. Of texts there is a second head, which may learn from what classes are called
(head.label_texts); peers know nothing of names. The peers: StandardScaler and LogisticRegressionCV, which chooses among
the same strengths by held-out cross-entropy on the same folds; and LogisticRegression(C=1) on features of length 1, a
usual probe of embeddings.
"""

import argparse
import statistics
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.special import log_softmax
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from keras_transfer import ImageClassification, TextClassification
from keras_transfer.heads.linear_models import Multinomial
from keras_transfer.heads.solver import STRENGTHS, Folds, Hints, draw_folds, solve_head

Rows = tuple[np.ndarray, np.ndarray]
Logits = Callable[[np.ndarray], np.ndarray]
COMMON = {"policy": "head", "validation": 0.0, "training": {"keep": "last"}}


def digits() -> ImageClassification:
    images, labels = load_digits(return_X_y=True)
    pixels = (images.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)
    return ImageClassification({"source": (pixels, labels), "image_size": 64, "leaks": "off"}, **COMMON)


SETS = {
    "bbc_news": lambda: TextClassification({"source": "bbc_news", "sequence_length": 256}, **COMMON),
    "bbc_headlines": lambda: TextClassification("bbc_headlines", **COMMON),
    "solar_cells": lambda: ImageClassification({"source": "solar_cells", "image_size": 160}, **COMMON),
    "digits": digits,
}


def compute_features(name: str) -> tuple[Rows, Rows, Hints | None]:
    job = SETS[name]().prepare()
    cache = job.batches.cache
    splits = [split for split in (job.splits.train, job.splits.test, job.label_texts) if split is not None]
    train, test, *hints = ((np.asarray(cache.pooled(job.model, split)[0]), split.targets) for split in splits)
    return train, test, (hints[0] if hints else None)


def ours(x: np.ndarray, labels: np.ndarray, folds: Folds, hints: Hints | None = None) -> Logits:
    model = partial(Multinomial, len(np.unique(labels)))
    head = solve_head(x, labels, np.ones(len(x), np.float32), model=model, folds=folds, hints=hints)
    return lambda rows: rows @ head.kernel + head.bias


def cross_validated(x: np.ndarray, labels: np.ndarray, folds: Folds) -> Logits:
    regression = LogisticRegressionCV(Cs=STRENGTHS, cv=folds, scoring="neg_log_loss", solver="newton-cg", max_iter=2000)
    return as_logits(make_pipeline(StandardScaler(), regression).fit(x, labels))


def probe(x: np.ndarray, labels: np.ndarray, folds: Folds) -> Logits:
    return as_logits(make_pipeline(Normalizer(), LogisticRegression(max_iter=1000)).fit(x, labels))


def as_logits(fitted: LogisticRegression) -> Logits:
    def decide(rows: np.ndarray) -> np.ndarray:
        decided = fitted.decision_function(rows)
        return np.stack([-decided / 2, decided / 2], axis=1) if decided.ndim == 1 else decided

    return decide


PEERS = {"LogisticRegressionCV": cross_validated, "LogisticRegression": probe}


def measure(
    train: Rows, test: Rows, ways: dict[str, Callable[..., Logits]], per_class: int, draw: int
) -> dict[str, tuple[float, float]]:
    x, labels = train
    random = np.random.default_rng(draw)
    rows = np.concatenate([random.permutation(np.flatnonzero(labels == c))[:per_class] for c in np.unique(labels)])
    folds, said = draw_folds(labels[rows], draw), {}
    for name, way in ways.items():
        logs = log_softmax(way(x[rows].astype(np.float64), labels[rows], folds)(test[0].astype(np.float64)), axis=1)
        said[name] = (logs.argmax(axis=1) == test[1]).mean(), -logs[np.arange(len(logs)), test[1]].mean()
    return said


def main(sets: list[str], sizes: list[int], draws: int, first_draw: int) -> None:
    for name in sets:
        train, test, hints = compute_features(name)
        with_names = {"with names": partial(ours, hints=hints)} if hints else {}
        ways = {"solve_head": ours, **with_names, **PEERS}
        print(f"{'':<14}{'a class':>8}" + "".join(f"{way:>34}" for way in ways))
        for per_class in sizes:
            lines = [measure(train, test, ways, per_class, draw) for draw in range(first_draw, first_draw + draws)]
            cells = []
            for way in ways:
                accuracies, losses = zip(*(line[way] for line in lines), strict=True)
                spread = statistics.stdev(accuracies) if draws > 1 else 0.0
                cells.append(f"{np.mean(accuracies):.4f} +- {spread:.4f}, loss {np.mean(losses):.4f}")
            print(f"{name:<14}{per_class:>8}" + "".join(f"{cell:>34}" for cell in cells), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 8, 16, 50])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--first-draw", type=int, default=0)
    warnings.simplefilter("ignore")
    main(**vars(parser.parse_args()))
