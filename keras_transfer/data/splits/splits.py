"""Training, validation and test rows: the sources of a recipe, read and divided."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from keras_transfer.config.data import DataConfig
from keras_transfer.data.examples.base import Examples
from keras_transfer.data.examples.images import ImageExamples
from keras_transfer.data.sources.arrange_labels import check_classes, check_relabel
from keras_transfer.data.sources.base import Source
from keras_transfer.data.sources.corrections import NO_CORRECTIONS, Corrections, has_corrections, read_corrections
from keras_transfer.data.sources.example_kinds import find_example_kind
from keras_transfer.data.sources.find import read_rows, read_source
from keras_transfer.data.splits.draws import draw_per_class
from keras_transfer.data.splits.known import NOTHING_KNOWN, Known, identify
from keras_transfer.data.splits.stratified import Division, Part, divide, read_own, restore
from keras_transfer.data.tables.tables import SPLIT_NAMES, some
from keras_transfer.data.targets.base import Target, Targets
from keras_transfer.data.targets.read import TARGETS
from keras_transfer.errors import DataError


@dataclass(frozen=True)
class Split:
    """Some of a source's rows.

    Attributes:
        name: ``train``, ``validation`` or ``test``.
        examples: Images, texts, or examples that a plugin's task defines.
        targets: ``int64[n]``, an index into the classes, ``float32[n, outputs]``, or ``object[n]`` of transcripts.
        weights: ``float32[n]``, the weight of each example in training.
        groups: ``object[n]`` of ``str``, the group of each example, which cross-validation does not divide; None
            without ``data.group``.
        whole: The split that this one is a fold of, whose features it shares; None if it is not a fold.
        rows: ``int64[n]``, the rows of that split.
        notes: Lines for the user on how the rows were read, for a split that is only evaluated.
    """

    name: str
    examples: Examples
    targets: Targets
    weights: NDArray[np.float32]
    groups: NDArray[np.object_] | None = None
    whole: "Split | None" = None
    rows: NDArray[np.int64] | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.examples)

    def select(self, indices: Sequence[int] | NDArray[np.int64]) -> "Split":
        """Return a split with these rows, in this order."""
        index = np.asarray(indices, np.int64)
        groups = None if self.groups is None else self.groups[index]
        return Split(self.name, self.examples.select(index), self.targets[index], self.weights[index], groups)

    def fold(self, rows: NDArray[np.int64]) -> "Split":
        """Return rows as :meth:`select` does, for cross-validation within the split."""
        return replace(self.select(rows), whole=self, rows=rows)

    def with_examples(self, examples: Examples) -> "Split":
        """Return the split with its examples in another form."""
        return replace(self, examples=examples)

    def fingerprint(self, target: Target) -> str:
        """Return a SHA-256 over names, contents and targets; unchanged image files are not read again."""
        digest = hashlib.sha256()
        for example, row in zip(self.examples.fingerprints, self.targets, strict=True):
            digest.update(f"{example}\0{target.fingerprint(row)}\n".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def images_of(split: Split) -> ImageExamples:
    """Return a split's examples, which are images."""
    return cast(ImageExamples, split.examples)


