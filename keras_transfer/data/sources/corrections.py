"""Rows that a recipe leaves out, and rows that it gives other labels: ``data.exclude`` and ``data.relabel``."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from keras_transfer.config.data import DataConfig, SpeechDataConfig
from keras_transfer.config.names import show_name
from keras_transfer.data.sources.arrange_labels import count_names
from keras_transfer.data.sources.base import Source, reads_labels
from keras_transfer.data.sources.example_kinds import find_example_kind
from keras_transfer.data.tables.tables import read_table, some
from keras_transfer.data.targets.transcripts import normalize
from keras_transfer.errors import DataError, list_lines
from keras_transfer.registry import did_you_mean

Label = str | tuple[str, ...] | tuple[float, ...]

EXAMPLE, LABEL, SPLIT = "example", "label", "split"
"""Columns of the tables."""

_SUGGESTED = "suggested_label"


@dataclass(frozen=True)
class Corrections:
    """The corrections of a recipe's sources.

    Attributes:
        excluded: The names of the rows to leave out, by part: ``train`` is the recipe's main source, ``validation`` and
            ``test`` are those with a source of their own.
        labels: The new label of each row that gets one, in the same way.
    """

    excluded: Mapping[str, frozenset[str]] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, Label]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(self.excluded.values()) or any(self.labels.values())

    def apply(self, part: str, source: Source, config: DataConfig) -> Source:
        """Return a source, as it was read, with its rows corrected.

        Args:
            source: The source before labels are renamed or merged.

        Raises:
            DataError: No row is left, or a new label is the name of no class.
        """
        excluded, labels = self.excluded.get(part, frozenset()), self.labels.get(part, {})
        if not excluded and not labels:
            return source
        names = pd.Series(name_rows(source, config), source.rows.index)
        before = source
        if labels and reads_labels(config):
            _check_labels(labels.values(), source, config)
            pairs = zip(names, source.rows["label"], strict=True)
            values = [labels.get(name, label) for name, label in pairs]
            source = replace(source, rows=source.rows.assign(label=pd.Series(values, source.rows.index, object)))
        kept = ~names.isin(excluded)
        if not kept.any():
            raise DataError(f"data.exclude leaves out all {len(names):,} rows of {source.name}. Keep some.")
        # Rows keep their numbers, which identify images in the cache.
        source = replace(source, rows=source.rows[kept])
        notes = [f"data.exclude: {int((~kept).sum()):,} of {len(kept):,} rows are left out"] if excluded else []
        notes += [f"data.relabel: {len(labels):,} rows have another label"] if labels else []
        return replace(_with_names(source, before, config), notes=(*source.notes, *notes))

    def to_json(self) -> dict[str, Any]:
        """Return the entry in data.json, from which :meth:`from_json` restores the corrections."""
        return {
            "excluded": {part: sorted(names) for part, names in self.excluded.items() if names},
            "relabelled": {part: dict(sorted(labels.items())) for part, labels in self.labels.items() if labels},
        }

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> "Corrections":
        """Restore corrections from the content of data.json."""
        return Corrections(
            {part: frozenset(names) for part, names in record.get("excluded", {}).items()},
            {
                part: {name: tuple(label) if isinstance(label, list) else label for name, label in labels.items()}
                for part, labels in record.get("relabelled", {}).items()
            },
        )


NO_CORRECTIONS = Corrections()


def name_rows(source: Source, config: DataConfig) -> list[str]:
    """Return the name of each row of a source, as data.json and findings have it."""
    return list(find_example_kind(config).to_examples(source, source.rows, config).names)


def has_corrections(config: DataConfig) -> bool:
    """Return whether a recipe names a table of rows to leave out, or of new labels."""
    return config.exclude is not None or isinstance(config.relabel, str)


def read_corrections(config: DataConfig, sources: Mapping[str, Source]) -> Corrections:
    """Read the tables that a recipe names.

    Args:
        sources: Its sources as they were read, by part: ``train``, and those with a source of their own.

    Raises:
        DataError: A table cannot be read, names rows that do not exist, or a name refers to rows of two sources.
    """
    names = {part: set(name_rows(source, config)) for part, source in sources.items()}
    excluded: dict[str, frozenset[str]] = {}
    labels: dict[str, dict[str, Label]] = {}
    if config.exclude is not None:
        table = _Table.read("exclude", config.exclude)
        found = table.resolve(names, sources)
        excluded = {part: frozenset(rows) for part, rows in found.items()}
    if isinstance(config.relabel, str):
        table = _Table.read("relabel", config.relabel)
        for part, rows in table.resolve(names, sources).items():
            labels[part] = {
                name: _parse_label(table.file, name, label, config)
                for name, label in rows.items()
                if name not in excluded.get(part, ())
            }
    return Corrections(excluded, labels)


@dataclass(frozen=True)
class _Table:
    """A table of rows.

    Attributes:
        rows: Name, split and label of each; the split may be empty.
    """

    key: str
    file: Path
    rows: Sequence[tuple[str, str, str]]

    @staticmethod
    def read(key: str, name: str) -> "_Table":
        file = Path(name).expanduser()
        if file.suffix.lower() not in (".csv", ".tsv"):
            raise DataError(f"data.{key}: expected a .csv or .tsv file. Received: {name}.")
        try:
            frame = read_table(file).frame
        except DataError as error:
            raise DataError(f"data.{key}: {error}") from error
        for column in (EXAMPLE, *((LABEL,) if key == "relabel" else ())):
            if column not in frame.columns:
                known = some(map(str, frame.columns), 30) or "none"
                raise DataError(
                    f"data.{key}: {file} has no column {column!r}. Columns: {known}. {_EXPECTED[key]}, as "
                    "`keras-transfer audit` writes them."
                )
        if key == "relabel" and _SUGGESTED in frame.columns:
            raise DataError(
                f"data.relabel: {file} has two columns of labels: {LABEL!r} and {_SUGGESTED!r}. Remove one, and name "
                f"the column of the new labels {LABEL!r}. `keras-transfer audit` also writes relabel.csv, which has "
                "the suggested ones alone."
            )
        columns = [frame[name].tolist() if name in frame.columns else [None] * len(frame) for name in _COLUMNS]
        # A finding about a class or all rows has no example.
        rows = [tuple("" if value is None else str(value) for value in row) for row in zip(*columns, strict=True)]
        return _Table(key, file, [(name, split, label) for name, split, label in rows if name])

    def resolve(self, names: Mapping[str, set[str]], sources: Mapping[str, Source]) -> dict[str, dict[str, str]]:
        """Return the rows of each source with their labels.

        Raises:
            DataError: There is no such row, a name refers to rows of two sources, or a row has two labels.
        """
        found: dict[str, dict[str, str]] = {part: {} for part in names}
        absent, unclear, torn = [], [], []
        for name, split, label in self.rows:
            parts = [part for part, known in names.items() if name in known]
            if len(parts) > 1 and split:
                owner = split if split in names else "train"
                parts = [owner] if owner in parts else parts
            if not parts:
                absent.append(name)
            elif len(parts) > 1:
                unclear.append(f"{name} of {' and of '.join(sources[part].name for part in parts)}")
            elif self.key == "relabel" and found[parts[0]].get(name, label) != label:
                torn.append(f"{name}: {found[parts[0]][name]!r} and {label!r}")
            else:
                found[parts[0]][name] = label
        self._refuse(absent, unclear, torn, [source.name for source in sources.values()])
        return found

    def _refuse(
        self, absent: Sequence[str], unclear: Sequence[str], torn: Sequence[str], sources: Sequence[str]
    ) -> None:
        where = f"data.{self.key}: {self.file}"
        if absent:
            absent = list(dict.fromkeys(absent))
            raise DataError(
                f"{where} names {len(absent):,} rows that {' and '.join(sources)} does not have:\n"
                f"{list_lines(list(map(_show, absent)))}\nRemove these lines, or name the source that was audited."
            )
        if unclear:
            raise DataError(
                f"{where} names {len(unclear):,} rows that are in two sources:\n{list_lines(list(map(_show, unclear)))}"
                f"\nAdd a column {SPLIT!r} with train, validation or test."
            )
        if torn:
            raise DataError(
                f"{where} gives {len(torn):,} rows two labels:\n{list_lines(torn)}\nKeep one line for each."
            )


_COLUMNS = (EXAMPLE, SPLIT, LABEL)
_EXPECTED = {"exclude": f"Expected a column {EXAMPLE!r}", "relabel": f"Expected the columns {EXAMPLE!r} and {LABEL!r}"}


def _show(name: str) -> str:
    """A name in which bytes that are not UTF-8 are shown in hexadecimal."""
    return name.encode("utf-8", "backslashreplace").decode()


def _parse_label(file: Path, name: str, text: str, config: DataConfig) -> Label:
    """Parse a label, in the form that a source has it, from a cell of a table."""
    if config.target == "class":
        if not text.strip():
            raise DataError(f"data.relabel: {file} has no label for {_show(name)}. Fill it in, or remove the line.")
        return text
    if isinstance(config, SpeechDataConfig):
        return _parse_transcript(file, name, text, config)
    try:
        values = json.loads(text) if text.lstrip().startswith("[") else text
    except ValueError:
        values = text
    if config.target == "number":
        return _parse_numbers(file, name, values, config)
    if isinstance(values, list):
        return tuple(map(str, values))
    parts = [text] if config.separator is None else text.split(config.separator)
    return tuple(part.strip() for part in parts if part.strip())


def _parse_transcript(file: Path, name: str, text: str, config: SpeechDataConfig) -> str:
    """Normalize a transcript in the same way as those of a source."""
    transcript = normalize(text, config.normalization)
    if not transcript:
        raise DataError(
            f"data.relabel: {file} has no transcript for {_show(name)}. Fill it in; to leave the row out, name it in "
            "data.exclude."
        )
    return transcript


def _parse_numbers(file: Path, name: str, values: Any, config: DataConfig) -> tuple[float, ...]:
    try:
        numbers = tuple(float(value) for value in (values if isinstance(values, list) else [values]))
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != len(config.label_columns) or not all(abs(number) < float("inf") for number in numbers):
        raise DataError(
            f"data.relabel: {file} has no number for each of {', '.join(config.label_columns)} of {_show(name)}. "
            f"Received: {values!r}. Write one number, or a list such as [1.5, 2]."
        )
    return numbers


def _check_labels(labels: Iterable[Label], source: Source, config: DataConfig) -> None:
    """Refuse a label that no other row has, which may be misspelled, unless the recipe lists it."""
    if config.target not in ("class", "multilabel"):
        return
    known = {*source.class_names, *count_names(source.rows["label"]), *(config.classes or ())}
    unknown = sorted(set(count_names(labels)) - known)
    if unknown:
        hints = [f"No row has {show_name(name)}. {did_you_mean(name, known)}" for name in unknown[:5]]
        raise DataError(f"data.relabel: {' '.join(hints)} Fix the labels, or list new ones in data.classes.")


def _with_names(source: Source, before: Source, config: DataConfig) -> Source:
    """The source without names that only occurred in rows that are now left out or relabelled."""
    if not reads_labels(config) or config.target not in ("class", "multilabel"):
        return source
    now, earlier = count_names(source.rows["label"]), count_names(before.rows["label"])
    names = [name for name in source.class_names if name in now or name not in earlier]
    added = sorted(set(now) - set(names))
    # Alphabetical order means that the source defines none.
    ordered = sorted([*names, *added]) if names == sorted(names) else [*names, *added]
    return replace(source, class_names=tuple(ordered))
