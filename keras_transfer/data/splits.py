"""Divide a source into training, validation and test rows."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from keras_transfer.config import DataConfig, PictureDataConfig, TextDataConfig
from keras_transfer.data.groups import draw_fold, draw_groups, draw_per_class
from keras_transfer.data.pictures import PictureExamples, Pictures
from keras_transfer.data.source import TFDS, Source
from keras_transfer.data.sources import read_source
from keras_transfer.data.tables import SPLIT_NAMES, some
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


def pictures_of(split: Split) -> PictureExamples:
    """Return a split's examples, which are pictures."""
    return cast(PictureExamples, split.examples)


@dataclass(frozen=True)
class Splits:
    """What a run learns from and is judged by.

    Attributes:
        class_names: In the order of the model's outputs.
        train: What is learned from.
        validation: What is watched.
        test: What is judged by.
        notes: What is worth knowing of how they came about: lines for people.
    """

    class_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Split]:
        return iter((self.train, self.validation, self.test))

    def with_parts(self, parts: Sequence[Split]) -> "Splits":
        """Return the same with these for training, validation and test rows."""
        train, validation, test = parts
        return replace(self, train=train, validation=validation, test=test)

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
            "notes": list(self.notes),
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


def load_splits(config: DataConfig, *, seed: int, given: Mapping[str, Any] | None = None) -> Splits:
    """Read the sources that a recipe names and divide them.

    A part that the source itself sets apart (a ``test/`` folder, a column of splits) is taken as it is; else the
    recipe's share is drawn: the test rows from all, then the validation rows from what is left, both stratified, whole
    groups where there are any, and the same on every machine.

    Args:
        config: The recipe's data section.
        seed: Of the draws.
        given: What names of sources stand for, where Python holds it.

    Returns:
        The splits; validation or test is empty where the recipe says 0.

    Raises:
        DataError: A source cannot be read, or has too few rows to be divided so.
    """
    given = given or {}
    source = _read(config.source, config, given)
    _check_classes(source, config)
    _check_columns(source, config)
    rows = source.rows
    explicit = {name: rows[rows["split"] == name] for name in SPLIT_NAMES if (rows["split"] == name).any()}
    rest = explicit.pop("train") if "train" in explicit else rows[rows["split"] == ""]
    if rest.empty:
        raise DataError(f"{source.name} has no training rows, but {' and '.join(explicit)} rows alone. Add some.")
    parts: dict[str, tuple[Source, pd.DataFrame]] = {}
    for name, wanted in (("test", config.test), ("validation", config.validation)):
        if isinstance(wanted, str):
            own = _read_whole(wanted, config, source.class_names, given)
            parts[name] = (own, own.rows)
            continue
        if name == "test" and config.folds is not None:
            rest, part = _take_fold(rest, config, source, explicit, seed)
        elif name in explicit:
            part = explicit[name]
        else:
            rest, part = _draw(rest, wanted, config, source, name, seed)
        parts[name] = (source, part)
    parts["train"] = (source, rest)
    _check_groups(parts, config)
    # Weights count in training alone.
    plain = config.model_copy(update={"weight": None})
    splits = {
        name: _to_split(name, own, part, config if own is source else plain, source.class_names)
        for name, (own, part) in parts.items()
    }
    result = Splits(source.class_names, **splits, notes=source.notes)
    result.check()
    return _take_few(result, config, seed)


def _read(name: str, config: DataConfig, given: Mapping[str, Any]) -> Source:
    if isinstance(config, TextDataConfig):
        return read_text_source(name, config, given.get(name))
    return read_source(name, cast(PictureDataConfig, config), given.get(name))


def _to_examples(source: Source, rows: pd.DataFrame, config: DataConfig) -> Examples:
    if source.encoded is not None:
        return source.encoded.select(rows.index.to_numpy())
    if not isinstance(config, TextDataConfig):
        return Pictures(source.root, tuple(rows["path"]))
    columns = ["text"] if config.text_pair is None else ["text", "text_pair"]
    return Texts(tuple(rows["name"]), tuple(rows[columns].itertuples(index=False, name=None)))


def _check_classes(source: Source, config: DataConfig) -> None:
    if len(source.class_names) < 2:
        only = source.class_names[0]
        raise DataError(f"Data source {source.name} has one class: {only!r}. A classifier needs at least two.")
    counts = Counter(source.rows["label"])
    single = [label for label, count in counts.items() if count == 1]
    if len(single) >= max(len(source.rows) / 2, 10):
        raise DataError(
            f"Data source {source.name} has {len(counts):,} classes in {len(source.rows):,} rows, and {len(single):,} "
            f"of them have one row: {some(single, 5)}. Is data.label={config.label} the column of classes?"
        )


def _check_columns(source: Source, config: DataConfig) -> None:
    wanted = [("stratify", column) for column in config.stratify]
    wanted += [(key, getattr(config, key)) for key in ("group", "split") if getattr(config, key) is not None]
    for key, column in wanted:
        # The column of splits is the source's own once it is read.
        if column not in source.rows.columns and not (key == "split" and source.rows["split"].any()):
            known = ", ".join(str(name) for name in source.rows.columns if name not in ("path", "split"))
            raise DataError(f"data.{key}: {source.name} has no column {column!r}. Columns: {known}.")


def _check_groups(parts: Mapping[str, tuple[Source, pd.DataFrame]], config: DataConfig) -> None:
    """Refuse groups that the sources themselves have put into two splits."""
    homes: dict[str, set[str]] = {}
    for name, (_, rows) in parts.items():
        for group in rows[config.group].unique() if config.group in rows.columns else ():
            homes.setdefault(str(group), set()).add(name)
    torn = [f"{group} ({' and '.join(sorted(names))})" for group, names in homes.items() if len(names) > 1]
    if torn:
        raise DataError(
            f"data.group: {len(torn)} groups of column {config.group!r} stand in two splits: {some(torn, 5)}. "
            "Mend the sources, or leave data.group out."
        )


