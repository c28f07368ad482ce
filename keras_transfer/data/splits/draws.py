"""Ways to draw rows beyond a stratified shuffle: whole groups, folds, and a few rows per class."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold


def draw_groups(
    strata: Sequence[str],
    groups: Sequence[str],
    *,
    share: float,
    seed: int,
    sides: Mapping[str, bool] | None = None,
) -> NDArray[np.bool_]:
    """Draw whole groups so that a share of every stratum is drawn, as closely as groups allow.

    Groups are assigned from the largest to the smallest, groups of equal size in random order, each to the side on
    which it results in a more even distribution: scikit-learn's ``StratifiedGroupKFold``, for two sides of unequal
    size.

    Args:
        share: The share of rows to draw, above 0 and below 1.
        seed: Seed of the order of groups of equal size.
        sides: Groups that are already drawn, or not drawn.

    Returns:
        ``bool[rows]``, whether each row is drawn.
    """
    kinds, stratum = np.unique(np.asarray(strata, str), return_inverse=True)
    names, group = np.unique(np.asarray(groups, str), return_inverse=True)
    counts = np.zeros((len(names), len(kinds)))
    np.add.at(counts, (group, stratum), 1)
    order = np.random.RandomState(seed).permutation(len(names))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    wanted = np.outer([1.0 - share, share], counts.sum(axis=0))
    filled = np.zeros_like(wanted)
    drawn = np.zeros(len(names), bool)
    given = {index: bool(sides[name]) for index, name in enumerate(names) if name in sides} if sides else {}
    for index, side in given.items():
        drawn[index] = side
        filled[int(side)] += counts[index]
    order = np.array([index for index in order if index not in given], int)
    for index in order:
        # How full each side would be of each stratum, with the group on either side.
        either = [(filled + np.outer(side, counts[index])) / wanted for side in ([1, 0], [0, 1])]
        unevenness = [float(np.square(side[0] - side[1]).sum()) for side in either]
        drawn[index] = unevenness[1] < unevenness[0]
        filled[int(drawn[index])] += counts[index]
    if not drawn.any() and len(order):
        # With many strata, no single one may justify a group, but all of them together do.
        sizes, expected = counts.sum(axis=1), share * counts.sum()
        nearest = order[np.argmin(np.abs(sizes[order] - expected))]
        drawn[nearest] = sizes[nearest] < 2 * expected
    return drawn[group]


def draw_fold(
    strata: Sequence[str], groups: Sequence[str] | None, *, folds: int, fold: int, seed: int
) -> NDArray[np.bool_]:
    """Divide rows into stratified folds, and return one of them.

    Args:
        groups: The group of each row; a group is never in two folds.
        fold: The fold to return, counted from 1.
        seed: Seed of the division, which is the same for all folds.

    Returns:
        ``bool[rows]``, whether each row is in the fold.
    """
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    divided = kind(folds, shuffle=True, random_state=seed).split(np.zeros(len(strata)), strata, groups)
    inside = np.zeros(len(strata), bool)
    inside[list(divided)[fold - 1][1]] = True
    return inside


def draw_per_class(labels: NDArray[np.int64], count: int, *, seed: int) -> NDArray[np.int64]:
    """Draw some rows of each class; with the same seed, a smaller draw is part of a larger one.

    Args:
        labels: ``int64[rows]``.
        count: The number of rows per class; a class may have fewer.

    Returns:
        Row numbers, in order.
    """
    order = np.random.RandomState(seed).permutation(len(labels))
    return np.sort(np.concatenate([order[labels[order] == label][:count] for label in np.unique(labels)]))
