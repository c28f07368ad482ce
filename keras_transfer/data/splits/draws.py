"""Draws that a stratified shuffle does not make: whole groups, folds, and a few rows of each class."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold


def draw_groups(strata: Sequence[str], groups: Sequence[str], *, share: float, seed: int) -> NDArray[np.bool_]:
    """Draw whole groups so that a share of every stratum is drawn, as nearly as groups allow.

    Groups come from the largest to the smallest, those of one size shuffled, and each goes to the side that it leaves
    more evenly filled: scikit-learn's ``StratifiedGroupKFold``, for two sides of unequal size.

    Args:
        strata: Of each row.
        groups: Of each row.
        share: Of the rows, above 0 and below 1.
        seed: Of the shuffle.

    Returns:
        ``bool[rows]``, which are drawn.
    """
    _, stratum = np.unique(np.asarray(strata, str), return_inverse=True)
    names, group = np.unique(np.asarray(groups, str), return_inverse=True)
    counts = np.zeros((len(names), stratum.max() + 1))
    np.add.at(counts, (group, stratum), 1)
    order = np.random.RandomState(seed).permutation(len(names))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    wanted = np.outer([1.0 - share, share], counts.sum(axis=0))
    filled = np.zeros_like(wanted)
    drawn = np.zeros(len(names), bool)
    for index in order:
        # What share of itself each side would hold of each stratum, with the group on the one side or on the other.
        sides = [(filled + np.outer(side, counts[index])) / wanted for side in ([1, 0], [0, 1])]
        unevenness = [float(np.square(side[0] - side[1]).sum()) for side in sides]
        drawn[index] = unevenness[1] < unevenness[0]
        filled[int(drawn[index])] += counts[index]
    if not drawn.any():
        # Of many strata none may be worth a group, and all of them together one.
        sizes, due = counts.sum(axis=1), share * counts.sum()
        nearest = order[np.argmin(np.abs(sizes[order] - due))]
        drawn[nearest] = sizes[nearest] < 2 * due
    return drawn[group]


def draw_fold(
    strata: Sequence[str], groups: Sequence[str] | None, *, folds: int, fold: int, seed: int
) -> NDArray[np.bool_]:
    """Divide rows into folds that keep the shares of strata, and return one of them.

    Args:
        strata: Of each row.
        groups: Of each row; one group never stands in two folds.
        folds: How many there are.
        fold: Which one, counted from 1.
        seed: Of the division, which is the same for all folds.

    Returns:
        ``bool[rows]``, which are in the fold.
    """
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    divided = kind(folds, shuffle=True, random_state=seed).split(np.zeros(len(strata)), strata, groups)
    inside = np.zeros(len(strata), bool)
    inside[list(divided)[fold - 1][1]] = True
    return inside


def draw_per_class(labels: NDArray[np.int64], count: int, *, seed: int) -> NDArray[np.int64]:
    """Draw so many rows of each class; with the same seed, fewer are among more.

    Args:
        labels: ``int64[rows]``.
        count: Rows a class; a class may have fewer.
        seed: Of the draw.

    Returns:
        Row numbers, in order.
    """
    order = np.random.RandomState(seed).permutation(len(labels))
    return np.sort(np.concatenate([order[labels[order] == label][:count] for label in np.unique(labels)]))
