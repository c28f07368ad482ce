"""Divide a source into training, validation and test rows."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from keras_transfer.config import DataConfig, PictureDataConfig, TextDataConfig
from keras_transfer.data.sources import SPLIT_NAMES, Source, read_source
from keras_transfer.data.text_sources import read_text_source
from keras_transfer.data.texts import Texts
from keras_transfer.errors import DataError


class Examples(Protocol):
    """What a task's network learns from: pictures, or texts."""

    @property
    def names(self) -> tuple[str, ...]:
        """What people call each: a path, a row of a table."""

    @property
    def fingerprints(self) -> list[str]:
        """Name and content of each, as far as they can be had quickly: they travel with the data."""

    @property
    def stamps(self) -> list[str]:
        """What tells on this machine that an example has changed."""

    def __len__(self) -> int: ...

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> Self:
        """Return some, in this order."""


@dataclass(frozen=True)
class Pictures:
    """Picture files.

    Attributes:
        root: The folder that the names are relative to.
        names: The files' paths.
    """

    root: Path
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def files(self) -> list[str]:
        """Absolute paths."""
        return [str(self.root / name) for name in self.names]

    @property
    def fingerprints(self) -> list[str]:
        """Path and size of each."""
        return [f"{name}\0{os.stat(file).st_size}" for name, file in zip(self.names, self.files, strict=True)]

    @property
    def stamps(self) -> list[str]:
        """Path, size and time of the last change of each."""
        status = [os.stat(file) for file in self.files]
        return [f"{name}\0{s.st_size}\0{s.st_mtime_ns}" for name, s in zip(self.names, status, strict=True)]

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> "Pictures":
        """Return some, in this order."""
        return Pictures(self.root, tuple(self.names[row] for row in rows))


@dataclass(frozen=True)
class Split:
    """Some of a source's rows, ready to be read.

    Attributes:
        name: ``train``, ``validation`` or ``test``.
        examples: Pictures or texts.
        labels: ``int64[n]``, an index into the class names.
        weights: ``float32[n]``, how much each example counts in training.
        whole: The split that this one is a fold of, whose features are its own; None where it is no fold.
        rows: ``int64[n]``, which rows of that.
    """

    name: str
    examples: Examples
    labels: NDArray[np.int64]
    weights: NDArray[np.float32]
    whole: "Split | None" = None
    rows: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.examples)

    def select(self, indices: Sequence[int] | NDArray[np.int64]) -> "Split":
        """Return the split with these of its rows, in this order."""
        index = np.asarray(indices, np.int64)
        return Split(self.name, self.examples.select(index), self.labels[index], self.weights[index])

    def fold(self, rows: NDArray[np.int64]) -> "Split":
        """Return some rows as :meth:`select` does, for cross-validation within the split."""
        return replace(self.select(rows), whole=self, rows=rows)

    def with_examples(self, examples: Examples) -> "Split":
        """Return the split with the same examples in another form."""
        return replace(self, examples=examples)

    def fingerprint(self, class_names: Sequence[str]) -> str:
        """Return a SHA-256 over examples and labels: it tells of changes without reading pictures."""
        digest = hashlib.sha256()
        for example, label in zip(self.examples.fingerprints, self.labels, strict=True):
            digest.update(f"{example}\0{class_names[label]}\n".encode())
        return digest.hexdigest()


def pictures_of(split: Split) -> Pictures:
    """Return a split's examples, which are pictures."""
    return cast(Pictures, split.examples)


@dataclass(frozen=True)
class Splits:
    """What a run learns from and is judged by."""

    class_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split

    def __iter__(self) -> Iterator[Split]:
        return iter((self.train, self.validation, self.test))

    def check(self) -> None:
        """Refuse splits in which a class has no row to be learned from, watched or judged by.

        Raises:
            DataError: With the numbers.
        """
        for split in self:
            counts = np.bincount(split.labels, minlength=len(self.class_names))
            absent = [name for name, count in zip(self.class_names, counts, strict=True) if count == 0]
            if not absent or (not len(split) and split.name != "train"):
                continue
            total = np.bincount(np.concatenate([part.labels for part in self]), minlength=len(self.class_names))
            numbers = ", ".join(f"{name!r} ({total[self.class_names.index(name)]} in all)" for name in absent[:5])
            more = f" and {len(absent) - 5} more classes" if len(absent) > 5 else ""
            raise DataError(
                f"The {split.name} split has {len(split)} rows and none of {numbers}{more}. "
                "Add pictures of them, or change data.validation and data.test."
            )

    def describe(self) -> dict[str, Any]:
        """Return what data.json records: class names, counts, fingerprints and the members of each split."""
        return {
            "class_names": list(self.class_names),
            "splits": {split.name: self._describe(split) for split in self},
        }

    def _describe(self, split: Split) -> dict[str, Any]:
        counts = np.bincount(split.labels, minlength=len(self.class_names))
        return {
            "count": len(split),
            "classes": dict(zip(self.class_names, counts.tolist(), strict=True)),
            "fingerprint": split.fingerprint(self.class_names),
            "rows": [
                [name, self.class_names[label]] for name, label in zip(split.examples.names, split.labels, strict=True)
            ],
        }


