"""Which labels to add: 50 that `keras-transfer suggest` chooses, or 50 at random, and other strategies as peers.

Each draw starts with so many labelled rows of each class, and all other training rows are unlabelled. The solved head
on frozen features predicts these; 50 of them get their labels, and the head is solved again. Printed is by how many
points its accuracy on all test rows differs from that of the random choice of the same draw: mean and standard error
over draws. Sets are those of solved_heads.py. Peers: the least margins; greedy k-centers that begin at the labelled
rows (Sener and Savarese 2018); k-means without margins; k-centers among the 150 least margins; BADGE, k-means++ on
gradients of the last layer (Ash et al. 2020).
"""

import argparse
import warnings
from collections.abc import Iterator

import numpy as np
from learning_curve import Rows, compute_features, score, solve
from solved_heads import SETS

from keras_transfer.heads import TargetHead
from keras_transfer.run.suggestions import choose

ADDED = 50


def to_units(x: np.ndarray) -> np.ndarray:
    variance = x.var(axis=0)
    scaled = (x - x.mean(axis=0)) / np.sqrt(0.75 * variance + 0.25 * variance.mean())
    return scaled / np.linalg.norm(scaled, axis=1, keepdims=True)


def k_centers(points: np.ndarray, starts: np.ndarray) -> np.ndarray:
    nearest = np.min([np.square(points - start).sum(axis=1) for start in starts], axis=0)
    chosen: list[int] = []
    for _ in range(ADDED):
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.square(points - points[chosen[-1]]).sum(axis=1))
        nearest[chosen] = -1.0
    return np.array(chosen)


def badge(points: np.ndarray, predicted: np.ndarray, random: np.random.Generator) -> np.ndarray:
    errors = np.eye(predicted.shape[1])[predicted.argmax(axis=1)] - predicted
    gradients = (errors[:, :, None] * points[:, None, :]).reshape(len(points), -1)
    chosen = [int(np.square(gradients).sum(axis=1).argmax())]
    nearest = np.square(gradients - gradients[chosen[0]]).sum(axis=1)
    while len(chosen) < ADDED:
        nearest[chosen] = 0.0
        chosen.append(int(random.choice(len(points), p=nearest / nearest.sum())))
        nearest = np.minimum(nearest, np.square(gradients - gradients[chosen[-1]]).sum(axis=1))
    return np.array(chosen)


def strategies(
    head: TargetHead, x: np.ndarray, labelled: np.ndarray, rest: np.ndarray, predicted: np.ndarray, draw: int
) -> Iterator[tuple[str, np.ndarray]]:
    random = np.random.default_rng([draw, 1])
    yield "random", random.permutation(len(rest))[:ADDED]
    margins, units = head.margins(predicted), to_units(x)
    least = np.argsort(margins, kind="stable")
    yield "suggest", choose(x[rest], margins, ADDED)
    yield "least margins", least[:ADDED]
    yield "k-centers", k_centers(units[rest], units[labelled])
    yield "k-means", choose(x[rest], None, ADDED)
    few = least[: 3 * ADDED]
    yield "margins, k-centers", few[k_centers(units[rest][few], units[labelled])]
    yield "BADGE", badge(units[rest], predicted.astype(np.float64), random)


def measure(head: TargetHead, train: Rows, test: Rows, per_class: int, draw: int) -> tuple[float, dict[str, float]]:
    x, labels = train
    random = np.random.default_rng(draw)
    labelled = np.concatenate(
        [random.permutation(np.flatnonzero(labels == label))[:per_class] for label in np.unique(labels)]
    )
    rest = np.setdiff1d(np.arange(len(labels)), labelled)
    solved = solve(head, x[labelled], labels[labelled], draw)
    predicted = head.predictions(x[rest] @ solved.kernel + solved.bias)
    accuracies = {}
    for name, chosen in strategies(head, x, labelled, rest, predicted, draw):
        rows = np.concatenate([labelled, rest[chosen]])
        accuracies[name] = score(head, solve(head, x[rows], labels[rows], draw), test)
    return score(head, solved, test), accuracies


def main(sets: list[str], sizes: list[int], draws: int, first_draw: int) -> None:
    for name in sets:
        head, train, test = compute_features(name)
        for per_class in sizes:
            starts, lines = zip(
                *(measure(head, train, test, per_class, draw) for draw in range(first_draw, first_draw + draws)),
                strict=True,
            )
            by_random = np.array([line["random"] for line in lines])
            cells = []
            for way in list(lines[0])[1:]:
                gained = 100 * (np.array([line[way] for line in lines]) - by_random)
                cells.append(f"{way} {gained.mean():+.1f} ({gained.std(ddof=1) / np.sqrt(draws):.1f})")
            print(
                f"{name}, {per_class} of each class: {np.mean(starts):.3f}, random {by_random.mean():.3f}; points over "
                f"random (standard error): {', '.join(cells)}",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=["bbc_headlines", "digits"], choices=SETS)
    parser.add_argument("--sizes", type=int, nargs="+", default=[5, 10])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--first-draw", type=int, default=0)
    warnings.simplefilter("ignore")
    main(**vars(parser.parse_args()))
