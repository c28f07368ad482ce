"""Labelled rows of any source, and inputs for prediction, read as a run reads them."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypedDict, Unpack

import keras
from pydantic import ValidationError

from keras_transfer.config.data import TABLE_KEYS, OtherSource
from keras_transfer.config.schema import RecipeConfig
from keras_transfer.console.text import show_value
from keras_transfer.data.inputs import (
    InputKind,
    Inputs,
    InputStream,
    collect_inputs,
    read_inputs,
    refuse_unused_options,
)
from keras_transfer.data.readers.base import Reader
from keras_transfer.data.sources.python_objects import name_objects
from keras_transfer.data.splits.known import Known, find_keys, identify
from keras_transfer.data.splits.splits import Split
from keras_transfer.data.targets.base import Target
from keras_transfer.errors import CheckpointError, ConfigError, DataError, TransferWarning
from keras_transfer.networks.types import Batches
from keras_transfer.tasks import Task
from keras_transfer.tasks.records import Floats


class TableOptions(TypedDict, total=False):
    """How inputs and tables other than the run's own source are read; values that are None or missing are detected.

    Attributes:
        root: The folder that the paths in the table are relative to; by default the folder of the table.
        suffix: Appended to each path, such as ``.jpg``.
        encoding: Of CSV, JSONL and text files, such as ``cp1252``.
        delimiter: Between the fields of a CSV: ``tab`` or one character.
        sample_rate: Of arrays of samples without one, in Hz; by default ``data.sample_rate`` of the recipe.
    """

    root: str | Path | None
    suffix: str | None
    encoding: str | None
    delimiter: str | None
    sample_rate: int | None


class RowReader(ABC):
    """Reads rows and inputs as a run reads them: a run itself, or a model that it exported.

    Attributes:
        path: What was opened: the run folder, or the exported model.
        folder: Holds files that the task reads in addition to the model, such as a tokenizer; for a run, the run
            folder.
        record: The content of data.json; for an exported model, without the rows.
        target: The classes, labels or numbers that the model predicts.
    """

    path: Path
    folder: Path
    config: RecipeConfig
    task: Task
    record: dict[str, Any]
    target: Target

    has_model: bool = True
    """Whether :attr:`model` is there; an exported model has none."""

    @property
    @abstractmethod
    def head(self) -> Any:
        """The head, which interprets the model's outputs."""

    @property
    @abstractmethod
    def model(self) -> keras.Model:
        """From the inputs that :attr:`reader` returns to predictions."""

    @property
    @abstractmethod
    def input_shape(self) -> Any:
        """The shape of the model's inputs, or shapes by name; None for a size that differs from batch to batch."""

    @property
    @abstractmethod
    def reader(self) -> Reader:
        """Reads examples in the same way as in training."""

    @abstractmethod
    def predict_batches(self, batches: Batches) -> Floats:
        """Predict for batches of the inputs that :attr:`reader` returns.

        Returns:
            ``float32[rows, outputs]``, calibrated, in their order.
        """

    @abstractmethod
    def embed_batches(self, batches: Batches) -> tuple[Floats, Floats] | None:
        """Predict for batches as :meth:`predict_batches` does, and return the features that the head reads, too.

        Returns:
            ``float32[rows, outputs]`` and ``float32[rows, dim]``, in their order; None if the model has no features.
        """

    def known_rows(self) -> Known | None:
        """The rows of which the run has labels; None if they are unknown."""
        return None

    def read_source(self, data: Any, **table: Unpack[TableOptions]) -> Split:
        """Read a source other than the run's own as one split.

        Args:
            data: As :meth:`evaluate` takes it.

        Raises:
            ConfigError: An option for tables is set without a table, or is wrong.
            DataError: The source cannot be read, or has classes that the model was not trained on.
        """
        section = dict(data) if isinstance(data, Mapping) and "source" in data else {"source": data}
        options = given_options(table)
        named, given = name_objects({"test": {**section, **options}})
        other = _to_other_source(named["test"])
        config = self._config_for(other, table)
        split = self.task.read_split(config, other.source, self.target, given)
        for note in split.notes:
            warnings.warn(f"{other.source}: {note}", TransferWarning, stacklevel=3)
        self._warn_of_training_rows(other.source, split)
        return split

    def _warn_of_training_rows(self, source: str, split: Split) -> None:
        """Warn if the model was trained on rows on which it is to be evaluated."""
        known = self.known_rows()
        if known is None:
            return
        keys = find_keys(source, split.examples.names, identify(split.examples))
        trained = sum(known.split_of(row) == "train" for row in keys)
        if trained:
            warnings.warn(
                f"{source}: {trained:,} of {len(split):,} rows are training rows of this run, so the results are "
                "better than on new data.",
                TransferWarning,
                stacklevel=4,
            )

    def parse_inputs(self, paths: Sequence[str], texts: Sequence[str], stdin: BinaryIO) -> list[Any]:
        """Turn command-line arguments into what :meth:`read_inputs` takes.

        Args:
            paths: Files, folders and tables; ``-`` is standard input, whose lines are inputs.
            texts: The values of ``--text``.

        Raises:
            ConfigError: The run does not take texts.
            CheckpointError: The run is one of pre-training.
        """
        self.check_servable()
        kind = self.task.inputs(self.config)
        given = [[kind.from_line(line) for line in _read_lines(stdin)] if path == "-" else Path(path) for path in paths]
        return [*given, [kind.from_text(text) for text in texts]] if texts else given

    def read_inputs(self, *given: Any, **table: Unpack[TableOptions]) -> Inputs:
        """Read what :meth:`predict` accepts, without predicting yet.

        Args:
            *given: Each as :meth:`predict` takes it; their inputs are concatenated.

        Returns:
            The inputs, including those that cannot be read.

        Raises:
            InputError: An input is of another type.
            ConfigError: An option for tables is set without a table, or is wrong.
            DataError: A folder or a table cannot be read.
            CheckpointError: The run is one of pre-training.
        """
        kind, other = self._input_kind(given, table)
        parts = [collect_inputs(part, kind, encoding=other.encoding, delimiter=other.delimiter) for part in given]
        return read_inputs(parts, kind)

    def stream_inputs(self, *given: Any, **table: Unpack[TableOptions]) -> InputStream:
        """Find what :meth:`predict` accepts, to be read in chunks.

        Raises:
            InputError: As :meth:`read_inputs` does.
            ConfigError: As :meth:`read_inputs` does.
            DataError: As :meth:`read_inputs` does.
            CheckpointError: As :meth:`read_inputs` does.
        """
        kind, other = self._input_kind(given, table)
        return InputStream(given, kind, encoding=other.encoding, delimiter=other.delimiter)

    def _input_kind(self, given: Sequence[Any], table: TableOptions) -> tuple[InputKind, OtherSource]:
        """The kind of the inputs, and how tables of inputs are read."""
        self.check_servable()
        options = given_options(table)
        other = _to_other_source({"source": self.config.data.source, **options})
        kind = self.task.inputs(self._config_for(other, table))
        refuse_unused_options(given, kind, options)
        if table.get("sample_rate") is not None and all(kind.as_path(part) is not None for part in given):
            raise ConfigError(
                f"sample_rate is for arrays of samples; files have their own. Received: {table.get('sample_rate')}. "
                "Leave it out."
            )
        return kind, other

    def _config_for(self, other: OtherSource, table: TableOptions) -> RecipeConfig:
        """The recipe adapted to a source other than the run's own."""
        data = self.config.data
        for key in sorted(other.model_fields_set - type(data).model_fields.keys()):
            raise ConfigError(
                f"--{key} is for tables of paths, and this run takes {self.task.inputs(self.config).plural}. Leave it "
                "out."
            )
        section = data.for_source(other, prefix="--")
        rate = table.get("sample_rate")
        if rate is not None and "sample_rate" not in type(data).model_fields:
            plural = self.task.inputs(self.config).plural
            raise ConfigError(f"sample_rate is for recordings, and this run takes {plural}. Leave it out.")
        if rate is not None:
            section = section.model_copy(update={"sample_rate": rate})
        return self.config.model_copy(update={"data": section})

    def check_servable(self) -> None:
        """Check that the run can predict.

        Raises:
            CheckpointError: The run is one of pre-training.
        """
        refusal = self.task.refusal(self)
        if refusal is not None:
            raise CheckpointError(refusal)


