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
from keras_transfer.data.targets import TARGETS, Target, Targets
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
        targets: What the rows are to be told as: ``int64[n]``, an index into the classes, or ``float32[n, outputs]``.
        weights: ``float32[n]``, how much each example counts in training.
        whole: The split that this one is a fold of, whose features are its own; None where it is no fold.
        rows: ``int64[n]``, which rows of that.
    """

    name: str
    examples: Examples
    targets: Targets
    weights: NDArray[np.float32]
    whole: "Split | None" = None
    rows: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.examples)

    def select(self, indices: Sequence[int] | NDArray[np.int64]) -> "Split":
        """Return the split with these of its rows, in this order."""
        index = np.asarray(indices, np.int64)
        return Split(self.name, self.examples.select(index), self.targets[index], self.weights[index])

    def fold(self, rows: NDArray[np.int64]) -> "Split":
        """Return some rows as :meth:`select` does, for cross-validation within the split."""
        return replace(self.select(rows), whole=self, rows=rows)

    def with_examples(self, examples: Examples) -> "Split":
        """Return the split with the same examples in another form."""
        return replace(self, examples=examples)

    def fingerprint(self, target: Target) -> str:
        """Return a SHA-256 over examples and what they are told as: it tells of changes without reading pictures."""
        digest = hashlib.sha256()
        for example, row in zip(self.examples.fingerprints, self.targets, strict=True):
            digest.update(f"{example}\0{target.fingerprint(row)}\n".encode())
        return digest.hexdigest()


def pictures_of(split: Split) -> Pictures:
    """Return a split's examples, which are pictures."""
    return cast(Pictures, split.examples)


@dataclass(frozen=True)
class Splits:
    """What a run learns from and is judged by."""

    target: Target
    train: Split
    validation: Split
    test: Split

    def __iter__(self) -> Iterator[Split]:
        return iter((self.train, self.validation, self.test))

    def check(self) -> None:
        """Refuse splits from which the target cannot be learned.

        Raises:
            DataError: With the numbers.
        """
        self.target.check_splits({split.name: split.targets for split in self})

    def describe(self) -> dict[str, Any]:
        """Return what data.json records: names, and of each split counts, fingerprint and members.

        Classes stand under ``class_names`` and are counted under ``classes``, labels under ``label_names`` and
        ``labels``, numbers under ``number_names`` and ``numbers``.
        """
        return {
            self.target.names_key: list(self.target.names),
            "splits": {split.name: self._describe(split) for split in self},
        }

    def _describe(self, split: Split) -> dict[str, Any]:
        said = [self.target.decode(row) for row in split.targets]
        return {
            "count": len(split),
            **self.target.describe(split.targets),
            "fingerprint": split.fingerprint(self.target),
            "rows": [[name, value] for name, value in zip(split.examples.names, said, strict=True)],
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
    target = TARGETS[config.target](source.class_names)
    target.check_source(source.name)
    _check_columns(source, config.stratify)
    rows = source.rows
    explicit = {name: rows[rows["split"] == name] for name in SPLIT_NAMES if (rows["split"] == name).any()}
    rest = explicit.pop("train") if "train" in explicit else rows[rows["split"] == ""]
    splits: dict[str, Split] = {}
    for name, wanted in (("test", config.test), ("validation", config.validation)):
        if isinstance(wanted, str):
            splits[name] = read_split(name, wanted, config, target)
            continue
        if name in explicit:
            part = explicit[name]
        else:
            rest, part = _draw(rest, wanted, config, source, target, name, seed)
        splits[name] = _to_split(name, source, part, config, target)
    splits["train"] = _to_split("train", source, rest, config, target)
    result = Splits(target, **splits)
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


def read_split(name: str, source: str, config: DataConfig, target: Target) -> Split:
    """Read a whole source as one split.

    Args:
        name: Of the split.
        source: As in a recipe.
        config: Says which columns of a table hold what.
        target: What the model tells; the source may lack some of its classes or labels.

    Returns:
        All its rows.

    Raises:
        DataError: It cannot be read, or has other classes.
    """
    # Whole, it is not divided by columns; and weights count in training alone.
    config = config.model_copy(update={"stratify": ["label"], "weight": None})
    own = _read(source, config)
    target.check_names(source, own.class_names)
    return _to_split(name, own, own.rows, config, target)


def _draw(
    rows: pd.DataFrame, share: float, config: DataConfig, source: Source, target: Target, name: str, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Take a share of the rows, stratified; what is left, then what was taken."""
    if share == 0.0:
        return rows, rows.iloc[:0]
    taken = int(np.ceil(share * len(rows)))
    own = target.strata(target.encode(rows["label"]), least=2, most=min(taken, len(rows) - taken))
    strata = rows.assign(label=own)[config.stratify].astype(str).agg(" / ".join, axis=1)
    counts = strata.value_counts()
    if counts.min() < 2 or min(taken, len(rows) - taken) < len(counts):
        smallest = ", ".join(f"{stratum}: {count}" for stratum, count in counts.sort_values().head(5).items())
        raise DataError(
            f"Data source {source.name} has too few rows for a stratified split: data.{name}={share:g} takes {taken} "
            f"of {len(rows)} rows from {len(counts)} strata, and each needs at least one row on either side. "
            f"Smallest: {smallest}. Add rows, change the share, or name a source of its own for data.{name}."
        )
    left, drawn = train_test_split(np.arange(len(rows)), test_size=taken, random_state=seed, stratify=strata)
    return rows.iloc[np.sort(left)], rows.iloc[np.sort(drawn)]


def _to_split(name: str, source: Source, rows: pd.DataFrame, config: DataConfig, target: Target) -> Split:
    weights = np.ones(len(rows)) if config.weight is None else rows[config.weight].to_numpy(float)
    return Split(
        name=name,
        examples=_to_examples(source, rows, config),
        targets=target.encode(rows["label"]),
        weights=weights.astype(np.float32),
    )
