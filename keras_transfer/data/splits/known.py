"""Rows of earlier runs, identified by their content, with the splits that they were in."""

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
        splits: The split of each row, by its key. A row that one run trained on is a training row, whatever another run
            did with it; a row on which one run selected weights is a validation row unless a run trained on it.
        runs: The folders of the runs, for messages.
    """

    splits: Mapping[str, str] = field(default_factory=dict)
    runs: tuple[str, ...] = ()

    def split_of(self, keys: Keys) -> str:
        """Return the split that a row had; empty for a row of no earlier run."""
        return strictest(self.splits[key] for key in keys if key in self.splits)

    def merge(self, other: "Known") -> "Known":
        """Return the rows of both objects."""
        merged = dict(self.splits)
        for key, split in other.splits.items():
            merged[key] = strictest((split, merged.get(key, split)))
        return Known(merged, (*self.runs, *(run for run in other.runs if run not in self.runs)))

    def to_json(self) -> dict[str, list[str]]:
        """Return the entry in data.json, so that a later run only needs this run's folder."""
        return {name: sorted(key for key, split in self.splits.items() if split == name) for name in SPLIT_NAMES}


NOTHING_KNOWN = Known()


def strictest(splits: Iterable[str]) -> str:
    """Return the strictest of several splits of a row: train, then validation, then test."""
    found = set(splits)
    return next((name for name in SPLIT_NAMES if name in found), "")


def identify(examples: Examples) -> list[str]:
    """Return the hash that identifies each example in all runs.

    It is the hash of its content. Examples with several equivalent forms, such as texts, have ``identities`` instead.
    """
    identities: list[str] | None = getattr(examples, "identities", None)
    return examples.content_hashes if identities is None else identities


def find_keys(source: str, names: Sequence[str], hashes: Sequence[str]) -> list[Keys]:
    """Return the keys that identify each row of a source.

    Args:
        source: Its name in the recipe. Sample sets of one package may contain the same rows in several forms, such as
            BBC's articles and their headlines: these rows are also identified by their names, which never change.
        hashes: As :func:`identify` returns them; an empty one identifies nothing.
    """
    package = SAMPLES[source].package if source in SAMPLES else None
    places = ["" if package is None else f"{package}/{name}" for name in names]
    return [tuple(filter(None, pair)) for pair in zip(hashes, places, strict=True)]


def parse_known(run: str, sources: Mapping[str, str], record: Mapping[str, Any]) -> Known:
    """Read the rows of a run from its record.

    Args:
        run: The folder of the run, for messages.
        sources: The source of each split.
        record: The content of its data.json.

    Raises:
        KeyError: The record has no hashes.
        TypeError: The record is damaged.
        ValueError: The record is damaged.
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
