"""Problems of texts: very short, in another script, duplicates, or made of passages that many texts share."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from keras_transfer.audit.duplicates import Words, find_duplicates, group_equal
from keras_transfer.audit.rows import Rows
from keras_transfer.audit.shingles import (
    PassageCounter,
    choose_passages,
    find_candidates,
    sign,
    similarity,
    split_words,
)
from keras_transfer.data.checks.findings import Finding
from keras_transfer.data.checks.texts import find_common, find_script
from keras_transfer.data.examples.texts import Segments
from keras_transfer.data.splits.splits import Splits
from keras_transfer.storage.content_hashes import hash_content

_NEAR = 0.7
# Shorter than this share of the median, in characters.
_SHORT = 0.05
_LEAST_CHARACTERS = 3
_BOILERPLATE_SHARE, _BOILERPLATE_ROWS, _MOST_PASSAGES = 0.02, 5, 20
_SHOWN = 200


@dataclass
class _Seen:
    """What is stored of the texts: a few numbers for each, and no text."""

    contents: list[str] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    signed: list[int] = field(default_factory=list)
    signatures: list[NDArray[np.uint32]] = field(default_factory=list)
    passages: PassageCounter = field(default_factory=PassageCounter)


def audit_texts(splits: Splits) -> list[Finding]:
    """Check the content of texts. Each is read at most three times, one after the other.

    Args:
        splits: Texts, or pairs of texts, of which none is blank.
    """
    rows, seen = Rows.of(splits), _Seen()
    known: set[bytes] = set()
    for row, segments in enumerate(_segments(splits)):
        words = split_words(segments)
        key = hash_content(" ".join(words).encode("utf-8", "surrogatepass")).encode() if words else b""
        seen.contents.append(hash_content(*(one.encode("utf-8", "surrogatepass") for one in segments)))
        seen.keys.append(key)
        seen.lengths.append(sum(map(len, words)))
        seen.scripts.append(find_script("".join(segments)))
        if key in known:
            continue
        known.add(key)
        seen.passages.add(words)
        signature = sign(words)
        if signature is not None:
            seen.signed.append(row)
            seen.signatures.append(signature)
    findings = [*_find_short(rows, seen.lengths), *find_other_scripts(rows, seen.scripts)]
    findings += _find_copies(rows, seen, splits)
    return findings + _find_boilerplate(rows, seen, splits)


def _segments(splits: Splits) -> Iterator[Segments]:
    for split in splits:
        yield from split.examples.segments  # type: ignore[attr-defined]


def _at(splits: Splits, row: int) -> Segments:
    for split in splits:
        if row < len(split):
            return tuple(split.examples.segments[row])  # type: ignore[attr-defined]
        row -= len(split)
    raise IndexError(row)


def _find_short(rows: Rows, lengths: Sequence[int]) -> list[Finding]:
    median = float(np.median(lengths)) if lengths else 0.0
    least = max(_LEAST_CHARACTERS, _SHORT * median)
    short = [row for row, length in enumerate(lengths) if length < least]
    return [
        rows.find("short", row, f"{lengths[row]} letters; the median is {median:,.0f}", 1.0 - lengths[row] / least)
        for row in short
        if len(short) < len(lengths) / 2
    ]


def find_other_scripts(rows: Rows, scripts: Sequence[str]) -> list[Finding]:
    """Return a finding for each text in a rare script, and one if several scripts are common.

    Args:
        scripts: Of their texts, as :func:`find_script` returns them.
    """
    common = find_common(scripts)
    usual = " and ".join(script.title() for script in common)
    counts, total = Counter(scripts), sum(map(bool, scripts))
    findings = [
        rows.find("script", row, f"{script.title()}; most texts are in {usual}", 1.0 - counts[script] / total)
        for row, script in enumerate(scripts)
        if script and script not in common
    ]
    if len(common) > 1:
        shares = ", ".join(f"{script.title()} {share:.0%}" for script, share in common.items())
        findings.append(Finding("script", detail=f"Several scripts: {shares} of the texts", score=0.5))
    return findings


def _find_copies(rows: Rows, seen: _Seen, splits: Splits) -> list[Finding]:
    exact, near = group_equal(seen.contents), group_equal(seen.keys)

    def compare(row: int, other: int) -> float:
        return similarity(split_words(_at(splits, row)), split_words(_at(splits, other)))

    def how(row: int, other: int) -> str:
        if seen.keys[row] == seen.keys[other]:
            return ", apart from case, spaces and punctuation"
        return f": {compare(row, other):.0%} of their passages of three words"

    if seen.signatures:
        signatures, compared = np.stack(seen.signatures), set[tuple[int, int]]()
        for one, two in find_candidates(signatures):
            # For nearly all candidates, the signatures already show that they differ.
            if (one, two) in compared or (signatures[one] == signatures[two]).mean() < _NEAR - 0.2:
                continue
            compared.add((one, two))
            if compare(seen.signed[one], seen.signed[two]) >= _NEAR:
                near.merge(seen.signed[one], seen.signed[two])

    return find_duplicates(rows, exact, near, Words("the same text as", "nearly the same text as"), how)


def _find_boilerplate(rows: Rows, seen: _Seen, splits: Splits) -> list[Finding]:
    least = max(_BOILERPLATE_ROWS, int(np.ceil(_BOILERPLATE_SHARE * len(rows))))
    counts: Counter[str] = Counter()
    firsts: dict[str, int] = {}
    known: set[bytes] = set()
    for row, segments in enumerate(_segments(splits)):
        if seen.keys[row] in known:
            continue
        known.add(seen.keys[row])
        for passage in set(seen.passages.find(split_words(segments), least)):
            counts[passage] += 1
            firsts.setdefault(passage, row)
    return [
        Finding(
            "boilerplate",
            detail=f"{count:,} texts have {_shorten(passage)!r}; the first is {rows.place(firsts[passage])}",
            score=count / len(rows),
        )
        for passage, count in choose_passages(counts, least, _MOST_PASSAGES)
    ]


def _shorten(passage: str) -> str:
    return passage if len(passage) <= _SHOWN else f"{passage[:_SHOWN]}..."
