"""The corrections of a recipe's rows, which may be in several sources."""

from collections.abc import Callable, Mapping
from typing import Any

from keras_transfer.config.data import DataConfig
from keras_transfer.data.sources.base import Source
from keras_transfer.data.sources.corrections import Corrections, has_corrections, read_corrections
from keras_transfer.data.sources.find import read_rows
from keras_transfer.data.tables.tables import SPLIT_NAMES


def load_corrections(
    config: DataConfig,
    given: Mapping[str, Any],
    recorded: Mapping[str, Any] | None,
    *,
    read: Callable[[DataConfig], Source],
) -> Corrections:
    """Return the corrections of a recipe, or those of a run that is read again.

    Args:
        config: The recipe's data section, for its main source.
        given: The Python objects that names of sources refer to.
        recorded: The record of corrections in a run's data.json; None for a new run.
        read: Reads the rows of a source of validation or test rows by the section that applies to it.

    Raises:
        DataError: A table cannot be read, or names rows that no source has.
    """
    if recorded is not None:
        return Corrections.from_json(recorded)
    if not has_corrections(config):
        return Corrections()
    # The sources are read a second time for their names: a name may refer to rows of two of them.
    sources = {"train": read_rows(config.source, config, given.get(config.source))}
    for part in SPLIT_NAMES:
        other = config.own_source(part)
        if other is not None:
            sources[part] = read(config.for_source(other, prefix=f"data.{part}."))
    return read_corrections(config, sources)
