"""Transcripts of recordings."""

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from keras_transfer.config.data import DataConfig, SpeechDataConfig
from keras_transfer.data.tables.tables import check_written, kind_of, some_values, take_texts
from keras_transfer.data.targets.base import Labels, Target, Targets
from keras_transfer.errors import ConfigError, DataError

# As typed, and as typeset: Whisper writes the first of each pair.
_INNER_MARKS = {"'": "'", "\u2019": "'", "\u02bc": "'", "-": "-", "\u2010": "-", "\u2011": "-"}
# Invisible, but part of the spelling of Persian and Indic words.
_JOINERS = "\u200c\u200d"


def normalize(text: str, rule: str) -> str:
    r"""Normalize a transcript according to a rule. The result does not change if the rule is applied again.

    Args:
        rule: ``whitespace``: Unicode NFC, and one space for each run of white space, with none at the ends; ``lower``:
            also in lower case; ``words``: also without punctuation and symbols, other than apostrophes and hyphens
            between letters.

    Raises:
        ConfigError: There is no such rule.

    Example:
        >>> normalize(" Don't  panic!\n", "whitespace"), normalize("Don\u2019t panic - it's OK.", "words")
        ("Don't panic!", "don't panic it's ok")
    """
    if rule not in _RULES:
        raise ConfigError(f"data.normalization: there is no rule {rule!r}. Use {', '.join(_RULES)}.")
    return _RULES[rule](text)


def _join(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _lower(text: str) -> str:
    return _join(_join(text).lower())


def _keep_words(text: str) -> str:
    # Soft hyphens and direction marks occur within words, and must not divide them.
    text = "".join(mark for mark in _lower(text) if mark in _JOINERS or unicodedata.category(mark) != "Cf")
    padded = f" {text} "
    triples = zip(padded, text, padded[2:], strict=False)
    kept = "".join(_keep(mark, _is_of_word(before) and _is_of_word(after)) for before, mark, after in triples)
    return _join(kept)


def _keep(mark: str, is_within: bool) -> str:
    if _is_of_word(mark):
        return mark
    return _INNER_MARKS[mark] if is_within and mark in _INNER_MARKS else " "


def _is_of_word(mark: str) -> bool:
    """Whether it is a letter, a digit, or a combining mark: vowels of many scripts are marks."""
    # In Unicode, one of the apostrophes is a letter.
    return mark not in _INNER_MARKS and (mark in _JOINERS or unicodedata.category(mark)[0] in "LNM")


_RULES: Mapping[str, Callable[[str], str]] = {"whitespace": _join, "lower": _lower, "words": _keep_words}


class TranscriptTarget(Target):
    """A text.

    A row's label is its transcript, normalized; it is empty if the row has none.
    """

    names_key = "transcript_names"
    _plural = "transcripts"

    @classmethod
    def read(cls, file: Path, table: pd.DataFrame, config: DataConfig) -> Labels:
        """Return the transcript of each row, by the rule of ``data.normalization``."""
        column, rule = config.label_columns[0], cast(SpeechDataConfig, config).normalization
        texts = _read_texts(file, table, column)
        values = [normalize(text, rule) for text in texts]
        changed = sum(old != new for old, new in zip(texts, values, strict=True))
        note = f"Transcripts of column {column!r}: data.normalization={rule} changes {changed:,} of {len(texts):,}"
        return Labels(values, TRANSCRIPTS.names, (note,) if changed else ())

    def encode(self, values: Iterable[Any]) -> Targets:
        return np.array(list(values), object)

    def decode(self, row: Any) -> str:
        return str(row)

    def describe(self, targets: Targets) -> dict[str, Any]:
        return {"words": _count_words(targets), "characters": sum(map(len, targets))}

    def headline(self) -> str:
        return "transcripts"

    def count(self, targets: Targets) -> str:
        return f"{len(targets):,} transcripts of {_count_words(targets):,} words"

    def check_source(self, name: str, values: Sequence[Any]) -> None:
        if not any(values):
            raise DataError(
                f"Data source {name} has no transcripts: the column of data.label is empty in every row. Set "
                "data.label to the column of transcripts."
            )

    def check_splits(self, splits: Mapping[str, Targets]) -> None:
        for name, targets in splits.items():
            if len(targets) and not any(targets):
                raise DataError(
                    f"The {name} split has {len(targets)} rows, and none has a transcript. Fill them in, or change "
                    "data.validation and data.test."
                )


TRANSCRIPTS = TranscriptTarget(("text",))


def _read_texts(file: Path, table: pd.DataFrame, column: str) -> list[str]:
    """The original transcripts; "" for a row without one, which the scan reports."""
    check_written(file, table, column)
    texts, wrong = take_texts(table, column)
    if wrong:
        kinds = ", ".join(sorted({kind_of(texts[row]) for row in wrong}))
        raise DataError(
            f"{file}: column {column!r} has values that are not transcripts ({kinds}): {some_values(texts, wrong)}. "
            "Write them as text, or set data.label to the column of transcripts."
        )
    return texts


def _count_words(targets: Targets) -> int:
    return sum(len(text.split()) for text in targets)
