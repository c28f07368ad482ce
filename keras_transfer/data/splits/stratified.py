"""Divide the rows of a source into training, validation and test rows."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from keras_transfer.config import DataConfig
from keras_transfer.config.section import is_set
from keras_transfer.data.sources.base import Source
from keras_transfer.data.splits.draws import draw_fold, draw_groups
from keras_transfer.data.tables.tables import SPLIT_NAMES, some
from keras_transfer.data.targets.base import Target
from keras_transfer.errors import DataError


@dataclass(frozen=True)
class Part:
    """The rows of one split.

    Attributes:
        source: The source that has them.
        rows: Some or all of the source's rows.
    """

    source: Source
    rows: pd.DataFrame


def divide(
    source: Source, target: Target, config: DataConfig, *, seed: int, read: Callable[[DataConfig], Source]
) -> dict[str, Part]:
    """Divide a source as a recipe specifies.

    A split that the source defines (a ``test/`` folder, a column of splits) is used as it is. Otherwise the recipe's
    share is drawn: test rows from all rows, then validation rows from the remaining ones; both are stratified, keep
    groups together, and are the same on every machine.

    Args:
        source: The source.
        target: What the model predicts: rows are drawn by its strata.
        config: The recipe's data section.
        seed: For drawing rows.
        read: Reads a source of validation or test rows by the data section that applies to it.

    Returns:
        The parts by name; validation or test has no rows if the recipe sets 0.

    Raises:
        DataError: The source has too few rows for these splits, or lacks a column.
    """
    _check_columns(source, config)
    draw = _Draw(source, target, config, seed)
    rows = source.rows
    explicit = {name: rows[rows["split"] == name] for name in SPLIT_NAMES if (rows["split"] == name).any()}
    rest = explicit.pop("train") if "train" in explicit else rows[rows["split"] == ""]
    if rest.empty:
        raise DataError(f"{source.name} has {' and '.join(explicit)} rows, but no training rows. Add some.")
    parts = {}
    for name in ("test", "validation"):
        other = config.own_source(name)
        if other is not None:
            own = read(config.for_source(other, prefix=f"data.{name}."))
            parts[name] = Part(own, own.rows)
            continue
        if name == "test" and config.folds is not None:
            _refuse_test_rows(explicit, source)
            inside = draw.fold(rest)
            taken, rest = rest[inside], rest[~inside]
        elif name in explicit:
            if is_set(config, name):
                raise DataError(
                    f"data.{name}={getattr(config, name):g}: {source.name} has {name} rows of its own, so no share is "
                    f"drawn. Leave data.{name} out."
                )
            taken = explicit[name]
        else:
            drawn = draw.share(name, rest, getattr(config, name))
            taken, rest = rest[drawn], rest[~drawn]
        parts[name] = Part(source, taken)
    parts["train"] = Part(source, rest)
    _check_groups(parts, config)
    return parts


@dataclass(frozen=True)
class _Draw:
    """Draws rows of a source; each draw returns ``bool[rows]``, whether each row is drawn."""

    source: Source
    target: Target
    config: DataConfig
    seed: int

    def share(self, name: str, rows: pd.DataFrame, share: float) -> NDArray[np.bool_]:
        """A share of the rows, stratified."""
        drawn = np.zeros(len(rows), bool)
        if share == 0.0:
            return drawn
        taken = int(np.ceil(share * len(rows)))
        strata = self._join(self._label_strata(rows, least=2, most=min(taken, len(rows) - taken)))
        if self.config.group is not None:
            return self._groups(name, rows, strata.tolist(), share)
        counts = strata.value_counts()
        if counts.min() < 2 or min(taken, len(rows) - taken) < len(counts):
            smallest = ", ".join(f"{stratum}: {count}" for stratum, count in counts.sort_values().head(5).items())
            raise DataError(
                f"Data source {self.source.name} has too few rows for a stratified split: data.{name}={share:g} takes "
                f"{taken} of {len(rows)} rows from {len(counts)} strata, and each stratum needs at least one row on "
                f"either side. Smallest: {smallest}. Add rows, change the share, or set data.{name} to another source."
            )
        _, indices = train_test_split(np.arange(len(rows)), test_size=taken, random_state=self.seed, stratify=strata)
        drawn[indices] = True
        return drawn

    def fold(self, rows: pd.DataFrame) -> NDArray[np.bool_]:
        """The fold that ``data.fold`` selects."""
        folds, group = int(self.config.folds or 0), self.config.group
        # Each fold needs one of these: a row of each class, or a group with one.
        own = self._label_strata(rows, least=folds, most=max(len(rows) // folds, 1))
        counts = Counter(own["label"] if group is None else own.groupby(group)["label"].unique().explode())
        smallest = min(counts, key=lambda name: counts[name])
        if counts[smallest] < folds:
            what = "rows" if group is None else f"groups of {group!r}"
            raise DataError(
                f"data.folds={folds} is more than the {what} of the smallest class of {self.source.name}: {smallest!r} "
                f"has {counts[smallest]}. Use fewer folds, or add rows."
            )
        groups = None if group is None else rows[group].astype(str).tolist()
        strata = self._join(own).tolist()
        return draw_fold(strata, groups, folds=folds, fold=self.config.fold or 1, seed=self.seed)

    def _groups(self, name: str, rows: pd.DataFrame, strata: list[str], share: float) -> NDArray[np.bool_]:
        groups = rows[self.config.group].astype(str).tolist()
        drawn = draw_groups(strata, groups, share=share, seed=self.seed)
        if not drawn.any() or drawn.all():
            largest = ", ".join(f"{group} ({count} rows)" for group, count in Counter(groups).most_common(3))
            raise DataError(
                f"Data source {self.source.name} cannot be divided by data.group={self.config.group}: "
                f"data.{name}={share:g} of {len(rows)} rows in {len(set(groups))} groups. Largest: {largest}. Change "
                f"the share, or set data.{name} to another source."
            )
        return drawn

    def _label_strata(self, rows: pd.DataFrame, *, least: int, most: int) -> pd.DataFrame:
        """The rows, with strata in place of labels."""
        return rows.assign(label=self.target.strata(self.target.encode(rows["label"]), least=least, most=most))

    def _join(self, rows: pd.DataFrame) -> "pd.Series[str]":
        return rows[self.config.stratify].astype(str).agg(" / ".join, axis=1)


def _check_columns(source: Source, config: DataConfig) -> None:
    wanted = [("stratify", column) for column in config.stratify]
    wanted += [(key, getattr(config, key)) for key in ("group", "split") if getattr(config, key) is not None]
    for key, column in wanted:
        # A source that was read has its own column of splits.
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
