"""Divide a source into training, validation and test rows."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from keras_transfer.config import DataConfig, PictureDataConfig, TextDataConfig
from keras_transfer.data.examples import Examples
from keras_transfer.data.groups import draw_fold, draw_groups, draw_per_class
from keras_transfer.data.pictures import PictureExamples, Pictures
from keras_transfer.data.source import TFDS, Source
from keras_transfer.data.sources import read_source
from keras_transfer.data.tables import SPLIT_NAMES, some
from keras_transfer.data.targets import TARGETS, Target, Targets
from keras_transfer.data.text_sources import read_text_source
from keras_transfer.data.texts import Texts
from keras_transfer.errors import DataError


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


def pictures_of(split: Split) -> PictureExamples:
    """Return a split's examples, which are pictures."""
    return cast(PictureExamples, split.examples)


@dataclass(frozen=True)
class Splits:
    """What a run learns from and is judged by.

    Attributes:
        target: What is told.
        train: What is learned from.
        validation: What is watched.
        test: What is judged by.
        notes: What is worth knowing of how they came about: lines for people.
    """

    target: Target
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
            "notes": list(self.notes),
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
    target = TARGETS[config.target](source.class_names)
    target.check_source(source.name, source.rows["label"].tolist())
    _check_columns(source, config)
    rows = source.rows
    explicit = {name: rows[rows["split"] == name] for name in SPLIT_NAMES if (rows["split"] == name).any()}
    rest = explicit.pop("train") if "train" in explicit else rows[rows["split"] == ""]
    if rest.empty:
        raise DataError(f"{source.name} has no training rows, but {' and '.join(explicit)} rows alone. Add some.")
    parts: dict[str, tuple[Source, pd.DataFrame]] = {}
    for name, wanted in (("test", config.test), ("validation", config.validation)):
        if isinstance(wanted, str):
            own = _read_whole(wanted, config, target, given)
            parts[name] = (own, own.rows)
            continue
        if name == "test" and config.folds is not None:
            rest, part = _take_fold(rest, config, source, target, explicit, seed)
        elif name in explicit:
            part = explicit[name]
        else:
            rest, part = _draw(rest, wanted, config, source, target, name, seed)
        parts[name] = (source, part)
    parts["train"] = (source, rest)
    _check_groups(parts, config)
    # Weights count in training alone.
    plain = config.model_copy(update={"weight": None})
    splits = {
        name: _to_split(name, own, part, config if own is source else plain, target)
        for name, (own, part) in parts.items()
    }
    result = Splits(target, **splits, notes=source.notes)
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
    train, names = splits.train, splits.target.names
    counts = np.bincount(train.targets, minlength=len(names))
    short = [f"{name!r} has {n}" for name, n in zip(names, counts, strict=True) if n < config.per_class]
    if short:
        raise DataError(
            f"data.per_class={config.per_class}: there are fewer training rows of {len(short)} classes: "
            f"{some(short, 5)}. Take fewer, or add rows."
        )
    few = train.select(draw_per_class(train.targets, config.per_class, seed=seed))
    note = f"data.per_class={config.per_class}: {len(train) - len(few):,} of {len(train):,} training rows are left out"
    return replace(splits, train=few, notes=(*splits.notes, note))


def read_split(
    name: str, source: str, config: DataConfig, target: Target, given: Mapping[str, Any] | None = None
) -> Split:
    """Read a whole source as one split.

    Args:
        name: Of the split.
        source: As in a recipe.
        config: Says which columns of a table hold what.
        target: What the model tells; the source may lack some of its classes or labels.
        given: What names of sources stand for, where Python holds it.

    Returns:
        All its rows.

    Raises:
        DataError: It cannot be read, or has other classes.
    """
    own = _read_whole(source, config, target, given or {})
    return _to_split(name, own, own.rows, config.model_copy(update={"weight": None}), target)


def _read_whole(name: str, config: DataConfig, target: Target, given: Mapping[str, Any]) -> Source:
    # Whole, it is not divided by columns; and weights count in training alone.
    config = config.model_copy(update={"stratify": ["label"], "weight": None, "split": None, "group": None})
    own = _read(name, config, given)
    target.check_names(name, own.class_names, own.rows["label"].tolist())
    if name.startswith(TFDS) and (parts := own.rows["split"].unique().tolist()) != [""]:
        raise DataError(f"{name} has the splits {', '.join(parts)}. Name the one that is meant: {name}[{parts[-1]}].")
    return own


def _draw(
    rows: pd.DataFrame, share: float, config: DataConfig, source: Source, target: Target, name: str, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Take a share of the rows, stratified; what is left, then what was taken."""
    if share == 0.0:
        return rows, rows.iloc[:0]
    taken = int(np.ceil(share * len(rows)))
    most = min(taken, len(rows) - taken)
    strata = _join(_with_strata(rows, target, least=2, most=most), config.stratify)
    if config.group is not None:
        return _draw_groups(rows, strata.tolist(), share, config, source, name, seed)
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


def _with_strata(rows: pd.DataFrame, target: Target, *, least: int, most: int) -> pd.DataFrame:
    """The rows, with the strata of what is told in its place."""
    return rows.assign(label=target.strata(target.encode(rows["label"]), least=least, most=most))


def _join(rows: pd.DataFrame, columns: Sequence[str]) -> "pd.Series[str]":
    return rows[columns].astype(str).agg(" / ".join, axis=1)


def _take_fold(
    rows: pd.DataFrame,
    config: DataConfig,
    source: Source,
    target: Target,
    explicit: Mapping[str, pd.DataFrame],
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What is not in the fold, then the fold."""
    if "test" in explicit:
        raise DataError(
            f"data.folds: {source.name} sets test rows apart, and every fold is the test rows once. "
            "Leave data.folds out, or put its test rows with the others."
        )
    folds = int(config.folds or 0)
    # What has to be there once in each fold: rows of a class, or groups that have some.
    own = _with_strata(rows, target, least=folds, most=max(len(rows) // folds, 1))
    counts = Counter(own["label"] if config.group is None else own.groupby(config.group)["label"].unique().explode())
    smallest = min(counts, key=lambda name: counts[name])
    if counts[smallest] < folds:
        what = "rows" if config.group is None else f"groups of {config.group!r}"
        raise DataError(
            f"data.folds={folds} is more than the smallest class of {source.name} has {what}: {smallest!r} has "
            f"{counts[smallest]}. Take fewer folds, or add to it."
        )
    groups = None if config.group is None else rows[config.group].astype(str).tolist()
    inside = draw_fold(_join(own, config.stratify).tolist(), groups, folds=folds, fold=config.fold or 1, seed=seed)
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


def _to_split(name: str, source: Source, rows: pd.DataFrame, config: DataConfig, target: Target) -> Split:
    weights = np.ones(len(rows)) if config.weight is None else rows[config.weight].to_numpy(float)
    return Split(
        name=name,
        examples=_to_examples(source, rows, config),
        targets=target.encode(rows["label"]),
        weights=weights.astype(np.float32),
    )