def _take_few(splits: Splits, config: DataConfig, seed: int) -> Splits:
    """Keep data.per_class training rows of each class."""
    if config.per_class is None:
        return splits
    train = splits.train
    counts = np.bincount(train.labels, minlength=len(splits.class_names))
    short = [f"{name!r} has {n}" for name, n in zip(splits.class_names, counts, strict=True) if n < config.per_class]
    if short:
        raise DataError(
            f"data.per_class={config.per_class}: there are fewer training rows of {len(short)} classes: "
            f"{some(short, 5)}. Take fewer, or add rows."
        )
    few = train.select(draw_per_class(train.labels, config.per_class, seed=seed))
    note = f"data.per_class={config.per_class}: {len(train) - len(few):,} of {len(train):,} training rows are left out"
    return replace(splits, train=few, notes=(*splits.notes, note))


def read_split(
    name: str,
    source: str,
    config: DataConfig,
    class_names: tuple[str, ...],
    given: Mapping[str, Any] | None = None,
) -> Split:
    """Read a whole source as one split.

    Args:
        name: Of the split.
        source: As in a recipe.
        config: Says which columns of a table hold what.
        class_names: Those of the model, in its order; the source may lack some.
        given: What names of sources stand for, where Python holds it.

    Returns:
        All its rows.

    Raises:
        DataError: It cannot be read, or has other classes.
    """
    own = _read_whole(source, config, class_names, given or {})
    return _to_split(name, own, own.rows, config.model_copy(update={"weight": None}), class_names)


def _read_whole(name: str, config: DataConfig, class_names: tuple[str, ...], given: Mapping[str, Any]) -> Source:
    # Whole, it is not divided by columns; and weights count in training alone.
    plain = {"stratify": ["label"], "weight": None, "split": None, "group": None}
    own = _read(name, config.model_copy(update=plain), given)
    unknown = sorted(set(own.rows["label"]) - set(class_names))
    if unknown:
        raise DataError(
            f"{name} has classes that the training data lacks: {', '.join(unknown)}. Classes: {', '.join(class_names)}."
        )
    if name.startswith(TFDS) and (parts := own.rows["split"].unique().tolist()) != [""]:
        raise DataError(f"{name} has the splits {', '.join(parts)}. Name the one that is meant: {name}[{parts[-1]}].")
    return own


def _draw(
    rows: pd.DataFrame, share: float, config: DataConfig, source: Source, name: str, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Take a share of the rows, stratified; what is left, then what was taken."""
    if share == 0.0:
        return rows, rows.iloc[:0]
    strata = _strata(rows, config)
    if config.group is not None:
        return _draw_groups(rows, strata.tolist(), share, config, source, name, seed)
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


def _strata(rows: pd.DataFrame, config: DataConfig) -> "pd.Series[str]":
    return rows[config.stratify].astype(str).agg(" / ".join, axis=1)


def _take_fold(
    rows: pd.DataFrame, config: DataConfig, source: Source, explicit: Mapping[str, pd.DataFrame], seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What is not in the fold, then the fold."""
    if "test" in explicit:
        raise DataError(
            f"data.folds: {source.name} sets test rows apart, and every fold is the test rows once. "
            "Leave data.folds out, or put its test rows with the others."
        )
    folds = int(config.folds or 0)
    # What has to be there once in each fold: rows of a class, or groups that have some.
    unit = rows["label"] if config.group is None else rows.groupby(config.group)["label"].unique().explode()
    counts = Counter(unit)
    smallest = min(counts, key=lambda name: counts[name])
    if counts[smallest] < folds:
        what = "rows" if config.group is None else f"groups of {config.group!r}"
        raise DataError(
            f"data.folds={folds} is more than the smallest class of {source.name} has {what}: {smallest!r} has "
            f"{counts[smallest]}. Take fewer folds, or add to it."
        )
    groups = None if config.group is None else rows[config.group].astype(str).tolist()
    inside = draw_fold(_strata(rows, config).tolist(), groups, folds=folds, fold=config.fold or 1, seed=seed)
    return rows[~inside], rows[inside]


def _draw_groups(
    rows: pd.DataFrame, strata: list[str], share: float, config: DataConfig, source: Source, name: str, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    groups = rows[config.group].astype(str).tolist()
    drawn = draw_groups(strata, groups, share=share, seed=seed)
    if not drawn.any() or drawn.all():
        largest = ", ".join(f"{group} ({count} rows)" for group, count in Counter(groups).most_common(3))
        raise DataError(
            f"Data source {source.name} cannot be divided by data.group={config.group}: data.{name}={share:g} of "
            f"{len(rows)} rows in {len(set(groups))} groups. Largest: {largest}. Change the share, or name a source of "
            f"its own for data.{name}."
        )
    return rows[~drawn], rows[drawn]


def _to_split(name: str, source: Source, rows: pd.DataFrame, config: DataConfig, class_names: tuple[str, ...]) -> Split:
    indices = {class_name: index for index, class_name in enumerate(class_names)}
    weights = np.ones(len(rows)) if config.weight is None else rows[config.weight].to_numpy(float)
    return Split(
        name=name,
        examples=_to_examples(source, rows, config),
        labels=np.array([indices[label] for label in rows["label"]], np.int64),
        weights=weights.astype(np.float32),
    )
