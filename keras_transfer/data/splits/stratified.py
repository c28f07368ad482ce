"""Divide the rows of a source into training, validation and test rows."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from keras_transfer.config.data import DataConfig
from keras_transfer.config.section import is_set
from keras_transfer.data.sources.base import Source
from keras_transfer.data.sources.example_kinds import find_example_kind
from keras_transfer.data.splits.draws import draw_fold, draw_groups
from keras_transfer.data.splits.known import Known
from keras_transfer.data.splits.placement import Flags, LeftOut, Names, apportion, describe_placement, place
from keras_transfer.data.tables.tables import SPLIT_NAMES, some
from keras_transfer.data.targets.base import Target
from keras_transfer.errors import DataError


@dataclass(frozen=True)
class Part:
    """The rows of one split: some or all of a source's rows."""

    source: Source
    rows: pd.DataFrame


@dataclass(frozen=True)
class Division:
    """A source, divided.

    Attributes:
        parts: The rows by split.
        notes: Lines for the user on rows that earlier runs knew.
        record: The entry in data.json on them; None if there are no earlier runs.
    """

    parts: Mapping[str, Part]
    notes: tuple[str, ...] = ()
    record: Mapping[str, Any] | None = None


def divide(
    source: Source,
    target: Target,
    config: DataConfig,
    *,
    seed: int,
    read: Callable[[DataConfig], Source],
    known: Known,
) -> Division:
    """Divide a source as a recipe specifies: the only function that decides which split a row is in.

    A row of an earlier run is in the split that it was in or, if the recipe puts it into another one, in none. Further
    rows are in the split that the source defines (a ``test/`` folder, a column of splits). Otherwise the recipe's share
    is drawn: test rows from all rows, then validation rows from the remaining ones; both are stratified, keep groups
    together, and are the same on every machine. With folds, each row on which no earlier run trained or selected
    weights is a test row once.

    Args:
        target: What the model predicts: it defines the strata.
        read: Reads a source of validation or test rows by the data section that applies to it.

    Returns:
        The parts; validation or test has no rows if the recipe sets 0.

    Raises:
        DataError: The source has too few rows for these splits, or lacks a column.
    """
    _check_columns(source, config)
    own = read_own(config, read)
    places = place({"": source, **own}, config, known)
    left_out, parts, main = LeftOut(), {}, places[""]
    notes: tuple[str, ...] = ()
    if config.folds is not None:
        main = replace(main, pins=np.where(main.pins == "test", "", main.pins))
    explicit, rest = _read_explicit(source)
    drawn = {name for name in _HELD_OUT if name not in explicit and name not in own and getattr(config, name)}
    at = main.at(rest)
    fits = np.isin(at.pins, ["", "train", *drawn]) & places[""].at(rest).consistent
    rest = left_out.keep("train", places[""], rest, fits)
    draw = _Draw(source, target, config, seed)
    for name in _HELD_OUT:
        if name in own:
            rows = own[name].rows
            parts[name] = Part(own[name], left_out.keep(name, places[name], rows, places[name].fits(name)))
            continue
        if name == "test" and config.folds is not None:
            _refuse_test_rows(explicit, source)
            inside = draw.fold(rest, main.at(rest).pins)
            taken, rest = rest[inside], rest[~inside]
        elif name in explicit:
            if is_set(config, name):
                raise DataError(
                    f"data.{name}={getattr(config, name)}: {source.name} has {name} rows of its own, so no share is "
                    f"drawn. Leave data.{name} out."
                )
            taken = left_out.keep(name, places[""], explicit[name], places[""].at(explicit[name]).fits(name))
        else:
            inside, notes = draw.share_if_possible(name, rest, main.at(rest).pins)
            taken, rest = rest[inside], rest[~inside]
        parts[name] = Part(source, taken)
    parts["train"] = Part(source, rest)
    _check_groups(parts, config)
    placed = {name: places[name if name in own else ""].at(part.rows) for name, part in parts.items()}
    placement, record = describe_placement(known, placed, left_out)
    return Division(parts, (*notes, *placement), record)


