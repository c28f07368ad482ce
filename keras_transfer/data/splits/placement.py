"""The placement of rows of earlier runs: in the split that they were in, or in none.

A network's metrics are too high on rows on which it, or the network that it started from, was trained. So a row that an
earlier run trained on is never a validation or test row, whichever source, table, folder, column or fold it is in. If
the recipe itself puts a known row into another split, the row is left out.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from keras_transfer.config.data import DataConfig
from keras_transfer.data.sources.base import Source
from keras_transfer.data.sources.example_kinds import find_example_kind
from keras_transfer.data.splits.known import Known, find_keys, identify, strictest
from keras_transfer.data.tables.tables import SPLIT_NAMES
from keras_transfer.errors import DataError

Flags = NDArray[np.bool_]
Names = NDArray[np.object_]


@dataclass(frozen=True)
class Placement:
    """What earlier runs recorded of the rows of one source.

    Attributes:
        names: ``[rows]``, the name of each in messages.
        known: ``[rows]``, the split of each row in earlier runs; empty for new rows.
        pins: ``[rows]``, the split in which each row has to be: its own or, since groups stay together, that of its
            group; empty for rows that may be drawn.
    """

    source: Source
    names: Names
    known: Names
    pins: Names

    def fits(self, split: str) -> Flags:
        """Return whether each row may be in the split into which the recipe puts it."""
        return self.consistent & ((self.pins == "") | (self.pins == split))

    @property
    def consistent(self) -> Flags:
        """Whether the group of each row is in the split that the row itself was in."""
        return (self.known == "") | (self.known == self.pins)

    def at(self, rows: pd.DataFrame) -> "Placement":
        """Return the placement of some of the source's rows."""
        at = self.source.rows.index.get_indexer(rows.index)
        return Placement(self.source, self.names[at], self.known[at], self.pins[at])


def place(sources: Mapping[str, Source], config: DataConfig, known: Known) -> dict[str, Placement]:
    """Look up the rows of all sources of a recipe in earlier runs.

    Args:
        sources: By purpose: the main source, and those of validation and test rows.
    """
    found = {key: _look_up(source, config, known) for key, source in sources.items()}
    if config.group is None:
        return found
    groups = {
        key: one.source.rows[config.group].astype(str).to_numpy(object)
        for key, one in found.items()
        if config.group in one.source.rows.columns
    }
    splits: dict[str, set[str]] = {}
    for key, names in groups.items():
        for group, split in zip(names, found[key].known, strict=True):
            splits.setdefault(group, set()).add(split)
    pins = {group: strictest(each) for group, each in splits.items()}
    for key, names in groups.items():
        one = found[key]
        found[key] = Placement(one.source, one.names, one.known, _texts([pins[group] for group in names]))
    return found


def _look_up(source: Source, config: DataConfig, known: Known) -> Placement:
    count = len(source.rows)
    if not known.splits:  # contents need not be read
        return Placement(source, _texts(range(count)), _texts([""] * count), _texts([""] * count))
    examples = find_example_kind(config).to_examples(source, source.rows, config)
    keys = find_keys(source.name, examples.names, identify(examples))
    splits = _texts([known.split_of(each) for each in keys])
    return Placement(source, _texts(examples.names), splits, splits)


def _texts(values: Any) -> Names:
    return np.array(list(values), object)


class LeftOut:
    """Rows that are in no split, because the recipe contradicts an earlier run."""

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}
        self.lines: list[str] = []

    def keep(self, split: str, one: Placement, rows: pd.DataFrame, fits: Flags) -> pd.DataFrame:
        """Return the rows that may be in a split, and record the others.

        Raises:
            DataError: No row may.
        """
        out = one.at(rows[~fits])
        if not len(out.names):
            return rows
        counts = Counter(known or "in a group of others" for known in out.known)
        had = ", ".join(f"{count} {split}" for split, count in counts.items())
        if not fits.any():
            raise DataError(
                f"All {len(rows)} {split} rows of {one.source.name} were in other splits of an earlier run ({had}), "
                f"such as {out.names[0]}. Name a source with other rows, or do not start from that run."
            )
        self.names.setdefault(split, []).extend(map(str, out.names))
        self.lines.append(
            f"{len(out.names)} of {len(rows)} {split} rows of {one.source.name} are left out: an earlier run had them "
            f"in other splits ({had}), such as {out.names[0]}"
        )
        return rows[fits]


def describe_placement(
    known: Known, parts: Mapping[str, Placement], left_out: LeftOut
) -> tuple[tuple[str, ...], dict[str, Any] | None]:
    """Return lines for the user, and what data.json records; None if the recipe names no earlier run."""
    if not known.runs:
        return (), None
    kept = {name: int((parts[name].known != "").sum()) for name in SPLIT_NAMES}
    new = {name: int((parts[name].known == "").sum()) for name in SPLIT_NAMES}
    line = f"Rows of {', '.join(known.runs)} keep their splits: {_count(kept)}; new rows: {_count(new)}"
    record = {"runs": list(known.runs), "kept": kept, "new": new, "left_out": left_out.names}
    return (line, *left_out.lines), {"earlier_rows": record, "earlier": known.to_json()}


def _count(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def apportion(strata: Sequence[str], pins: Names, *, name: str, share: float, seed: int) -> Flags:
    """Draw free rows so that a split, including rows that are already in it, has a share of all rows and each stratum.

    Args:
        pins: The split of each row that has one; empty for rows that may be drawn.
        share: The share of all rows, above 0 and below 1.
        seed: Seed of the choice within a stratum.

    Returns:
        ``bool[rows]``: the rows that are already in the split, and those drawn.
    """
    kinds, stratum = np.unique(np.asarray(strata, str), return_inverse=True)
    count = len(kinds)
    inside, free = pins == name, pins == ""
    sizes, own, available = (np.bincount(stratum[rows], minlength=count) for rows in (pins == pins, inside, free))
    # A stratum is never exhausted: some of its rows remain for training.
    available -= (available > 0) & (available + own == sizes)
    missing = share * sizes - own
    taken = np.zeros(count, int)
    # From a stratum that already has more than its share, no row is taken; the others still get their shares.
    for _ in range(int(np.ceil(missing.clip(min=0).sum() - 1e-9))):
        open_strata = np.flatnonzero(taken < available)
        if not len(open_strata):
            break
        taken[open_strata[np.argmax((missing - taken)[open_strata])]] += 1
    drawn = inside.copy()
    order = np.random.RandomState(seed).permutation(np.flatnonzero(free))
    for number in range(count):
        drawn[order[stratum[order] == number][: taken[number]]] = True
    return drawn
