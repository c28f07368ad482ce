"""Texts without labels, divided so that whoever learns from them never sees the test rows of a classifier."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from keras_transfer.config import TextDataConfig
from keras_transfer.data.source import Source
from keras_transfer.data.splits import Split, Splits, load_splits
from keras_transfer.data.targets import ClassTarget
from keras_transfer.data.text_sources import has_classes, read_unlabelled
from keras_transfer.data.texts import Texts
from keras_transfer.errors import DataError

ONE_CLASS = ("text",)
"""What stands for class names where there are none."""


def load_unlabelled(config: TextDataConfig, *, seed: int, given: Mapping[str, Any] | None = None) -> Splits:
    """Read the texts that a recipe names and divide them.

    A source that has labels is divided by :func:`load_splits`, as a classifier's recipe of the same source, seed and
    shares divides it, and the labels are forgotten: validation and test rows are the same ones in both.

    Args:
        config: The recipe's data section. A source for validation or test rows needs no labels either.
        seed: Of the draws.
        given: What names of sources stand for, where Python holds it: labelled texts.

    Returns:
        The splits, of one class.

    Raises:
        DataError: A source cannot be read, or has too few rows to be divided so.
    """
    apart = {name: value for name in ("validation", "test") if isinstance(value := getattr(config, name), str)}
    shares = config.model_copy(update=dict.fromkeys(apart, 0.0))
    given = given or {}
    if config.source in given or has_classes(config.source, config):
        drawn = {split.name: _forget_labels(split) for split in load_splits(shares, seed=seed, given=given)}
    else:
        drawn = _divide(read_unlabelled(config.source, config), shares, seed)
    for name, source in apart.items():
        drawn[name] = read_unlabelled_split(name, source, config)
    return Splits(ClassTarget(ONE_CLASS), drawn["train"], drawn["validation"], drawn["test"])


def read_unlabelled_split(name: str, source: str, config: TextDataConfig) -> Split:
    """Read a whole source as one split.

    Args:
        name: Of the split.
        source: As in a recipe.
        config: Says which columns of a table hold what.
    """
    plain = config.model_copy(update={"weight": None})  # weights count in training alone
    return _to_split(name, read_unlabelled(source, plain).rows, plain)


def _forget_labels(split: Split) -> Split:
    return Split(split.name, split.examples, _no_labels(len(split)), split.weights)


def _no_labels(rows: int) -> NDArray[np.int64]:
    return np.zeros(rows, np.int64)


def _divide(source: Source, config: TextDataConfig, seed: int) -> dict[str, Split]:
    columns = [column for column in config.stratify if column != "label"]
    if columns:
        raise DataError(
            f"data.stratify: {source.name} has no labels, and texts without are divided at random. Received: "
            f"{', '.join(columns)}. Leave it out, or name a column of labels with data.label."
        )
    rows = source.rows
    parts = {"train": rows[rows["split"].isin(["", "train"])]}
    for name in ("test", "validation"):
        part, share = rows[rows["split"] == name], float(getattr(config, name))
        if part.empty and share:
            taken = int(np.ceil(share * len(parts["train"])))
            if taken >= len(parts["train"]):
                raise DataError(
                    f"Data source {source.name} has too few texts: data.{name}={share:g} takes {taken} of "
                    f"{len(parts['train'])}. Add texts, change the share, or name a source of its own for data.{name}."
                )
            parts["train"], part = _draw(parts["train"], taken, seed)
        parts[name] = part
    return {name: _to_split(name, part, config) for name, part in parts.items()}


def _draw(rows: pd.DataFrame, taken: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    left, drawn = train_test_split(np.arange(len(rows)), test_size=taken, random_state=seed)
    return rows.iloc[np.sort(left)], rows.iloc[np.sort(drawn)]


def _to_split(name: str, rows: pd.DataFrame, config: TextDataConfig) -> Split:
    columns: Sequence[str] = ["text"] if config.text_pair is None else ["text", "text_pair"]
    weights = np.ones(len(rows)) if config.weight is None else rows[config.weight].to_numpy(float)
    texts = Texts(tuple(rows["name"]), tuple(rows[list(columns)].itertuples(index=False, name=None)))
    return Split(name, texts, _no_labels(len(rows)), weights.astype(np.float32))
