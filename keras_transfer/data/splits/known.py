"""Rows that earlier runs knew, by their content, with the splits that they had there."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keras_transfer.data.examples.base import Examples
from keras_transfer.data.sources.samples import SAMPLES
from keras_transfer.data.tables.tables import SPLIT_NAMES

Keys = tuple[str, ...]
"""What one row is known by."""


@dataclass(frozen=True)
class Known:
    """Rows of earlier runs.

    Attributes:
        splits: The split of each row, by what it is known by. A row that one run trained on is a training row whatever
            another run did with it; a row that one run selected weights by is a validation row unless one trained on
            it.
        runs: The folders of the runs, for messages.
    """

    splits: Mapping[str, str] = field(default_factory=dict)
    runs: tuple[str, ...] = ()

    def split_of(self, keys: Keys) -> str:
        """Return the split that a row had; empty for a row that no run knew."""
        return strictest(self.splits[key] for key in keys if key in self.splits)

    def merge(self, other: "Known") -> "Known":
        """Return the rows of both."""
        merged = dict(self.splits)
        for key, split in other.splits.items():
            merged[key] = strictest((split, merged.get(key, split)))
        return Known(merged, (*self.runs, *(run for run in other.runs if run not in self.runs)))

    def to_json(self) -> dict[str, list[str]]:
        """Return what data.json records, so that a later run needs this run's folder alone."""
        return {name: sorted(key for key, split in self.splits.items() if split == name) for name in SPLIT_NAMES}


NOTHING_KNOWN = Known()


def strictest(splits: Iterable[str]) -> str:
    """Return the one that counts of several splits of a row: train, then validation, then test."""
    found = set(splits)
    return next((name for name in SPLIT_NAMES if name in found), "")


def identify(examples: Examples) -> list[str]:
    """Return the hash by which each example is known from run to run.

    That is the hash of its content. Examples that can be written in several ways that mean the same, as texts can,
    have ``identities`` instead.
    """
    identities: list[str] | None = getattr(examples, "identities", None)
    return examples.content_hashes if identities is None else identities


def find_keys(source: str, names: Sequence[str], hashes: Sequence[str]) -> list[Keys]:
    """Return what each row of a source is known by.

    Args:
        source: Its name in the recipe. Sample sets of one package may show the same rows in several ways, as BBC's
            articles and their headlines: these rows are known by their names, too, which never change.
        names: Of the examples.
        hashes: As :func:`identify` returns them; an empty one is not known.
    """
    package = SAMPLES[source].package if source in SAMPLES else None
    places = [() if package is None else (f"{package}/{name}",) for name in names]
    return [(*((found,) if found else ()), *place) for found, place in zip(hashes, places, strict=True)]


def parse_known(run: str, sources: Mapping[str, str], record: Mapping[str, Any]) -> Known:
    """Read the rows of a run from its record.

    Args:
        run: Its folder, for messages.
        sources: The source of each split.
        record: The content of its data.json.

    Raises:
        KeyError: It has no hashes.
        TypeError: It is damaged.
        ValueError: It is damaged.
    """
    known = Known({}, (run,))
    for name in SPLIT_NAMES:
        part = record["splits"][name]
        names, hashes = [row[0] for row in part["rows"]], part["hashes"]
        if not all(isinstance(text, str) for text in (*names, *hashes)):
            raise TypeError("names and hashes of rows are not texts")
        keys = {key: name for row in find_keys(sources[name], names, hashes) for key in row}
        known = known.merge(Known(keys))
    for name, found in (record.get("earlier") or {}).items():
        if name not in SPLIT_NAMES or not all(isinstance(key, str) for key in found):
            raise ValueError("the rows of earlier runs are not texts")
        known = known.merge(Known(dict.fromkeys(found, name)))
    return known
