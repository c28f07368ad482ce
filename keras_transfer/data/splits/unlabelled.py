"""Texts without labels, divided so that whoever learns from them never sees the test rows of a classifier."""

from collections.abc import Mapping
from typing import Any

from keras_transfer.config import TextDataConfig
from keras_transfer.data.sources.base import Source
from keras_transfer.data.sources.texts import has_classes, read_unlabelled
from keras_transfer.data.splits.splits import Split, Splits, make_split, make_splits, read_labelled
from keras_transfer.data.splits.stratified import Part, divide
from keras_transfer.data.targets.none import NO_TARGET


def load_unlabelled(config: TextDataConfig, *, seed: int, given: Mapping[str, Any] | None = None) -> Splits:
    """Read the texts that a recipe names and divide them.

    A source that has labels is divided as a classifier's recipe of the same source, seed and shares divides it, and the
    labels are forgotten: validation and test rows are the same ones in both.

    Args:
        config: The recipe's data section. A source for validation or test rows needs no labels either.
        seed: Of the draws.
        given: What names of sources stand for, where Python holds it.

    Returns:
        The splits, which tell nothing.

    Raises:
        DataError: A source cannot be read, or has too few rows to be divided so.
    """
    given = given or {}
    if has_classes(config.source, config, given.get(config.source)):
        source, target = read_labelled(config, given)
    else:
        source, target = read_unlabelled(config.source, config, given.get(config.source)), NO_TARGET
    parts = divide(source, target, config, seed=seed, read=lambda name: _read_whole(name, config, given))
    return make_splits(parts, NO_TARGET, config)


def read_unlabelled_split(
    name: str, source: str, config: TextDataConfig, given: Mapping[str, Any] | None = None
) -> Split:
    """Read a whole source as one split.

    Args:
        name: Of the split.
        source: As in a recipe.
        config: Says which columns of a table hold what.
        given: What names of sources stand for, where Python holds it.
    """
    own = _read_whole(source, config, given or {})
    return make_split(name, Part(own, own.rows), NO_TARGET, config.model_copy(update={"weight": None}))


def _read_whole(name: str, config: TextDataConfig, given: Mapping[str, Any]) -> Source:
    # Whole, it is not divided by columns; and weights count in training alone.
    plain = {"stratify": ["label"], "weight": None, "split": None, "group": None}
    return read_unlabelled(name, config.model_copy(update=plain), given.get(name))