def restore(
    source: Source, config: DataConfig, recorded: Mapping[str, Any], read: Callable[[DataConfig], Source]
) -> dict[str, Part]:
    """Return the rows of a run as it divided them.

    Args:
        source: The recipe's main source.
        recorded: The splits in the run's data.json, which name their rows.
        read: Reads a source of validation or test rows by the data section that applies to it.
    """
    parts, others = {}, read_own(config, read)
    for name in SPLIT_NAMES:
        own = others.get(name, source)
        names = {row[0] for row in recorded[name]["rows"]}
        examples = find_example_kind(config).to_examples(own, own.rows, config)
        parts[name] = Part(own, own.rows[[each in names for each in examples.names]])
    return parts


_HELD_OUT = ("test", "validation")


def read_own(config: DataConfig, read: Callable[[DataConfig], Source]) -> dict[str, Source]:
    """Read the separate sources of validation and test rows."""
    others = {name: config.own_source(name) for name in ("validation", "test")}
    return {
        name: read(config.for_source(other, prefix=f"data.{name}."))
        for name, other in others.items()
        if other is not None
    }


def _read_explicit(source: Source) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """The validation and test rows that a source defines, and the rows from which others are drawn."""
    rows = source.rows
    explicit = {name: rows[rows["split"] == name] for name in SPLIT_NAMES if (rows["split"] == name).any()}
    rest = explicit.pop("train") if "train" in explicit else rows[rows["split"] == ""]
    if rest.empty:
        raise DataError(f"{source.name} has {' and '.join(explicit)} rows, but no training rows. Add some.")
    return explicit, rest


class TooFewRowsError(DataError):
    """A share of the rows cannot be drawn."""


