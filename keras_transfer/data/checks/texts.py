"""Find texts that cannot be used: blank ones, invalid bytes, and texts that are in two splits."""

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import cast

from keras_transfer.data.checks.findings import Finding
from keras_transfer.data.checks.leaks import Matches, Repeated, Wording, find_equal, report_repeated
from keras_transfer.data.examples.texts import Segments, Texts, hash_text, normalize
from keras_transfer.data.splits.splits import Split
from keras_transfer.data.tables.tables import some
from keras_transfer.errors import DataError, list_lines

_FIRST_LETTERS = 300
_COMMON_SCRIPT = 0.05
_JAPANESE = {"HIRAGANA": "CJK", "KATAKANA": "CJK"}


def find_script(text: str) -> str:
    """Return the script of most letters of a text's start, such as ``LATIN``; empty without letters."""
    counts = Counter(script for mark in text[: 4 * _FIRST_LETTERS] if (script := _script_of(mark)))
    return counts.most_common(1)[0][0] if counts else ""


@functools.lru_cache(maxsize=2**16)
def _script_of(mark: str) -> str:
    """The first word of a letter's Unicode name is its script."""
    if not mark.isalpha():
        return ""
    script = unicodedata.name(mark, "").partition(" ")[0]
    return _JAPANESE.get(script, script)


def find_common(scripts: Sequence[str]) -> dict[str, float]:
    """Return the scripts that are not rare among texts, with their shares, the most frequent one first."""
    counts = Counter(script for script in scripts if script)
    total = sum(counts.values())
    return {script: count / total for script, count in counts.most_common() if count >= _COMMON_SCRIPT * total}


# Neither white space nor zero-width: soft hyphens, joiners, direction marks, U+FEFF. NUL is not visible either.
_VISIBLE = re.compile("[^\\s\\0\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]")
_WRONG_BYTES = re.compile("[\udc80-\udcff]+")
_HALF_PAIRS = re.compile("[\ud800-\udfff]")


def _texts_of(split: Split) -> Texts:
    return cast(Texts, split.examples)


def check_texts(splits: Sequence[Split], *, broken: str) -> tuple[list[Split], list[str]]:
    """Check every text: a text that is blank, or has bytes that are not UTF-8, is broken.

    Args:
        broken: ``error``; ``skip`` drops broken texts; ``replace`` puts U+FFFD in place of invalid bytes, as
            ``bytes.decode("utf-8", "replace")`` does, and refuses blank texts.

    Returns:
        The splits without their broken texts, or with these fixed, and a line for each broken text.

    Raises:
        DataError: There are broken texts that may neither be dropped nor fixed, or all texts of a split are broken.
    """
    blank = {split.name: _find_blank(_texts_of(split)) for split in splits}
    wrong = {split.name: _find_wrong_bytes(_texts_of(split)) for split in splits}
    _refuse_empty(splits, blank)
    left_out = {split.name: {**wrong[split.name], **blank[split.name]} for split in splits}
    if broken == "replace":
        _refuse(splits, blank, "Fill them in, or remove them.")
        found = [f"{line}; replaced by U+FFFD" for line in _name_broken(splits, wrong)]
        return [split.with_examples(_fix(_texts_of(split), wrong[split.name])) for split in splits], found
    if broken == "error":
        encoding = "Many texts written on Windows are cp1252: set data.encoding. " if any(wrong.values()) else ""
        _refuse(
            splits,
            left_out,
            f"{encoding}Fix or remove them, drop them with data.broken=skip, or replace invalid bytes by U+FFFD with "
            "data.broken=replace.",
        )
    kept = [split.select([i for i in range(len(split.examples)) if i not in left_out[split.name]]) for split in splits]
    emptied = [
        split.name for split, rest in zip(splits, kept, strict=True) if not len(rest.examples) and len(split.examples)
    ]
    if emptied:
        _refuse(splits, left_out, f"Fix or remove them: no {emptied[0]} text is left.")
    return kept, _name_broken(splits, left_out)


def find_broken_texts(splits: Sequence[Split]) -> list[Finding]:
    """Return a finding for each text that is blank, or has bytes that are not UTF-8."""
    return [
        Finding(kind, split.examples.names[row], split.name, detail=problem)
        for split in splits
        for kind, problems in (
            ("empty", _find_blank(_texts_of(split))),
            ("broken", _find_wrong_bytes(_texts_of(split))),
        )
        for row, problem in problems.items()
    ]


