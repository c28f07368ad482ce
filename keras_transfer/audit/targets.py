"""Problems of the labels themselves, regardless of the examples."""

import json
from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_transfer.audit.rows import Rows
from keras_transfer.config.names import find_twins, show_name
from keras_transfer.data.checks.findings import Finding
from keras_transfer.data.splits.splits import Splits
from keras_transfer.data.targets.base import Target, Targets
from keras_transfer.data.targets.classes import ClassTarget
from keras_transfer.data.targets.labels import MultilabelTarget
from keras_transfer.data.targets.numbers import NumberTarget

_FEW_ROWS = 10
_IMBALANCE = 10.0
# Outside of the middle half by more than three times its width: "far out" (Tukey 1977, Exploratory Data Analysis).
_FAR_OUT = 3.0


def audit_targets(splits: Splits) -> list[Finding]:
    """Check the labels of all rows.

    Returns:
        The findings; those on classes name no example.
    """
    targets = np.concatenate([split.targets for split in splits])
    return list(_audit(splits.target, targets, Rows.of(splits)))


@singledispatch
def _audit(target: Target, targets: Targets, rows: Rows) -> Sequence[Finding]:
    """For a target without labels, there are no findings."""
    return ()


@_audit.register
def _(target: ClassTarget, targets: Targets, rows: Rows) -> Sequence[Finding]:
    counts = np.bincount(targets, minlength=len(target.names))
    findings = [*_find_twins(target.names, counts), *_find_few(target.names, counts, "rows")]
    present = counts[counts > 0]
    if len(present) and present.max() >= _IMBALANCE * present.min():
        most, least = int(counts.argmax()), int(np.where(counts > 0, counts, counts.max() + 1).argmin())
        detail = (
            f"{counts[most]:,} rows of {show_name(target.names[most])}, {counts[least]:,} of "
            f"{show_name(target.names[least])}: training.class_weights=balanced counts them alike"
        )
        score = 1.0 - float(counts[least] / counts[most])
        findings.append(Finding("imbalance", label=target.names[least], detail=detail, score=score))
    return findings


@_audit.register
def _(target: MultilabelTarget, targets: Targets, rows: Rows) -> Sequence[Finding]:
    counts = targets.sum(axis=0).astype(int)
    absent = len(targets) - counts
    return [
        *_find_twins(target.names, counts),
        *_find_few(target.names, counts, "rows with it"),
        *_find_few(target.names, absent, "rows without it"),
    ]


@_audit.register
def _(target: NumberTarget, targets: Targets, rows: Rows) -> Sequence[Finding]:
    findings = []
    for name, column in zip(target.names, targets.astype(np.float64).T, strict=True):
        low, middle, high = np.percentile(column, [25.0, 50.0, 75.0])
        width = high - low
        far = np.flatnonzero((column < low - _FAR_OUT * width) | (column > high + _FAR_OUT * width))
        if width <= 0.0 or len(far) > len(column) / 20:  # a skewed number, of which many are far out
            continue
        for row in far:
            detail = f"{name} is {column[row]:g}; half of all are between {low:g} and {high:g}"
            score = 1.0 - width / (abs(column[row] - middle) + width)
            findings.append(rows.find("target_outlier", int(row), detail, score))
    return findings


def _find_twins(names: Sequence[str], counts: NDArray[Any]) -> list[Finding]:
    by_name = dict(zip(names, counts, strict=True))
    findings = []
    for group in find_twins(names):
        shown = ", ".join(f"{show_name(name)} ({by_name[name]:,} rows)" for name in group)
        detail = f"{shown}: data.merge_labels=true merges them"
        usual = max(group, key=lambda name: by_name[name])
        findings.append(Finding("label_twins", label=json.dumps(group), detail=detail, suggested_label=usual))
    return findings


def _find_few(names: Sequence[str], counts: NDArray[Any], what: str) -> list[Finding]:
    return [
        Finding("few_rows", label=name, detail=f"{count:,} {what}", score=1.0 - count / _FEW_ROWS)
        for name, count in zip(names, counts.tolist(), strict=True)
        if count < _FEW_ROWS
    ]
