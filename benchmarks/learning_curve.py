"""The promise of the learning curve: does its interval hold the score that twice as many labels really give?

Half of the training rows are hidden, drawn anew for each draw. From the other half comes the forecast of a run that has
no more rows; the truth is the solved head on all rows, on the same test rows. Sets are those of solved_heads.py. With
--rows, each draw takes so many of all rows first, so that few labels are forecast to twice as few. The interval is
promised to hold 90 % of truths.
"""

import argparse
import time
import warnings

import numpy as np
from solved_heads import SETS

from keras_transfer.frozen.learning_curve import HeldOut, LearningCurve, Solved, measure_learning_curve
from keras_transfer.heads import TargetHead
from keras_transfer.heads.solver import SolvedHead, draw_folds

Rows = tuple[np.ndarray, np.ndarray]


def compute_features(name: str) -> tuple[TargetHead, Rows, Rows]:
    job = SETS[name]().prepare()
    train, test = (
        (np.asarray(job.batches.cache.pooled(job.model, split)[0]), split.targets)
        for split in (job.splits.train, job.splits.test)
    )
    return job.model.head, train, test


def take(labels: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    parts = [random.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    return np.sort(np.concatenate([part[: max(2, round(share * len(part)))] for part in parts]))


def solve(head: TargetHead, x: np.ndarray, labels: np.ndarray, seed: int) -> SolvedHead:
    return head.solve(x, labels, np.ones(len(x), np.float32), draw_folds(labels, seed))


def score(head: TargetHead, solved: SolvedHead, test: Rows) -> float:
    return head.score_once(head.predictions(test[0] @ solved.kernel + solved.bias), test[1])


def forecast(
    head: TargetHead, x: np.ndarray, labels: np.ndarray, test: Rows | None, seed: int
) -> tuple[SolvedHead, LearningCurve, float]:
    solved = solve(head, x, labels, seed)
    rows = Solved(head, solved, x, labels, np.ones(len(x), np.float32), [str(label) for label in labels])
    started = time.perf_counter()
    curve = measure_learning_curve(rows, test and HeldOut(*test, words="test rows"), seed=seed)
    seconds = time.perf_counter() - started
    if not isinstance(curve, LearningCurve):
        raise SystemExit(str(curve))
    return solved, curve, seconds


def main(sets: list[str], rows: int | None, folds: bool, draws: int, first_draw: int) -> None:
    for name in sets:
        head, (x, labels), test = compute_features(name)
        truth, lines = None, []
        for draw in range(first_draw, first_draw + draws):
            random = np.random.default_rng(draw)
            pool = np.arange(len(x)) if rows is None else take(labels, rows / len(x), random)
            if truth is None or rows is not None:
                truth = score(head, solve(head, x[pool], labels[pool], draw), test)
            half = pool[take(labels[pool], 0.5, random)]
            solved, curve, took = forecast(head, x[half], labels[half], None if folds else test, draw)
            gain = truth - score(head, solved, test)
            low, high = curve.interval
            lines.append((low - 1e-9 <= gain <= high + 1e-9, gain, curve.gain, high - low, took))
        held, gains, expected, widths, seconds = np.array(lines, np.float64).T
        print(
            f"{name:<14}{len(half):>6} rows: the interval holds the truth in {int(held.sum())} of {draws} draws; "
            f"gain {100 * gains.mean():+.2f} +- {100 * gains.std():.2f} points, expected {100 * expected.mean():+.2f}, "
            f"off by {100 * np.sqrt(np.mean((expected - gains) ** 2)):.2f}; "
            f"width {100 * widths.mean():.2f}; {seconds.mean():.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--rows", type=int, help="of all training rows, take so many first, drawn anew each time")
    parser.add_argument("--folds", action="store_true", help="forecast without held-out rows, as if there were none")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--first-draw", type=int, default=0)
    warnings.simplefilter("ignore")
    main(**vars(parser.parse_args()))
