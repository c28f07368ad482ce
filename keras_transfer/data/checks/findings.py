"""Findings of checks before and after training: one record per finding, and their CSV file."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from keras_transfer.data.tables.tables import read_table
from keras_transfer.data.tables.write import write_table
from keras_transfer.errors import DataError

KINDS = {
    "broken": "cannot be read",
    "empty": "texts of nothing but blanks",
    "label_twins": "labels whose names look alike",
    "conflicting_labels": "the same or nearly the same example with another label",
    "suspicious_label": "probably a wrong label",
    "duplicate_in_splits": "the same example in two splits",
    "near_duplicate_in_splits": "nearly the same example in two splits",
    "duplicate": "the same example again",
    "near_duplicate": "nearly the same example again",
    "few_rows": "too few rows",
    "imbalance": "classes of very different sizes",
    "target_outlier": "numbers far from all others",
    "outlier": "examples unlike all others",
    "blank": "images of one colour, or nearly",
    "blurred": "blurred images",
    "dark": "dark images",
    "bright": "overexposed images",
    "odd_size": "images of an unusual size",
    "odd_aspect": "images of an unusual aspect ratio",
    "silent": "silent recordings",
    "clipped": "recordings that were too loud",
    "dc_offset": "recordings with a DC offset",
    "odd_length": "recordings of an unusual length",
    "odd_rate": "transcripts that are long or short for their recordings",
    "short": "very short texts",
    "script": "texts in another script than most",
    "boilerplate": "passages that many texts share",
}
"""The kinds of findings with what each means, the most serious first. A plugin's task may have others."""


@dataclass(frozen=True)
class Finding:
    """One problem that a check found.

    Attributes:
        kind: One of :data:`KINDS`.
        example: The name of the example, as data.json has it; empty if the finding is about a class or all rows.
        split: The split of the example; empty if there is none.
        label: Its label; several labels and numbers as a JSON list.
        detail: A description for readers.
        score: From 0 to 1: confidence or strength; findings of one kind are sorted by it.
        suggested_label: The label that is probably right; empty if there is no suggestion.

    Example:
        >>> Finding("dark", "night.jpg", "train", "street", "95 % of the pixels are below 20 of 255").kind
        'dark'
    """

    kind: str
    example: str = ""
    split: str = ""
    label: str = ""
    detail: str = ""
    score: float = 1.0
    suggested_label: str = ""


COLUMNS = ("example", "split", "label", "kind", "detail", "score", "suggested_label")
"""The columns of the CSV file."""


def sort_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings with the most serious kind first, and those of a kind by their score."""
    order = {kind: number for number, kind in enumerate(KINDS)}
    return sorted(
        findings, key=lambda one: (order.get(one.kind, len(order)), one.kind, -one.score, one.split, one.example)
    )


def count_kinds(findings: Iterable[Finding]) -> dict[str, int]:
    """Return how many findings there are of each kind, in the order of the findings."""
    return dict(Counter(one.kind for one in findings))


def write_findings(file: Path, findings: Sequence[Finding]) -> None:
    """Write a CSV file with one row per finding.

    Raises:
        CheckpointError: It cannot be written.
    """
    write_table(file, to_frame(findings))


def to_frame(findings: Sequence[Finding]) -> pd.DataFrame:
    """Return findings as a table with :data:`COLUMNS`."""
    rows = [[_round(getattr(one, column)) for column in COLUMNS] for one in findings]
    return pd.DataFrame(rows, columns=list(COLUMNS), dtype=object)


def _round(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def read_findings(file: Path) -> list[Finding]:
    """Read back what :func:`write_findings` wrote.

    Raises:
        DataError: The file was not written by it.
    """
    frame = read_table(file, delimiter=",").frame
    absent = [column for column in COLUMNS if column not in frame.columns]
    if absent:
        raise DataError(f"{file} has no column {absent[0]!r}. Expected the columns {', '.join(COLUMNS)}.")
    columns = {name: frame[name].tolist() for name in COLUMNS}
    try:
        scores = [float(score) for score in columns.pop("score")]
    except (TypeError, ValueError) as error:
        raise DataError(f"{file}: column 'score' has a value that is not a number: {error}. Fix the file.") from error
    rows = zip(*columns.values(), strict=True)
    return [
        Finding(**dict(zip(columns, ("" if value is None else str(value) for value in row), strict=True)), score=score)
        for row, score in zip(rows, scores, strict=True)
    ]
