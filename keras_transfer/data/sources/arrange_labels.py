"""Arrange the labels of a source according to a recipe: merge, rename, choose and order them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from keras_transfer.config.data import DataConfig
from keras_transfer.config.names import choose_spellings, find_twins, order_names, reduce_name, show_name
from keras_transfer.data.sources.base import Source, reads_labels
from keras_transfer.data.tables.label_columns import describe_separators, find_separators
from keras_transfer.data.tables.label_lists import describe_lists
from keras_transfer.data.tables.tables import some
from keras_transfer.errors import DataError, list_lines
from keras_transfer.registry import did_you_mean

# How pandas, spreadsheets and JSON write a missing value. NA and None can also be names.
_MISSING = ("nan", "<na>", "nat", "null", "#n/a")


def arrange_labels(source: Source, config: DataConfig, known: Sequence[str] | None) -> Source:
    """Merge, rename, choose and order the classes or labels of a source.

    Args:
        config: ``data.merge_labels``, ``data.relabel`` and ``data.classes``.
        known: The names of a model or of the training rows, for a source of other rows.

    Returns:
        The source with new labels, and lines on what was changed. Rows of classes that ``data.classes`` does not list
        are left out. Numbers are returned as they are.

    Raises:
        DataError: Names differ only invisibly, a name is invisible, or a separator does not occur.
    """
    if config.target not in ("class", "multilabel") or not reads_labels(config):
        return source
    labels = _Labels(source, config, known)
    labels.check_visible()
    notes = [*labels.check_separator(), *labels.find_missing()]
    renamed, merged = labels.rename()
    written = tuple(name for name, rows in labels.counts.items() if rows)
    return _apply(replace(source, notes=(*source.notes, *notes, *merged), written=written), config, renamed)


@dataclass(frozen=True)
class _Labels:
    """The names of a source, and a recipe's settings for them."""

    source: Source
    config: DataConfig
    known: Sequence[str] | None

    @property
    def counts(self) -> dict[str, int]:
        """How many rows have each name."""
        return {**dict.fromkeys(self.source.class_names, 0), **count_names(self.source.rows["label"])}

    @property
    def wanted(self) -> Sequence[str]:
        """Names whose spelling is already determined."""
        return self.known if self.known is not None else self.config.classes or ()

    def check_visible(self) -> None:
        """Refuse names that consist only of blanks and invisible characters."""
        counts = self.counts
        unseen = [name for name in counts if reduce_name(name) == ""]
        if unseen:
            shown = some([f"{name!a} in {counts[name]} rows" for name in unseen], 5)
            raise DataError(
                f"{self.source.name} has labels of nothing but blanks and invisible characters: {shown}. "
                "Fill in the labels, or remove the rows."
            )

    def check_separator(self) -> list[str]:
        """Refuse a separator that does not occur although another one does; return a line if none does."""
        config, separator = self.config, self.config.separator
        column = config.label_columns[0]
        if config.target != "multilabel" or separator is None or describe_lists(column) in self.source.notes:
            return []
        rows = self.source.rows["label"].tolist()
        if any(len(row) > 1 for row in rows) or {name for row in rows for name in row} <= set(self.wanted):
            return []
        likely = find_separators([row[0] for row in rows if row])
        if likely:
            raise DataError(
                f"data.separator={separator!r} does not occur in the labels: no row of {self.source.name} has two "
                f"labels in column {column!r}. Likely separators: {describe_separators(likely)}. Set data.separator to "
                "one of them; if these are single labels, list them in data.classes."
            )
        return [f"data.separator={separator!r} does not occur in the labels: each row has one label at most."]

    def find_missing(self) -> list[str]:
        """Return a line on names that may be missing values."""
        names = [name for name in self.counts if name.casefold() in _MISSING and name not in self.wanted]
        if not names:
            return []
        shown = some([f"{show_name(name)} ({_describe_count(self.counts[name])})" for name in names])
        return [f"If these are missing labels and not names, list the others in data.classes: {shown}."]

    def rename(self) -> tuple[dict[str, str], list[str]]:
        """Return the new name of each, and lines on what was merged.

        Raises:
            DataError: Names are probably the same, and the recipe does not say whether they are.
        """
        counts, relabel, merges = self.counts, self.config.renamed, self.config.merge_labels is True
        names = {name: name for name in counts}
        if merges:
            names = choose_spellings(counts, tuple(relabel))
        names = {name: relabel.get(now, now) for name, now in names.items()}
        totals = _sum(counts, names)
        if merges:
            spelled = choose_spellings(totals, self.wanted)
            names = {name: spelled[now] for name, now in names.items()}
            return names, self._describe_merged(counts, names)
        if self.config.merge_labels is None:
            self._refuse_twins(totals)
        return names, []

    def _describe_merged(self, counts: Mapping[str, int], names: Mapping[str, str]) -> list[str]:
        merged = [
            f"{show_name(name)} ({_describe_count(counts[name])}) into {show_name(now)}"
            for name, now in names.items()
            if name != now and reduce_name(name) == reduce_name(now) and name not in self.config.renamed
        ]
        return [f"data.merge_labels: merged {some(merged)}."] if merged else []

    def _refuse_twins(self, counts: Mapping[str, int]) -> None:
        settled = set(self.wanted)
        # Twins that a model already has, or that data.classes leaves out, are allowed.
        groups = [
            group for group in find_twins([*counts, *(self.known or ())]) if not set(group) <= set(self.known or ())
        ]
        groups = [group for group in groups if not settled or settled & set(group)]
        if not groups:
            return
        lines = [
            ", ".join(f"{show_name(name)} ({_describe_count(counts.get(name))})" for name in group) for group in groups
        ]
        ways = (
            "Set data.merge_labels=true if those of a line are the same, or data.merge_labels=false if they are "
            "different; or rename some with data.relabel."
            if self.known is None
            else "Write them as the training data does, or train with data.merge_labels=true."
        )
        what = "classes" if self.config.target == "class" else "labels"
        raise DataError(
            f"{self.source.name} has {what} whose names differ only in case, blanks, Unicode form, invisible "
            f"characters or the form of a number:\n{list_lines(lines)}\n{ways}"
        )