def load_splits(config: DataConfig, *, seed: int) -> Splits:
    """Read the sources that a recipe names and divide them.

    A part that the source itself sets apart (a ``test/`` folder) is taken as it is; else the recipe's share is drawn:
    the test rows from all, then the validation rows from what is left, both stratified and the same on every machine.

    Args:
        config: The recipe's data section.
        seed: Of the draws.

    Returns:
        The splits; validation or test is empty where the recipe says 0.

    Raises:
        DataError: A source cannot be read, or has too few rows to be divided so.
    """
    source = _read(config.source, config)
    if len(source.class_names) < 2:
        only = source.class_names[0]
        raise DataError(f"Data source {source.name} has one class: {only!r}. A classifier needs at least two.")
    _check_columns(source, config.stratify)
    rows = source.rows
    explicit = {name: rows[rows["split"] == name] for name in SPLIT_NAMES if (rows["split"] == name).any()}
    rest = explicit.pop("train") if "train" in explicit else rows[rows["split"] == ""]
    splits: dict[str, Split] = {}
    for name, wanted in (("test", config.test), ("validation", config.validation)):
        if isinstance(wanted, str):
            splits[name] = read_split(name, wanted, config, source.class_names)
            continue
        if name in explicit:
            part = explicit[name]
        else:
            rest, part = _draw(rest, wanted, config, source, name, seed)
        splits[name] = _to_split(name, source, part, config, source.class_names)
    splits["train"] = _to_split("train", source, rest, config, source.class_names)
    result = Splits(source.class_names, **splits)
    result.check()
    return result


def _read(name: str, config: DataConfig) -> Source:
    if isinstance(config, TextDataConfig):
        return read_text_source(name, config)
    return read_source(name, cast(PictureDataConfig, config))


def _to_examples(source: Source, rows: pd.DataFrame, config: DataConfig) -> Examples:
    if not isinstance(config, TextDataConfig):
        return Pictures(source.root, tuple(rows["path"]))
    columns = ["text"] if config.text_pair is None else ["text", "text_pair"]
    return Texts(tuple(rows["name"]), tuple(rows[columns].itertuples(index=False, name=None)))


def _check_columns(source: Source, columns: Sequence[str]) -> None:
    for column in columns:
        if column not in source.rows.columns:
            known = ", ".join(str(name) for name in source.rows.columns if name not in ("path", "split"))
            raise DataError(f"data.stratify: {source.name} has no column {column!r}. Columns: {known}.")


def read_split(name: str, source: str, config: DataConfig, class_names: tuple[str, ...]) -> Split:
    """Read a whole source as one split.

    Args:
        name: Of the split.
        source: As in a recipe.
        config: Says which columns of a table hold what.
        class_names: Those of the model, in its order; the source may lack some.

    Returns:
        All its rows.

    Raises:
        DataError: It cannot be read, or has other classes.
    """
    # Whole, it is not divided by columns; and weights count in training alone.
    config = config.model_copy(update={"stratify": ["label"], "weight": None})
    own = _read(source, config)
    unknown = sorted(set(own.class_names) - set(class_names))
    if unknown:
        raise DataError(
            f"{source} has classes that the training data lacks: {', '.join(unknown)}. "
            f"Classes: {', '.join(class_names)}."
        )
    return _to_split(name, own, own.rows, config, class_names)


def _draw(
    rows: pd.DataFrame, share: float, config: DataConfig, source: Source, name: str, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Take a share of the rows, stratified; what is left, then what was taken."""
    if share == 0.0:
        return rows, rows.iloc[:0]
    strata = rows[config.stratify].astype(str).agg(" / ".join, axis=1)
    counts = strata.value_counts()
    taken = int(np.ceil(share * len(rows)))
    if counts.min() < 2 or min(taken, len(rows) - taken) < len(counts):
        smallest = ", ".join(f"{stratum}: {count}" for stratum, count in counts.sort_values().head(5).items())
        raise DataError(
            f"Data source {source.name} has too few rows for a stratified split: data.{name}={share:g} takes {taken} "
            f"of {len(rows)} rows from {len(counts)} strata, and each needs at least one row on either side. "
            f"Smallest: {smallest}. Add rows, change the share, or name a source of its own for data.{name}."
        )
    left, drawn = train_test_split(np.arange(len(rows)), test_size=taken, random_state=seed, stratify=strata)
    return rows.iloc[np.sort(left)], rows.iloc[np.sort(drawn)]


def _to_split(name: str, source: Source, rows: pd.DataFrame, config: DataConfig, class_names: tuple[str, ...]) -> Split:
    indices = {class_name: index for index, class_name in enumerate(class_names)}
    weights = np.ones(len(rows)) if config.weight is None else rows[config.weight].to_numpy(float)
    return Split(
        name=name,
        examples=_to_examples(source, rows, config),
        labels=np.array([indices[label] for label in rows["label"]], np.int64),
        weights=weights.astype(np.float32),
    )