@dataclass(frozen=True)
class _Draw:
    """Draws rows of a source; each draw returns ``bool[rows]``, whether each row is drawn."""

    source: Source
    target: Target
    config: DataConfig
    seed: int

    def share_if_possible(self, name: str, rows: pd.DataFrame, pins: Names) -> tuple[Flags, tuple[str, ...]]:
        """The share that the recipe asks for; with ``validation: auto``, no rows and a note if that is impossible."""
        try:
            return self.share(name, rows, self.config.share(name), pins), ()
        except TooFewRowsError:
            if name != "validation" or not self.config.validates_if_possible:
                raise
        note = f"the {len(rows)} rows are too few to hold some out for validation, so all of them are training rows"
        return np.zeros(len(rows), bool), (note,)

    def share(self, name: str, rows: pd.DataFrame, share: float, pins: Names) -> Flags:
        """A share of the rows, stratified, with those that are pinned to the split."""
        drawn = np.zeros(len(rows), bool)
        if share == 0.0:
            return drawn
        taken = int(np.ceil(share * len(rows)))
        strata = self._join(self._label_strata(rows, least=2, most=min(taken, len(rows) - taken)))
        if self.config.group is not None:
            return self._groups(name, rows, strata.tolist(), share, pins)
        if (pins != "").any():
            drawn = apportion(strata.tolist(), pins, name=name, share=share, seed=self.seed)
            if not drawn.any():
                raise self._nothing_left(name, share, rows, pins)
            return drawn
        counts = strata.value_counts()
        if counts.min() < 2 or min(taken, len(rows) - taken) < len(counts):
            smallest = ", ".join(f"{stratum}: {count}" for stratum, count in counts.sort_values().head(5).items())
            raise TooFewRowsError(
                f"Data source {self.source.name} has too few rows for a stratified split: data.{name}={share:g} takes "
                f"{taken} of {len(rows)} rows from {len(counts)} strata, and each stratum needs at least one row on "
                f"either side. Smallest: {smallest}. Add rows, change the share, or set data.{name} to another source."
            )
        _, indices = train_test_split(np.arange(len(rows)), test_size=taken, random_state=self.seed, stratify=strata)
        drawn[indices] = True
        return drawn

    def fold(self, all_rows: pd.DataFrame, pins: Names) -> Flags:
        """The fold that ``data.fold`` selects, among the rows that are not pinned to a split."""
        rows = all_rows[pins == ""]
        if rows.empty:
            raise self._nothing_left("folds", int(self.config.folds or 0), all_rows, pins)
        folds, group = int(self.config.folds or 0), self.config.group
        # Each fold needs a row of each class, or a group that contains one.
        own = self._label_strata(rows, least=folds, most=max(len(rows) // folds, 1))
        counts = Counter(own["label"] if group is None else own.groupby(group)["label"].unique().explode())
        smallest = min(counts, key=lambda name: counts[name])
        if counts[smallest] < folds:
            what = "rows" if group is None else f"groups of {group!r}"
            raise DataError(
                f"data.folds={folds} exceeds the number of {what} in the smallest class of {self.source.name}: "
                f"{smallest!r} has {counts[smallest]}. Use fewer folds, or add rows."
            )
        groups = None if group is None else rows[group].astype(str).tolist()
        strata = self._join(own).tolist()
        inside = np.zeros(len(all_rows), bool)
        inside[pins == ""] = draw_fold(strata, groups, folds=folds, fold=self.config.fold or 1, seed=self.seed)
        return inside

    def _nothing_left(self, name: str, share: float, rows: pd.DataFrame, pins: Names) -> DataError:
        known = int((pins != "").sum())
        other = "leave it out" if name == "folds" else f"set data.{name} to another source or to 0"
        return DataError(
            f"data.{name}={share:g} of {self.source.name} has no rows to draw: an earlier run trained on, or selected "
            f"weights by, {known} of {len(rows)} rows. Add new rows, {other}, or do not start from that run."
        )

    def _groups(self, name: str, rows: pd.DataFrame, strata: list[str], share: float, pins: Names) -> Flags:
        groups = rows[self.config.group].astype(str).tolist()
        sides = {group: pin == name for group, pin in zip(groups, pins, strict=True) if pin}
        drawn = draw_groups(strata, groups, share=share, seed=self.seed, sides=sides)
        if sides and not drawn.any():
            raise self._nothing_left(name, share, rows, pins)
        if not drawn.any() or drawn.all():
            largest = ", ".join(f"{group} ({count} rows)" for group, count in Counter(groups).most_common(3))
            raise TooFewRowsError(
                f"Data source {self.source.name} cannot be divided by data.group={self.config.group}: "
                f"data.{name}={share:g} of {len(rows)} rows in {len(set(groups))} groups. Largest: {largest}. Change "
                f"the share, or set data.{name} to another source."
            )
        return drawn

    def _label_strata(self, rows: pd.DataFrame, *, least: int, most: int) -> pd.DataFrame:
        """The rows, with strata as labels."""
        return rows.assign(label=self.target.strata(self.target.encode(rows["label"]), least=least, most=most))

    def _join(self, rows: pd.DataFrame) -> "pd.Series[str]":
        return rows[self.config.stratify].astype(str).agg(" / ".join, axis=1)


def _check_columns(source: Source, config: DataConfig) -> None:
    wanted = [("stratify", column) for column in config.stratify]
    wanted += [(key, getattr(config, key)) for key in ("group", "split") if getattr(config, key) is not None]
    for key, column in wanted:
        # A source has its own column of splits after it was read.
        if column not in source.rows.columns and not (key == "split" and source.rows["split"].any()):
            known = ", ".join(str(name) for name in source.rows.columns if name not in ("path", "split"))
            raise DataError(f"data.{key}: {source.name} has no column {column!r}. Columns: {known}.")


def _refuse_test_rows(explicit: Mapping[str, pd.DataFrame], source: Source) -> None:
    if "test" in explicit:
        raise DataError(
            f"data.folds: {source.name} defines test rows, but with folds every row is a test row once. "
            "Remove data.folds, or merge the test rows with the others."
        )


def _check_groups(parts: Mapping[str, Part], config: DataConfig) -> None:
    """Refuse groups that the sources themselves put into two splits."""
    homes: dict[str, set[str]] = {}
    for name, part in parts.items():
        for group in part.rows[config.group].unique() if config.group in part.rows.columns else ():
            homes.setdefault(str(group), set()).add(name)
    torn = [f"{group} ({' and '.join(sorted(names))})" for group, names in homes.items() if len(names) > 1]
    if torn:
        raise DataError(
            f"data.group: {len(torn)} groups of column {config.group!r} are in two splits: {some(torn, 5)}. "
            "Fix the sources, or remove data.group."
        )