def _describe_count(rows: int | None) -> str:
    return "in the training data" if rows is None else f"{rows:,} row{'s' * (rows != 1)}"


def count_names(labels: Iterable[Any]) -> Counter[str]:
    """Return how many rows have each class or label, from their labels."""
    return Counter(name for label in labels for name in ([label] if isinstance(label, str) else label))


def _sum(counts: Mapping[str, int], names: Mapping[str, str]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for name, now in names.items():
        totals[now] = totals.get(now, 0) + counts[name]
    return totals


def _apply(source: Source, config: DataConfig, renamed: Mapping[str, str]) -> Source:
    """Rename the labels of all rows, drop those that ``data.classes`` does not list, and order the names."""
    now = tuple(dict.fromkeys(renamed[name] for name in source.class_names))
    names = tuple(config.classes) if config.classes is not None else _order(source, config, now)
    order, rows = {name: index for index, name in enumerate(names)}, source.rows
    if config.target == "class":
        values: list[Any] = [renamed[label] for label in rows["label"]]
        kept = [value in order for value in values]
    else:
        labels = [{renamed[name] for name in row} for row in rows["label"]]
        values = [tuple(sorted(row & order.keys(), key=lambda name: order[name])) for row in labels]
        kept = [True] * len(values)
    if not any(kept):
        raise DataError(f"{source.name} has no rows of data.classes: {some(names)}. Classes of its rows: {some(now)}.")
    others = {name: count for name, count in _sum(count_names(rows["label"]), renamed).items() if name not in order}
    notes = [_describe_left_out(others, len(rows) - sum(kept), len(rows))] if others else []
    rows = rows.assign(label=pd.Series(values, rows.index, object))
    # Rows keep their numbers, which identify images in the cache.
    return replace(source, rows=rows[kept], class_names=names, notes=(*source.notes, *notes))


def _describe_left_out(others: Mapping[str, int], left_out: int, total: int) -> str:
    shown = some([f"{show_name(name)} ({_describe_count(count)})" for name, count in others.items()])
    what = f"{left_out:,} of {total:,} rows are left out, of other classes" if left_out else "other labels are left out"
    return f"data.classes: {what}: {shown}."


def _order(source: Source, config: DataConfig, names: tuple[str, ...]) -> tuple[str, ...]:
    """Keep an order that a source or a recipe defines; alphabetical order means that the source defines none."""
    is_listed = config.target == "multilabel" and config.separator is None and not isinstance(config.label, str)
    is_given = list(source.class_names) != sorted(source.class_names)
    return names if is_listed or is_given else order_names(names)


def check_classes(source: Source, config: DataConfig) -> None:
    """Refuse names in ``data.classes`` that no row has.

    Raises:
        DataError: With the nearest name.
    """
    if config.classes is None:
        return
    there = count_names(source.rows["label"])
    absent = [name for name in config.classes if not there[name]]
    if absent:
        raise DataError(
            f"data.classes: {source.name} lacks {len(absent)} of them. {_explain_absent(absent, source.written)} "
            "Fix the names, or remove them."
        )


def check_relabel(sources: Sequence[Source], config: DataConfig) -> None:
    """Refuse names in ``data.relabel`` that do not occur in a recipe's sources.

    Raises:
        DataError: With the nearest name.
    """
    written = [name for source in sources for name in source.written]
    if config.merge_labels is True:
        there = {reduce_name(name) for name in written}
        absent = [name for name in config.renamed if reduce_name(name) not in there]
    else:
        absent = [name for name in config.renamed if name not in written]
    if absent:
        hints = _explain_absent(absent, set(written))
        raise DataError(f"data.relabel: {hints} Fix the names, or remove them.")


def _explain_absent(absent: Sequence[str], known: Iterable[str]) -> str:
    known = list(known)
    hints = [f"No row has {show_name(name)}. {did_you_mean(name, known)}" for name in absent[:5]]
    if {"True", "False"} & set(absent):
        hints.append("YAML reads yes, no, on and off as true and false: put quotes around them.")
    return " ".join(hints)
