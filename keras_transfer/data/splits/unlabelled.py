"""Examples without labels, divided so that a model that is trained on them never sees a classifier's test rows."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from keras_transfer.config.data import DataConfig
from keras_transfer.data.sources.arrange_labels import check_relabel
from keras_transfer.data.sources.base import Source
from keras_transfer.data.sources.corrections import NO_CORRECTIONS, Corrections
from keras_transfer.data.sources.find import has_labels, read_rows, read_source
from keras_transfer.data.splits.known import NOTHING_KNOWN, Known
from keras_transfer.data.splits.splits import (
    Split,
    Splits,
    load_corrections,
    make_each,
    make_split,
    make_splits,
    of_whole,
    read_labelled,
)
from keras_transfer.data.splits.stratified import Part, divide, restore
from keras_transfer.data.targets.none import NO_TARGET
from keras_transfer.errors import DataError


def load_unlabelled(
    config: DataConfig,
    *,
    seed: int,
    given: Mapping[str, Any] | None = None,
    known: Known = NOTHING_KNOWN,
    recorded: Mapping[str, Any] | None = None,
) -> Splits:
    """Read the sources of a recipe without labels, and divide them.

    A source with labels is divided as a classifier's recipe with the same source, seed and shares divides it, and the
    labels are then dropped: both have the same validation and test rows.

    Args:
        config: The recipe's data section. Sources of validation or test rows need no labels either. Other
            arguments are those of ``splits.load_splits``.

    Returns:
        The splits, without a target.

    Raises:
        DataError: A source cannot be read, or has too few rows for these splits.
    """
    given = given or {}
    labelled = has_labels(config.source, config, given.get(config.source))
    if not labelled:
        _refuse_names(config)
    main = config if labelled else _unlabelled(config)
    corrections = load_corrections(
        main, given, recorded, lambda own: read_rows(own.source, _of_whole(own), given.get(own.source))
    )
    if labelled:
        source, target = read_labelled(config, given, corrections)
        check_relabel([source], config)
    else:
        source = read_source(config.source, main, given.get(config.source), corrections=corrections)
        target = NO_TARGET

    def read(own: DataConfig) -> Source:
        return _read_whole(own, given, corrections)

    if recorded is not None:
        return make_each(restore(source, config, recorded["splits"], read), NO_TARGET, config)
    division = divide(source, target, config, seed=seed, read=read, known=known)
    return replace(make_splits(division, NO_TARGET, config), corrections=corrections)


def _refuse_names(config: DataConfig) -> None:
    """Refuse keys that concern classes for a source without labels."""
    given = [f"data.{key}" for key in ("classes", "relabel", "merge_labels") if getattr(config, key)]
    if given:
        raise DataError(f"{' and '.join(given)}: {config.source} has no labels. Leave this out.")


def read_unlabelled_split(name: str, source: str, config: DataConfig, given: Mapping[str, Any] | None = None) -> Split:
    """Read a whole source as one split, as ``splits.read_split`` does with labels."""
    own = _read_whole(config.model_copy(update={"source": source}), given or {})
    return make_split(name, Part(own, own.rows), NO_TARGET, config.model_copy(update={"weight": None}))


def _of_whole(config: DataConfig) -> DataConfig:
    return _unlabelled(of_whole(config))


def _read_whole(config: DataConfig, given: Mapping[str, Any], corrections: Corrections = NO_CORRECTIONS) -> Source:
    return read_source(config.source, _of_whole(config), given.get(config.source), corrections=corrections)


def _unlabelled(config: DataConfig) -> DataConfig:
    """The section without label columns: labels are not read."""
    return config.model_copy(update={"target": "none", "label": []})
