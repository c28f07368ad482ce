"""What is said in a recording."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from keras_transfer.config.data import DataConfig, SpeechDataConfig
from keras_transfer.data.normalization import normalize
from keras_transfer.data.tables.tables import check_written, kind_of, some_values
from keras_transfer.data.targets.base import Labels, Target, Targets
from keras_transfer.errors import DataError


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

    def strata(self, targets: Targets, *, least: int, most: int) -> list[str]:
        return [self.names[0]] * len(targets)

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
    """The transcripts as they are written; "" for a row without one, which the scan reports."""
    check_written(file, table, column)
    absent, values = table[column].isna().tolist(), table[column].tolist()
    texts = ["" if no else value for value, no in zip(values, absent, strict=True)]
    wrong = [row for row, text in enumerate(texts) if not isinstance(text, str)]
    if wrong:
        kinds = ", ".join(sorted({kind_of(texts[row]) for row in wrong}))
        raise DataError(
            f"{file}: column {column!r} has values that are not transcripts ({kinds}): {some_values(values, wrong)}. "
            "Write them as text, or set data.label to the column of transcripts."
        )
    return texts


def _count_words(targets: Targets) -> int:
    return sum(len(text.split()) for text in targets)
