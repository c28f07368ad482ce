"""Find labels that are probably wrong, from predictions for held-out rows."""

import json
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_transfer.audit.neighbours import Neighbours
from keras_transfer.audit.rows import Rows
from keras_transfer.data.checks.findings import Finding
from keras_transfer.data.checks.robust import robust_spread
from keras_transfer.data.targets.base import Target, Targets
from keras_transfer.data.targets.classes import ClassTarget
from keras_transfer.data.targets.labels import MultilabelTarget
from keras_transfer.data.targets.numbers import NumberTarget
from keras_transfer.heads import TargetHead
from keras_transfer.heads.solver import MOST_FOLDS, draw_folds

# docs/audit.md has the measurements: number of draws of folds that are averaged, and the share of the neighbours.
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
        groups: Group of each row, or None. With groups, neighbours are not used: most are of the row's own group.

    Returns:
        ``float32[rows, outputs]``: the mean of heads that are solved on three draws of folds (one for many rows) and,
        for probabilities, of the neighbours' labels; None if a class has only one row or group, so that every fold
        needs it.
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


Floats = NDArray[Any]

# Robust standard deviations of the residuals: of 10,000 normal ones, less than one is beyond.
_FAR = 4.0


@dataclass(frozen=True)
class Quality:
    """How reliable the labels of rows are.

    Attributes:
        scores: ``float64[rows]``, from 0 for a label that is certainly wrong to 1.
        suspicious: ``bool[rows]``, which labels are probably wrong.
        suggested: ``[rows]``, the predicted targets.
    """

    scores: NDArray[np.float64]
    suspicious: NDArray[np.bool_]
    suggested: Targets


def find_suspicious(rows: Rows, target: Target, targets: Targets, held_out: Floats) -> list[Finding]:
    """Find labels that are probably wrong.

    Args:
        held_out: ``float32[rows, outputs]``, predictions for each row by a model that was not trained on it.

    Returns:
        The findings, each with the predicted label.
    """
    quality = judge_labels(target, targets, held_out)
    if quality is None:
        return []
    return [
        rows.find(
            "suspicious_label",
            int(row),
            describe(target, held_out[row], targets[row]),
            1.0 - quality.scores[row],
            _write(target, quality.suggested[row]),
        )
        for row in np.flatnonzero(quality.suspicious)
    ]


def _write(target: Target, value: Any) -> str:
    decoded = target.decode(value)
    return decoded if isinstance(decoded, str) else json.dumps(decoded, ensure_ascii=False)


@singledispatch
def judge_labels(target: Target, targets: Targets, held_out: Floats) -> Quality | None:
    """Judge labels by predictions for rows that were held out; None for a target that cannot be judged.

    Args:
        held_out: ``float32[rows, outputs]``, calibrated probabilities, or numbers.
    """
    return None


@judge_labels.register
def _(target: ClassTarget, targets: Targets, held_out: Floats) -> Quality | None:
    return _judge_classes(targets, held_out)


@judge_labels.register
def _(target: MultilabelTarget, targets: Targets, held_out: Floats) -> Quality | None:
    scores, suggested = np.ones(len(targets)), targets.copy()
    suspicious = np.zeros(len(targets), bool)
    for index in range(len(target.names)):
        marks, share = targets[:, index].astype(np.int64), held_out[:, index]
        if marks.min() == marks.max():
            continue
        one = _judge_classes(marks, np.stack([1.0 - share, share], axis=1))
        scores = np.minimum(scores, one.scores)
        suspicious |= one.suspicious
        suggested[one.suspicious, index] = 1.0 - targets[one.suspicious, index]
    return Quality(scores, suspicious, suggested)


@judge_labels.register
def _(target: NumberTarget, targets: Targets, held_out: Floats) -> Quality | None:
    residuals = targets.astype(np.float64) - held_out
    spread = robust_spread(residuals)
    if not (spread > 0.0).any():
        return None
    far = np.abs(residuals / np.where(spread > 0.0, spread, np.inf)).max(axis=1)
    return Quality(np.exp(-far / _FAR), far > _FAR, held_out.astype(np.float32))


def _judge_classes(labels: NDArray[np.int64], probabilities: Floats) -> Quality:
    """Judge classes by confident learning (Northcutt et al. 2021, arXiv 1911.00068)."""
    # cleanlab imports scikit-learn and little else, but only audits need it.
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    # cleanlab counts classes from 0, and each must have a row.
    present, own = np.unique(labels, return_inverse=True)
    shares = np.asarray(probabilities, np.float64)[:, present]
    shares = np.maximum(shares, 1e-9)
    shares /= shares.sum(axis=1, keepdims=True)
    scores = get_label_quality_scores(own, shares, method="self_confidence")
    suspicious = np.zeros(len(labels), bool)
    if len(present) > 1:
        suspicious = np.asarray(find_label_issues(own, shares, filter_by="prune_by_noise_rate", n_jobs=1))
    suggested = present[shares.argmax(axis=1)]
    return Quality(np.asarray(scores, np.float64), suspicious & (suggested != labels), suggested)


@singledispatch
def describe(target: Target, predicted: Floats, value: Any) -> str:
    """Return the prediction of a model that was not trained on a row, in words."""
    return ""


@describe.register
def _(target: ClassTarget, predicted: Floats, value: Any) -> str:
    best = int(predicted.argmax())
    return f"predicted {target.names[best]} ({predicted[best]:.0%}); the label has {predicted[value]:.0%}"


@describe.register
def _(target: MultilabelTarget, predicted: Floats, value: Any) -> str:
    wrong = [index for index in range(len(predicted)) if (predicted[index] > 0.5) != bool(value[index])]
    shown = [f"{target.names[index]} {predicted[index]:.0%}" for index in wrong or [int(predicted.argmax())]]
    return f"predicted {', '.join(shown)}"


@describe.register
def _(target: NumberTarget, predicted: Floats, value: Any) -> str:
    pairs = zip(target.names, predicted, value, strict=True)
    return ", ".join(f"{name}: predicted {found:.4g}, the label is {own:.4g}" for name, found, own in pairs)