@dataclass(frozen=True)
class Splits:
    """The rows on which a run trains, selects weights and is evaluated.

    Attributes:
        target: What the model predicts.
        train: Training rows.
        validation: Rows for selecting weights, thresholds and epochs.
        test: Rows for the final evaluation.
        notes: Lines for the user on how the splits were made.
        known: The record of rows of earlier runs in data.json; None if the recipe names no such run.
        corrections: The rows that the recipe leaves out or relabels.
    """

    target: Target
    train: Split
    validation: Split
    test: Split
    notes: tuple[str, ...] = ()
    known: Mapping[str, Any] | None = None
    corrections: Corrections = NO_CORRECTIONS

    def __iter__(self) -> Iterator[Split]:
        return iter((self.train, self.validation, self.test))

    def with_parts(self, parts: Sequence[Split]) -> "Splits":
        """Return splits with these training, validation and test rows."""
        train, validation, test = parts
        return replace(self, train=train, validation=validation, test=test)

    def with_names(self, target: Target) -> "Splits":
        """Return splits whose targets have the names in the order of another target, which has the same names."""
        if target.names == self.target.names:
            return self
        parts = [
            replace(split, targets=target.encode(self.target.decode(row) for row in split.targets)) for split in self
        ]
        return replace(self.with_parts(parts), target=target)

    def check(self) -> None:
        """Refuse splits from which the target cannot be learned.

        Raises:
            DataError: With the numbers.
        """
        self.target.check_splits({split.name: split.targets for split in self})

    def with_gaps(self) -> "Splits":
        """Return splits with a line on classes or labels that do not occur in validation or test rows."""
        gaps = self.target.describe_gaps({split.name: split.targets for split in self})
        return replace(self, notes=(*self.notes, *gaps))

    def describe(self) -> dict[str, Any]:
        """Return the content of data.json: names, and for each split its counts, fingerprint and rows.

        Rows have their names and targets in ``rows`` and the hashes by which later runs know them in ``hashes``.
        Classes are in ``class_names`` and counted in ``classes``, labels in ``label_names`` and ``labels``, numbers in
        ``number_names`` and ``numbers``. Rows that were left out, and labels that were changed, are in ``corrections``.
        """
        return {
            self.target.names_key: list(self.target.names),
            "notes": list(self.notes),
            **(self.known or {}),
            **({"corrections": self.corrections.to_json()} if self.corrections else {}),
            "splits": {split.name: self._describe(split) for split in self},
        }

    def _describe(self, split: Split) -> dict[str, Any]:
        values = [self.target.decode(row) for row in split.targets]
        return {
            "count": len(split),
            **self.target.describe(split.targets),
            "fingerprint": split.fingerprint(self.target),
            "rows": [[name, value] for name, value in zip(split.examples.names, values, strict=True)],
            "hashes": identify(split.examples),
        }


def load_splits(
    config: DataConfig,
    *,
    seed: int,
    given: Mapping[str, Any] | None = None,
    known: Known = NOTHING_KNOWN,
    recorded: Mapping[str, Any] | None = None,
) -> Splits:
    """Read the sources of a recipe and divide them, as ``stratified.divide`` does.

    Args:
        config: The recipe's data section; its ``example_kind`` makes examples of the rows.
        given: The Python objects that names of sources refer to.
        known: Rows of earlier runs, which keep their splits.
        recorded: The content of data.json of a run that is read again: its rows are returned as they were divided and
            corrected.

    Returns:
        The splits; validation or test is empty if the recipe sets 0.

    Raises:
        DataError: A source cannot be read, or has too few rows for these splits.
    """
    given = given or {}
    corrections = load_corrections(
        config, given, recorded, lambda own: read_rows(own.source, of_whole(own), given.get(own.source), whole=True)
    )
    source, target = read_labelled(config, given, corrections)

    def read(own: DataConfig) -> Source:
        return _read_whole(own, target, given, corrections)

    if recorded is not None:
        return make_each(restore(source, config, recorded["splits"], read), target, config)
    division = divide(source, target, config, seed=seed, read=read, known=known)
    check_relabel([part.source for part in division.parts.values()], config)
    splits = replace(make_splits(division, target, config), corrections=corrections)
    return _take_few(splits, config, seed)


def load_corrections(
    config: DataConfig,
    given: Mapping[str, Any],
    recorded: Mapping[str, Any] | None,
    read: Callable[[DataConfig], Source],
) -> Corrections:
    """Return the corrections of a recipe, or those of a run that is read again.

    Args:
        recorded: The content of the run's data.json; None for a new run.
        read: Reads the rows of a source of validation or test rows by the section that applies to it.

    Raises:
        DataError: A table cannot be read, or names rows that no source has.
    """
    if recorded is not None:
        return Corrections.from_json(recorded.get("corrections", {}))
    if not has_corrections(config):
        return NO_CORRECTIONS
    # The sources are read a second time for their names: a name may refer to rows of two of them.
    main = read_rows(config.source, config, given.get(config.source))
    return read_corrections(config, {"train": main, **read_own(config, read)})