def _find_blank(texts: Texts) -> dict[int, str]:
    """The problem of each example that has a blank text."""
    return {
        row: _place("empty or blank", segments, number)
        for row, segments in enumerate(texts.segments)
        for number, segment in enumerate(segments)
        if is_blank(segment)
    }


def is_blank(text: str) -> bool:
    """Return whether a text has no visible characters."""
    return not _VISIBLE.search(text)


def _find_wrong_bytes(texts: Texts) -> dict[int, str]:
    """The problem of each example that has bytes that are not UTF-8."""
    problems = ((row, describe_wrong_bytes(segments)) for row, segments in enumerate(texts.segments))
    return {row: problem for row, problem in problems if problem is not None}


def describe_wrong_bytes(segments: Segments) -> str | None:
    """Return the problem of the first text of an example that is not UTF-8; None if all are."""
    for number, segment in enumerate(segments):
        try:
            segment.encode()
        except UnicodeEncodeError as error:
            return _place(_describe_wrong(segment, error.start), segments, number)
    return None


def _describe_wrong(text: str, start: int) -> str:
    if text.startswith(("\udcff\udcfe", "\udcfe\udcff")):
        return "UTF-16; expected UTF-8"
    code = ord(text[start])
    what = f"byte 0x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x} alone"
    line = text.count("\n", 0, start) + 1
    before = text[max(0, start - 20) : start].rpartition("\n")[2]
    return f"{what} is not UTF-8: line {line}{f', after {before!r}' if before else ''}"


def _place(problem: str, segments: Segments, number: int) -> str:
    return problem if len(segments) == 1 else f"{('first', 'second')[number]} text: {problem}"


def _name_broken(splits: Sequence[Split], problems: dict[str, dict[int, str]]) -> list[str]:
    return [
        f"{split.examples.names[row]} ({split.name}): {problem}"
        for split in splits
        for row, problem in sorted(problems[split.name].items())
    ]


def _refuse(splits: Sequence[Split], problems: dict[str, dict[int, str]], advice: str) -> None:
    found = _name_broken(splits, problems)
    if found:
        total = sum(len(split.examples) for split in splits)
        raise DataError(f"{len(found)} of {total} texts cannot be used:\n{list_lines(found)}\n{advice}")


def _refuse_empty(splits: Sequence[Split], blank: dict[str, dict[int, str]]) -> None:
    """If all texts of a split are blank, the cause is not in single texts."""
    empty = [split for split in splits if len(split.examples) and len(blank[split.name]) == len(split.examples)]
    if empty:
        names = some([name for split in empty for name in split.examples.names], 5)
        raise DataError(
            f"All texts are empty in {', '.join(split.name for split in empty)}: {names}. "
            "Check the files, or set data.text to the column of texts."
        )


def _fix(texts: Texts, wrong: Iterable[int]) -> Texts:
    segments = list(texts.segments)
    for row in wrong:
        segments[row] = tuple(map(replace_wrong_bytes, segments[row]))
    return Texts(texts.names, tuple(segments))


def replace_wrong_bytes(text: str) -> str:
    """Replace bytes that are not UTF-8 by U+FFFD.

    One U+FFFD may replace several bytes, such as the first two of a truncated character.
    """
    text = _WRONG_BYTES.sub(lambda run: bytes(ord(c) - 0xDC00 for c in run[0]).decode("utf-8", "replace"), text)
    return _HALF_PAIRS.sub("\ufffd", text)


def find_repeated(splits: Sequence[Split]) -> Repeated:
    """Find texts that are in two splits, exactly or after Unicode NFKC, case folding and joining white space.

    Args:
        splits: The texts; training rows come first. A pair is repeated if both of its texts are.

    Returns:
        The repeated texts; each is counted once for each pair of splits.
    """
    exact = [[hash_text(segments) for segments in _texts_of(split).segments] for split in splits]
    alike = [[hash_text(normalize(segments)) for segments in _texts_of(split).segments] for split in splits]

    def match(first: int, second: int) -> tuple[Matches, Matches]:
        return find_equal(exact[first], exact[second]), find_equal(alike[first], alike[second])

    return report_repeated(
        splits,
        match,
        Wording("text", "normalised", "after normalizing case and spaces", "after normalizing case and spaces"),
    )