def given_options(table: TableOptions) -> dict[str, str]:
    """The options for tables that are set."""
    return {key: str(value) for key, value in table.items() if value is not None and key in TABLE_KEYS}


def refuse_options(table: TableOptions) -> None:
    """Refuse options for a table if none is given.

    Raises:
        ConfigError: An option is set.
    """
    for key, value in given_options(table).items():
        raise ConfigError(f"--{key} is for the table of --data. Received: {value}. Name a table with --data.")


def _to_other_source(section: Mapping[str, Any]) -> OtherSource:
    try:
        return OtherSource.model_validate(section)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            key = str(detail["loc"][0]) if detail["loc"] else ""
            if key in TABLE_KEYS:
                reason = detail["msg"].removeprefix("Value error, ")
                reason = "expected auto, or a point and the suffix" if key == "suffix" else reason
                raise ConfigError(f"--{key}: {reason}. Received: {show_value(detail['input'])}.") from error
        keys = ", ".join(OtherSource.model_fields)
        raise DataError(
            f"A source is a name, an object or a mapping with the keys {keys}. Received: {section}."
        ) from error


def _read_lines(stdin: BinaryIO) -> list[str]:
    """A byte that is not UTF-8 becomes a surrogate. An empty line in the middle counts, too."""
    text = stdin.read().decode("utf-8-sig", "surrogateescape")
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines if lines[-1] else lines[:-1]
