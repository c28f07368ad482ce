"""Training, validation and test rows: the sources that a recipe names, read and divided."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from keras_transfer.config import DataConfig, ImageDataConfig, TextDataConfig
from keras_transfer.data.examples.base import Examples
from keras_transfer.data.examples.images import ImageExamples, Images
from keras_transfer.data.examples.texts import Texts
from keras_transfer.data.sources.base import TFDS, Source
from keras_transfer.data.sources.images import read_source
from keras_transfer.data.sources.texts import read_text_source
from keras_transfer.data.splits.draws import draw_per_class
from keras_transfer.data.splits.stratified import Part, divide
from keras_transfer.data.tables.tables import some
from keras_transfer.data.targets.base import Target, Targets
from keras_transfer.data.targets.read import TARGETS
from keras_transfer.errors import DataError


@dataclass(frozen=True)
class Split:
    """Some of a source's rows, ready to be read.

    Attributes:
        name: ``train``, ``validation`` or ``test``.
        examples: Images or texts.
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
        """Return a SHA-256 over examples and what they are told as: it tells of changes without reading images."""
        digest = hashlib.sha256()
        for example, row in zip(self.examples.fingerprints, self.targets, strict=True):
            digest.update(f"{example}\0{target.fingerprint(row)}\n".encode())
        return digest.hexdigest()


def images_of(split: Split) -> ImageExamples:
    """Return a split's examples, which are images."""
    return cast(ImageExamples, split.examples)


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
    """Read the sources that a recipe names and divide them, as ``division.divide`` does.

    Args:
        config: The recipe's data section.
        seed: Of the draws.
        given: What names of sources stand for, where Python holds it.

    Returns:
        The splits; validation or test is empty where the recipe says 0.

    Raises:
        DataError: A source cannot be read, or has too few rows to be divided so.
    """
    source, target = read_labelled(config, given)
    parts = divide(source, target, config, seed=seed, read=lambda name: _read_whole(name, config, target, given))
    return _take_few(make_splits(parts, target, config), config, seed)


def read_labelled(config: DataConfig, given: Mapping[str, Any] | None) -> tuple[Source, Target]:
    """Read the source that a recipe names.

    Args:
        config: The recipe's data section.
        given: What names of sources stand for, where Python holds it.

    Returns:
        The source, and what its rows are told as.

    Raises:
        DataError: It cannot be read, or has nothing to tell.
    """
    source = _read(config.source, config, given)
    target = TARGETS[config.target](source.class_names)
    target.check_source(source.name, source.rows["label"].tolist())
    return source, target


def make_splits(parts: Mapping[str, Part], target: Target, config: DataConfig) -> Splits:
    """Make splits of a source's rows.

    Args:
        parts: As ``division.divide`` gives them.
        target: What the rows are told as.
        config: The recipe's data section.

    Returns:
        The splits.

    Raises:
        DataError: The target cannot be learned from them.
    """
    splits = {name: make_split(name, part, target, config) for name, part in parts.items()}
    result = Splits(target, **splits, notes=parts["train"].source.notes)
    result.check()
    return result


def make_split(name: str, part: Part, target: Target, config: DataConfig) -> Split:
    """Make a split of a source's rows.

    Args:
        name: ``train``, ``validation`` or ``test``; what is only evaluated may have another one.
        part: The rows.
        target: What they are told as.
        config: The recipe's data section.

    Returns:
        The split.
    """
    # Weights count in training alone, and a source of validation or test rows may have none.
    column = config.weight if name == "train" else None
    weights = np.ones(len(part.rows)) if column is None else part.rows[column].to_numpy(float)
    return Split(
        name=name,
        examples=_to_examples(part, config),
        targets=target.encode(part.rows["label"]),
        weights=weights.astype(np.float32),
    )


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
    own = _read_whole(source, config, target, given)
    return make_split(name, Part(own, own.rows), target, config.model_copy(update={"weight": None}))


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


def _read(name: str, config: DataConfig, given: Mapping[str, Any] | None) -> Source:
    given = given or {}
    if isinstance(config, TextDataConfig):
        return read_text_source(name, config, given.get(name))
    return read_source(name, cast(ImageDataConfig, config), given.get(name))


def _read_whole(name: str, config: DataConfig, target: Target, given: Mapping[str, Any] | None) -> Source:
    # Whole, it is not divided by columns; and weights count in training alone.
    config = config.model_copy(update={"stratify": ["label"], "weight": None, "split": None, "group": None})
    own = _read(name, config, given)
    target.check_names(name, own.class_names, own.rows["label"].tolist())
    if name.startswith(TFDS) and (parts := own.rows["split"].unique().tolist()) != [""]:
        raise DataError(f"{name} has the splits {', '.join(parts)}. Name the one that is meant: {name}[{parts[-1]}].")
    return own


def _to_examples(part: Part, config: DataConfig) -> Examples:
    source, rows = part.source, part.rows
    if source.encoded is not None:
        return source.encoded.select(rows.index.to_numpy())
    if not isinstance(config, TextDataConfig):
        return Images(source.root, tuple(rows["path"]))
    columns = ["text"] if config.text_pair is None else ["text", "text_pair"]
    return Texts(tuple(rows["name"]), tuple(rows[columns].itertuples(index=False, name=None)))
