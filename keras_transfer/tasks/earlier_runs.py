"""The earlier runs that a recipe names, whose rows stay in the splits that they were in."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_transfer.backbones.weights import read_run_recipe
from keras_transfer.config.data import DataConfig
from keras_transfer.config.schema import RecipeConfig
from keras_transfer.config.weights import Weights
from keras_transfer.data.splits.known import NOTHING_KNOWN, Known, parse_known
from keras_transfer.data.tables.tables import SPLIT_NAMES
from keras_transfer.errors import BackboneError

_DATA = "data.json"


def find_known(config: RecipeConfig) -> Known:
    """Return the rows of the runs that a recipe names as ``backbone.weights`` and ``data.splits_of``.

    Raises:
        BackboneError: It is not the folder of a finished run, is damaged, or was written by an early version.
    """
    known = NOTHING_KNOWN
    named = {"backbone.weights": Weights.parse(config.backbone.weights).run}
    if config.data.splits_of is not None:
        named["data.splits_of"] = Path(config.data.splits_of).expanduser()
    for key, folder in named.items():
        if folder is not None:
            known = known.merge(_read_known(folder, key))
    return known


def _read_known(folder: Path, key: str) -> Known:
    earlier, file = read_run_recipe(folder, key), folder / _DATA
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        if any("hashes" not in record["splits"][name] for name in SPLIT_NAMES):
            raise BackboneError(
                f"Run {folder} was made by a version that did not record its rows by content, so rows that it trained "
                f"on cannot be kept out of validation and test. Received: {key}={folder}. Make the run again."
            )
        return rows_of(folder, earlier.data, record)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise BackboneError(
            f"{file} is damaged: {type(error).__name__}: {error}. Use another copy of the run folder, or make the run "
            "again."
        ) from error


def rows_of(folder: Path, data: DataConfig, record: Mapping[str, Any]) -> Known:
    """Return the rows of a run, including those of the runs that it started from.

    Raises:
        KeyError: There are no hashes: an early version wrote the record.
        TypeError: The record is damaged.
        ValueError: The record is damaged.
    """
    return parse_known(str(folder), _sources_of(data), record)


def _sources_of(data: DataConfig) -> dict[str, str]:
    """The source from which the rows of each split are read."""
    own = {name: data.own_source(name) for name in SPLIT_NAMES}
    return {name: data.source if other is None else other.source for name, other in own.items()}
