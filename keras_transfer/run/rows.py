"""The rows of a run's own data, of other sources, and of inputs to predict for."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypedDict, Unpack

from pydantic import ValidationError

from keras_transfer.config import TABLE_KEYS, OtherSource, RecipeConfig
from keras_transfer.console.text import show_value
from keras_transfer.data.examples.base import Examples
from keras_transfer.data.inputs import (
    InputKind,
    Inputs,
    InputStream,
    collect_inputs,
    read_inputs,
    refuse_unused_options,
)
from keras_transfer.data.sources.python_objects import name_objects
from keras_transfer.data.splits.known import Known, find_keys, identify
from keras_transfer.data.splits.splits import Split
from keras_transfer.errors import CheckpointError, ConfigError, DataError, TransferWarning
from keras_transfer.run.folder import DATA, UNKNOWN_CONTENT, damaged
from keras_transfer.run.stored import StoredRun
from keras_transfer.tasks.earlier_runs import rows_of


class TableOptions(TypedDict, total=False):
    """How a table is read that is not the run's own source; what is None or left out is found out.

    Attributes:
        root: The folder that the paths in the table are relative to; by default the folder of the table.
        suffix: Added to each path, such as ``.jpg``.
        encoding: Of CSV, JSONL and text files, such as ``cp1252``.
        delimiter: Between the fields of a CSV: ``tab`` or one character.
    """

    root: str | Path | None
    suffix: str | None
    encoding: str | None
    delimiter: str | None


class RunRows(StoredRun):
    """Reads rows as a run reads them."""

    def load_split(self, name: str) -> Split:
        """Read rows of the run's own data again.

        Args:
            name: ``train``, ``validation`` or ``test``.

        Returns:
            The same rows in the order of data.json.

        Raises:
            DataError: The data is not on this machine, or has changed.
            CheckpointError: The run has no such split.
        """
        rows = self._reload(name)
        if rows.fingerprint(self.target) != self.record["splits"][name]["fingerprint"]:
            raise self._changed(name)
        return rows

    def load_remaining(self, name: str) -> tuple[Examples, list[int | None]]:
        """Read what is left of the run's own data.

        Args:
            name: As above.

        Returns:
            Examples, and for each row of data.json its index among them: None for one that is gone or has changed.

        Raises:
            DataError: The data is not on this machine, or cannot be compared.
            CheckpointError: The run has no such split.
        """
        examples, record = self._reload(name).examples, self.record["splits"][name]
        if len(record.get("hashes", ())) != len(record["rows"]):
            raise self._changed(name)
        there = {key: index for index, key in enumerate(zip(examples.names, identify(examples), strict=True))}
        recorded = zip((row[0] for row in record["rows"]), record["hashes"], strict=True)
        return examples, [there.get(key) for key in recorded]

    def _reload(self, name: str) -> Split:
        """The rows of a split that are still there, whatever is in them."""
        if name not in self.record["splits"]:
            raise damaged(self.folder / DATA, f"it lacks the split {name}")
        # Names that look alike were classes of their own in a run that did not merge them.
        apart = self.config.data.model_copy(update={"merge_labels": bool(self.config.data.merge_labels)})
        splits = self.task.reload_splits(self.config.model_copy(update={"data": apart}), self.record)
        if set(splits.target.names) != set(self.target.names):
            raise self._changed(name)
        rows = {split.name: split for split in splits.with_names(self.target)}[name]
        recorded = {row[0] for row in self.record["splits"][name]["rows"]}
        # What the run's scan left out as broken is left out again.
        rows = rows.select([index for index, name in enumerate(rows.examples.names) if name in recorded])
        if not recorded:
            raise DataError(f"The run has no {name} rows. Name a source with --data.")
        return rows

    def _changed(self, name: str) -> DataError:
        has_hashes = "hashes" in self.record["splits"][name]
        change = "have changed since the run" if has_hashes else UNKNOWN_CONTENT
        return DataError(f"The {name} rows of {self.config.data.source} {change}. Name a source with --data.")

    def read_source(self, data: Any, **table: Unpack[TableOptions]) -> Split:
        """Read another source than the run's own as one split.

        Args:
            data: As :meth:`evaluate` takes it.
            **table: As for :meth:`evaluate`.

        Raises:
            ConfigError: An option for tables has none, or is wrong.
            DataError: It cannot be read, or has classes that the model does not know.
        """
        section = dict(data) if isinstance(data, Mapping) and "source" in data else {"source": data}
        options = given_options(table)
        named, given = name_objects({"test": {**section, **options}})
        other = _to_other_source(named["test"])
        config = self._config_for(other)
        split = self.task.read_split(config, other.source, self.target, given)
        for note in split.notes:
            warnings.warn(f"{other.source}: {note}", TransferWarning, stacklevel=3)
        self._warn_of_training_rows(other.source, split)
        return split

    def _warn_of_training_rows(self, source: str, split: Split) -> None:
        """Warn if the model has learned from rows on which it is to be evaluated."""
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
        """Turn the words of a command line into what :meth:`read_inputs` takes.

        Args:
            paths: Files, folders and tables; ``-`` is standard input, whose lines are inputs.
            texts: The values of ``--text``.
            stdin: Standard input.

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
            *given: Each as :meth:`predict` takes it; their inputs follow one another.
            **table: As for :meth:`predict`.

        Returns:
            The inputs, those that cannot be read included.

        Raises:
            InputError: One is of another type.
            ConfigError: An option for tables has none, or is wrong.
            DataError: A folder or a table cannot be read.
            CheckpointError: The run is one of pre-training.
        """
        kind, other = self._input_kind(given, table)
        parts = [collect_inputs(part, kind, encoding=other.encoding, delimiter=other.delimiter) for part in given]
        return read_inputs(parts, kind)

    def stream_inputs(self, *given: Any, **table: Unpack[TableOptions]) -> InputStream:
        """Find what :meth:`predict` accepts, to be read in pieces.

        Args:
            *given: As for :meth:`read_inputs`.
            **table: As for :meth:`predict`.

        Raises:
            InputError: As :meth:`read_inputs` does.
            ConfigError: As :meth:`read_inputs` does.
            DataError: As :meth:`read_inputs` does.
            CheckpointError: As :meth:`read_inputs` does.
        """
        kind, other = self._input_kind(given, table)
        return InputStream(given, kind, encoding=other.encoding, delimiter=other.delimiter)

    def _input_kind(self, given: Sequence[Any], table: TableOptions) -> tuple[InputKind, OtherSource]:
        """What an input is, and how tables of inputs are read."""
        self.check_servable()
        options = given_options(table)
        other = _to_other_source({"source": self.config.data.source, **options})
        kind = self.task.inputs(self._config_for(other))
        refuse_unused_options(given, kind, options)
        return kind, other

    def _config_for(self, other: OtherSource) -> RecipeConfig:
        """The recipe as it applies to another source than the run's own."""
        data = self.config.data
        for key in sorted(other.model_fields_set - type(data).model_fields.keys()):
            raise ConfigError(
                f"--{key} is for tables of paths, and this run takes {self.task.inputs(self.config).plural}. Leave it "
                "out."
            )
        return self.config.model_copy(update={"data": data.for_source(other, prefix="--")})

    def known_rows(self) -> Known | None:
        """The rows of which the run has labels; None if an early version wrote it, which knows them by name alone."""
        try:
            return rows_of(self.folder, self.config.data, self.record)
        except KeyError:
            return None

    def check_servable(self) -> None:
        """Raise what keeps the run from predicting.

        Raises:
            CheckpointError: The run is one of pre-training.
        """
        refusal = self.task.refusal(self)
        if refusal is not None:
            raise CheckpointError(refusal)


def given_options(table: TableOptions) -> dict[str, str]:
    """The options that are set."""
    return {key: str(value) for key, value in table.items() if value is not None}


def refuse_options(table: TableOptions) -> None:
    """Refuse options for a table where none is named.

    Raises:
        ConfigError: One is set.
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
    """A byte that is not UTF-8 becomes a surrogate. An empty line in the middle counts: each line has its answer."""
    text = stdin.read().decode("utf-8-sig", "surrogateescape")
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines if lines[-1] else lines[:-1]
