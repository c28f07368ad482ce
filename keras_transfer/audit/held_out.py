"""Predictions for rows that were held out, by heads that are solved on frozen features and by nearest neighbours."""

import numpy as np
from numpy.typing import NDArray

from keras_transfer.audit.neighbours import Neighbours
from keras_transfer.data.targets.base import Target, Targets
from keras_transfer.data.targets.numbers import NumberTarget
from keras_transfer.heads import TargetHead
from keras_transfer.heads.solver import MOST_FOLDS, draw_folds

# docs/audit.md has the measurements: draws of folds that are averaged, and the share of the neighbours.
_DRAWS = 3
_MOST_ROWS_DRAWN_AGAIN = 20_000


def hold_out(
    head: TargetHead,
    target: Target,
    features: NDArray[np.float32],
    targets: Targets,
    *,
    neighbours: Neighbours,
    groups: NDArray[np.object_] | None,
    seed: int,
) -> NDArray[np.float32] | None:
    """Predict each row by models that have not learned from it.

    Args:
        head: Made for these rows; it can be solved.
        features: ``float32[rows, channels]``.
        neighbours: Of each row.
        groups: Of each row, or None. With groups, neighbours are not asked: most are of the row's own group.

    Returns:
        ``float32[rows, outputs]``: the mean of heads that are solved on three draws of folds (one for many rows) and,
        for probabilities, of the neighbours' labels; None if a class has a single row or group, so that no
        fold can do without.
    """
    strata = target.strata(targets, least=MOST_FOLDS, most=len(targets))
    weights = np.ones(len(targets), np.float32)
    found = []
    for draw in range(_DRAWS if len(targets) <= _MOST_ROWS_DRAWN_AGAIN else 1):
        folds = draw_folds(strata, seed + draw, groups)
        if not folds:
            return None
        held_out = head.solve(features, targets, weights, folds).held_out
        if held_out is not None:
            found.append(held_out)
    solved = np.mean(found, axis=0)
    if isinstance(target, NumberTarget) or groups is not None:
        return np.asarray(solved, np.float32)
    return np.asarray((solved + neighbours.vote(head.encode(targets))) / 2.0, np.float32)
