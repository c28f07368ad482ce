"""Duplicate examples: in one split, in two splits, and with different labels."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import DisjointSet

from keras_transfer.audit.rows import Rows
from keras_transfer.data.checks.findings import Finding
from keras_transfer.data.splits.splits import Splits

# One copy is not a finding, so that a CSV of all findings leaves one: that of the split which is evaluated.
_KEPT_FIRST = {"test": 0, "validation": 1, "train": 2}


def group_equal(keys: Sequence[Hashable]) -> DisjointSet:
    """Group rows whose keys are equal; empty keys are equal to none."""
    groups = DisjointSet(range(len(keys)))
    link_equal(groups, keys)
    return groups


def link_equal(groups: DisjointSet, keys: Iterable[Hashable]) -> None:
    """Link rows whose keys are equal; empty keys are equal to none."""
    first: dict[Hashable, int] = {}
    for row, key in enumerate(keys):
        if key:
            groups.merge(first.setdefault(key, row), row)


@dataclass(frozen=True)
class Words:
    """The words of details on rows that are the same.

    Attributes:
        exact: ``same bytes as``.
        near: ``looks the same as``.
    """

    exact: str
    near: str


def find_duplicates(
    rows: Rows, exact: DisjointSet, near: DisjointSet, words: Words, how: Callable[[int, int], str] | None = None
) -> list[Finding]:
    """Return the findings on duplicate rows.

    Of rows with the same label, all but one are findings. Of rows with different labels, all are: one is wrong.
    """
    findings = []
    for group in (sorted(rows) for rows in near.subsets() if len(rows) > 1):
        labels = Counter(rows.labels[row] for row in group)
        kept = min(group, key=lambda row: (_KEPT_FIRST.get(rows.splits[row], 3), row))
        for row in group:
            same = exact[row] == exact[kept]
            if len(labels) > 1:
                findings.append(_find_conflict(rows, group, row, exact, words))
            elif row != kept:
                across = rows.splits[row] != rows.splits[kept]
                kind = f"{'' if same else 'near_'}duplicate{'_in_splits' if across else ''}"
                note = "" if same or how is None else how(row, kept)
                detail = f"{words.exact if same else words.near} {rows.place(kept)}{note}"
                findings.append(rows.find(kind, row, detail, 1.0 if same else 0.9))
    return findings


def _find_conflict(rows: Rows, group: Sequence[int], row: int, exact: DisjointSet, words: Words) -> Finding:
    labels = Counter(rows.labels[other] for other in group)
    others = [other for other in group if rows.labels[other] != rows.labels[row]]
    other = min(others, key=lambda one: exact[one] != exact[row])
    same = exact[other] == exact[row]
    usual, count = labels.most_common(1)[0]
    suggested = usual if 2 * count > len(group) and usual != rows.labels[row] else ""
    detail = f"{words.exact if same else words.near} {rows.place(other)}, which has the label {rows.labels[other]}"
    return rows.find("conflicting_labels", row, detail, 1.0 if same else 0.9, suggested)


def link_near_points(
    groups: DisjointSet, points: NDArray[np.float32], rows: NDArray[np.int64], *, radius: float
) -> None:
    """Link rows whose points are near one another.

    Only nearest neighbours are looked up, repeatedly for one row of each group, so that thousands of equal points need
    no more memory than others.

    Args:
        points: ``float32[n, dimensions]``.
        rows: ``int64[n]``, the row of each point.
    """
    from scipy.spatial import KDTree

    left = np.arange(len(points))
    while len(left) > 1:
        tree = KDTree(points[left])
        distances, found = tree.query(points[left], k=2, distance_upper_bound=radius)
        own = np.arange(len(left))
        # Of equal points, either may be found first.
        other = np.where(found[:, 0] == own, found[:, 1], found[:, 0])
        near = np.where(found[:, 0] == own, distances[:, 1], distances[:, 0]) <= radius
        if not near.any():
            return
        for one, two in zip(left[own[near]], left[other[near]], strict=True):
            groups.merge(int(rows[one]), int(rows[two]))
        left = np.array([index for index in left if groups[int(rows[index])] == int(rows[index])])


def find_repeated_rows(splits: Splits, repeated: Mapping[str, Any]) -> list[Finding]:
    """Return a finding for each row that is also in another split, according to data.json.

    Args:
        repeated: For ``test in train`` and the like, how many rows are repeated exactly, and pairs of names.
    """
    findings = []
    for where, found in repeated.items():
        second, _, first = where.partition(" in ")
        rows = Rows.of_split(next(split for split in splits if split.name == first), splits.target)
        index = {name: row for row, name in enumerate(rows.names)}
        for number, (other, own) in enumerate(found["pairs"]):
            same = number < found["exact"]
            kind = f"{'' if same else 'near_'}duplicate_in_splits"
            detail = f"{'the same as' if same else 'nearly the same as'} {other} ({second})"
            if own in index:
                findings.append(rows.find(kind, index[own], detail, 1.0 if same else 0.9))
    return findings
