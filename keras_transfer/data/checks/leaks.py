"""Examples that are in two splits: a model's metrics are too high on rows that it was trained on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_transfer.data.checks.image_measures import SIDE, measure_images
from keras_transfer.data.splits.splits import Split, images_of

Matches = Mapping[int, int]

_MOST_PAIRS = 1000
# A perceptual hash is the grey of 8 x 8 fields. Two images look the same if the root mean square of their difference is
# at most 1 of 255. Among 1,312 solar cells, which are very similar, no two are that near (1.18), but all copies are: as
# JPEG of quality 40 (0.50) or at half the size (0.95). Signs of gradients separated them less well: copies differed in
# up to 41 of 256 bits, and different cells in as few as 3.
NEAR = 1.0
"""Largest root mean square of the difference between images that look the same, in grey levels of 255."""

_ROWS = 1024


@dataclass(frozen=True)
class Repeated:
    """Examples that are in two splits.

    Attributes:
        lines: One line for the user for each pair of splits that share examples.
        record: For data.json, for each of these pairs: how many examples are repeated exactly, how many nearly, and
            pairs of their names, up to 1000 in all.
    """

    lines: tuple[str, ...]
    record: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Wording:
    """The words of messages about examples.

    Attributes:
        noun: ``text``.
        near_key: The key of near matches in data.json: ``normalised``.
        more: How near matches differ, in addition to exact ones: ``match after case and spaces``.
        but: The same without exact ones: ``apart from case and spaces``.
    """

    noun: str
    near_key: str
    more: str
    but: str


def report_repeated(
    splits: Sequence[Split], match: Callable[[int, int], tuple[Matches, Matches]], words: Wording
) -> Repeated:
    """Compare every pair of splits.

    Args:
        match: From the indices of two splits to rows of the second, with the row of the first that each repeats: first
            the exact matches, then the near ones, which may include the exact ones.

    Returns:
        The repeated examples; each is counted once for each pair of splits.
    """
    lines: list[str] = []
    record: dict[str, dict[str, Any]] = {}
    left = _MOST_PAIRS
    for (number, first), (other, second) in combinations(enumerate(splits), 2):
        same, near = match(number, other)
        near = {row: own for row, own in near.items() if row not in same}
        if not same and not near:
            continue
        pairs = [[second.examples.names[a], first.examples.names[b]] for a, b in (*same.items(), *near.items())]
        lines.append(_summarise(second.name, first.name, len(same), len(near), pairs[0], words))
        record[f"{second.name} in {first.name}"] = {
            "exact": len(same),
            words.near_key: len(near),
            "pairs": pairs[:left],
        }
        left -= len(pairs[:left])
    return Repeated(tuple(lines), record)


def find_equal(first: Sequence[str], second: Sequence[str]) -> dict[int, int]:
    """Return rows of the second, each with the first row of the first that is equal; empty values equal nothing."""
    rows = {value: row for row, value in reversed(list(enumerate(first))) if value}
    return {row: rows[value] for row, value in enumerate(second) if value in rows}


def _summarise(second: str, first: str, same: int, near: int, pair: list[str], words: Wording) -> str:
    verb = f"{words.noun} of {{}} is" if (same or near) == 1 else f"{words.noun}s of {{}} are"
    more = f" ({near} more {words.more})" if same and near else ""
    but = "" if same else f" {words.but}"
    return (
        f"{same or near} {verb.format(second)} also in {first}{more or but}, "
        f"for example {pair[0]} of {second} and {pair[1]} of {first}"
    )


def find_repeated_images(splits: Sequence[Split], *, memory: Path) -> Repeated:
    """Find images that are in two splits: the same bytes, or images that look the same.

    Each image is decoded once; an image that has not changed is not opened again.

    Args:
        memory: The folder of cached hashes; it is not used if it cannot be written.
    """
    looks = [[one.grey for one in measure_images(images_of(split), memory)] for split in splits]
    contents = [images_of(split).content_hashes for split in splits]

    def match(first: int, second: int) -> tuple[Matches, Matches]:
        return find_equal(contents[first], contents[second]), _find_near(looks[first], looks[second])

    return report_repeated(splits, match, Wording("image", "alike", "near copies", "as near copies"))


def _find_near(first: Sequence[str], second: Sequence[str]) -> dict[int, int]:
    """Rows of the second split, with the nearest row of the first if it looks the same."""
    near: dict[int, int] = {}
    known = to_points(first, unknown=-1e6)
    lengths = np.square(known).sum(axis=1)
    for start in range(0, len(second) if first else 0, _ROWS):
        points = to_points(second[start : start + _ROWS], unknown=1e6)
        squares = lengths - 2.0 * points @ known.T + np.square(points).sum(axis=1, keepdims=True)
        nearest = squares.argmin(axis=1)
        within = squares[np.arange(len(points)), nearest] <= NEAR**2 * SIDE**2
        near |= {start + int(row): int(nearest[row]) for row in np.flatnonzero(within)}
    return near


def to_points(looks: Sequence[str], *, unknown: float) -> NDArray[np.float32]:
    """Return perceptual hashes as points ``float32[n, 64]``; similar images are within :data:`NEAR` x 8.

    Args:
        looks: Perceptual hashes in hexadecimal; empty for an image that could not be read.
        unknown: The value of such an image in every dimension.
    """
    points = np.full((len(looks), SIDE**2), unknown, np.float32)
    for point, look in zip(points, looks, strict=True):
        if look:
            point[:] = np.frombuffer(bytes.fromhex(look), np.uint8)
    # float32 resolves small differences best near zero.
    return points - 128.0
