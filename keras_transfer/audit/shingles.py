"""Passages of a few words as hashes: texts that share most of theirs, and passages that many texts share."""

import itertools
import re
import unicodedata
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

_WORD = re.compile(r"\w+")
# In scripts without spaces, words would be as long as sentences: their characters are used instead.
_LONG_WORD = 12

_LENGTH, _PASSAGE = 3, 8
_LEAST_WORDS = 8
_PERMUTATIONS, _BANDS = 64, 16
_CHUNK = 4096
_RANDOM = np.random.default_rng(20260101)
_FACTORS = _RANDOM.integers(1, 2**63, (2, _PERMUTATIONS), np.uint64) | np.uint64(1)
_STEPS = _RANDOM.integers(1, 2**63, 16, np.uint64) | np.uint64(1)
_CELLS = 2**22


def split_words(segments: Sequence[str]) -> list[str]:
    """Return the words of a text in lower case, after Unicode NFKC; characters if it has no spaces."""
    text = unicodedata.normalize("NFKC", " \n ".join(segments)).casefold()
    words = _WORD.findall(text)
    letters = sum(map(len, words))
    return words if letters <= _LONG_WORD * len(words) else [mark for word in words for mark in word]


def hash_shingles(words: Sequence[str], length: int) -> Hashes:
    """Return a hash of every passage of ``length`` words, in their order; the same on every machine."""
    if len(words) < length:
        return np.zeros(0, np.uint64)
    codes = np.array([zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in words], np.uint64)
    count = len(words) - length + 1
    hashes = np.zeros(count, np.uint64)
    for step in range(length):
        hashes = (hashes ^ codes[step : step + count]) * _STEPS[step]
        hashes ^= hashes >> np.uint64(29)
    return hashes


def sign(words: Sequence[str]) -> NDArray[np.uint32] | None:
    """Return the MinHash signature of a text, ``uint32[64]``; None for a text of few words.

    The share of equal numbers of two signatures estimates how many of the passages of three words two texts share
    (Broder 1997, "On the resemblance and containment of documents").
    """
    if len(words) < _LEAST_WORDS:
        return None
    hashes = hash_shingles(words, _LENGTH)
    least = np.full(_PERMUTATIONS, 2**32 - 1, np.uint32)
    for start in range(0, len(hashes), _CHUNK):
        mixed = hashes[start : start + _CHUNK, None] * _FACTORS[0] + _FACTORS[1]
        np.minimum(least, (mixed >> np.uint64(32)).astype(np.uint32).min(axis=0), out=least)
    return least


def find_candidates(signatures: NDArray[np.uint32]) -> Iterable[tuple[int, int]]:
    """Yield pairs of rows whose signatures agree in at least one of 16 bands, each row with few others.

    Args:
        signatures: ``uint32[n, 64]``.
    """
    width = _PERMUTATIONS // _BANDS
    for band in range(_BANDS):
        buckets = defaultdict(list)
        for row, part in enumerate(signatures[:, band * width : (band + 1) * width]):
            buckets[part.tobytes()].append(row)
        for rows in buckets.values():
            # The first row and the previous one are enough to link a group.
            yield from ((rows[0], row) for row in rows[1:])
            yield from itertools.pairwise(rows)


def similarity(words: Sequence[str], others: Sequence[str]) -> float:
    """Return the share of passages of three words that two texts have in common (Jaccard)."""
    first, second = (set(hash_shingles(one, _LENGTH).tolist()) for one in (words, others))
    return len(first & second) / max(len(first | second), 1)


class PassageCounter:
    """Counts passages of eight words over many texts, in a table of fixed size."""

    def __init__(self) -> None:
        self._counts = np.zeros(_CELLS, np.uint32)

    def add(self, words: Sequence[str]) -> None:
        """Count the passages of a text, each once."""
        self._counts[np.unique(self._cells(words))] += 1

    def find(self, words: Sequence[str], least: int) -> list[str]:
        """Return the longest passages of a text all of whose parts occur in ``least`` texts or more."""
        often = self._counts[self._cells(words)] >= least
        edges = np.flatnonzero(np.diff(np.concatenate([[False], often, [False]]).astype(np.int8)))
        return [" ".join(words[start : end + _PASSAGE - 1]) for start, end in zip(edges[::2], edges[1::2], strict=True)]

    def _cells(self, words: Sequence[str]) -> NDArray[np.int64]:
        return (hash_shingles(words, _PASSAGE) % np.uint64(_CELLS)).astype(np.int64)


def choose_passages(counts: Counter[str], least: int, most: int) -> list[tuple[str, int]]:
    """Return the most frequent passages with their counts, without those that are parts of others."""
    chosen: list[tuple[str, int]] = []
    for passage, count in counts.most_common():
        if count < least or len(chosen) == most:
            break
        if not any(passage in other or other in passage for other, _ in chosen):
            chosen.append((passage, count))
    return chosen