def read_labelled(config: DataConfig, given: Mapping[str, Any], corrections: Corrections) -> tuple[Source, Target]:
    """Read the main source of a recipe; return it with its target.

    Raises:
        DataError: It cannot be read, or its labels cannot be learned.
    """
    source = read_source(config.source, config, given.get(config.source), corrections=corrections)
    check_classes(source, config)
    target = TARGETS[config.target](source.class_names)
    target.check_source(source.name, source.rows["label"].tolist())
    return source, target


def make_splits(division: Division, target: Target, config: DataConfig) -> Splits:
    """Make splits of a source's rows.

    Raises:
        DataError: The target cannot be learned from them.
    """
    notes = (*_collect_notes(division.parts), *division.notes)
    result = replace(make_each(division.parts, target, config), notes=notes, known=division.record)
    result.check()
    return result


def make_each(parts: Mapping[str, Part], target: Target, config: DataConfig) -> Splits:
    """Make splits of parts, without checks."""
    train, validation, test = (make_split(name, parts[name], target, config) for name in SPLIT_NAMES)
    return Splits(target, train, validation, test)


def _collect_notes(parts: Mapping[str, Part]) -> tuple[str, ...]:
    """The lines on how the main source was read, and those on others, with their names."""
    main = parts["train"].source
    others = [part.source for part in parts.values() if part.source is not main]
    return tuple(dict.fromkeys([*main.notes, *(f"{own.name}: {note}" for own in others for note in own.notes)]))


def make_split(name: str, part: Part, target: Target, config: DataConfig) -> Split:
    """Make a split of a source's rows.

    Args:
        name: ``train``, ``validation`` or ``test``; a split that is only evaluated may have another name.
    """
    # Weights are for training alone; a source of validation or test rows may have no such column.
    column = config.weight if name == "train" else None
    weights = np.ones(len(part.rows)) if column is None else part.rows[column].to_numpy(float)
    grouped = config.group is not None and config.group in part.rows.columns
    return Split(
        name=name,
        examples=find_example_kind(config).to_examples(part.source, part.rows, config),
        targets=target.encode(part.rows["label"]),
        weights=weights.astype(np.float32),
        groups=part.rows[config.group].astype(str).to_numpy(object) if grouped else None,
    )


def read_split(
    name: str, source: str, config: DataConfig, target: Target, given: Mapping[str, Any] | None = None
) -> Split:
    """Read a whole source as one split.

    Args:
        source: As in a recipe.
        config: Names the columns of a table; its ``root`` is that of this source.
        target: What the model predicts; some of its classes or labels may not occur in the source.
        given: The Python objects that names of sources refer to.

    Raises:
        DataError: It cannot be read, or has classes that the model does not have.
    """
    own = _read_whole(config.model_copy(update={"source": source}), target, given or {})
    split = make_split(name, Part(own, own.rows), target, config.model_copy(update={"weight": None}))
    return replace(split, notes=own.notes)


def _take_few(splits: Splits, config: DataConfig, seed: int) -> Splits:
    """Select data.per_class training rows of each class."""
    if config.per_class is None:
        return splits
    train, names = splits.train, splits.target.names
    counts = np.bincount(train.targets, minlength=len(names))
    short = [f"{name!r} has {n}" for name, n in zip(names, counts, strict=True) if n < config.per_class]
    if short:
        raise DataError(
            f"data.per_class={config.per_class}: {len(short)} classes have fewer training rows: {some(short, 5)}. "
            "Use a smaller number, or add rows."
        )
    few = train.select(draw_per_class(train.targets, config.per_class, seed=seed))
    note = f"data.per_class={config.per_class}: {len(train) - len(few):,} of {len(train):,} training rows are not used"
    return replace(splits, train=few, notes=(*splits.notes, note))


def of_whole(config: DataConfig) -> DataConfig:
    """Return the section for a source that is used as one split."""
    # It is not divided by columns, and weights are only for training.
    return config.model_copy(update={"stratify": ["label"], "weight": None, "split": None, "group": None})


def _read_whole(
    config: DataConfig, target: Target, given: Mapping[str, Any], corrections: Corrections = NO_CORRECTIONS
) -> Source:
    config, held = of_whole(config), given.get(config.source)
    own = read_source(config.source, config, held, whole=True, known=target.names, corrections=corrections)
    target.check_names(config.source, own.class_names, own.rows["label"].tolist())
    return own
