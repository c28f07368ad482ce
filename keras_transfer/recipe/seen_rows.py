"""Keep the test rows of a recipe apart from the rows that an earlier run, whose weights it starts from, trained on."""

import json
from collections.abc import Sequence
from pathlib import Path

from keras_transfer.backbones.run_weights import read_run_recipe
from keras_transfer.config import DataConfig
from keras_transfer.config.weights import Weights
from keras_transfer.data.sources import find_location
from keras_transfer.errors import BackboneError, DataError
from keras_transfer.run.folder import DATA


def check_rows_apart(folder: Path, data: DataConfig, test: Sequence[str], *, seed: int) -> None:
    """Refuse a run that was trained on, or selected by, rows that another recipe is evaluated on.

    Two sources are the same where they are read from the same place, as the articles and the headlines of BBC News are.

    Args:
        folder: The run folder.
        data: The recipe's data section.
        test: Names of its test rows.
        seed: Of its draws.

    Raises:
        DataError: There are such rows.
        BackboneError: It is no folder of a finished run, or a damaged one.
    """
    config = read_run_recipe(folder)
    try:
        splits = json.loads((folder / DATA).read_text(encoding="utf-8"))["splits"]
        learned = {
            (place, row[0])
            for part in ("train", "validation")
            for place in [_place(config.data, part)]
            for row in splits[part]["rows"]
        }
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise BackboneError(f"{folder / DATA} is damaged: {error}. Take a whole copy of the run folder.") from error
    earlier = Weights.parse(config.backbone.weights).run
    if earlier is not None:  # that run started from one, too
        check_rows_apart(earlier, data, test, seed=seed)
    place = _place(data, "test")
    seen = [name for name in test if (place, name) in learned]
    if seen:
        raise DataError(
            f"{len(seen)} of {len(test)} test rows are among those that run {folder} was trained on, such as "
            f"{seen[0]}: results on them would be too good. Received: seed={seed}; the run has seed={config.seed}. "
            "Use its seed, shares and strata, so that both hold out the same rows, or name a source for data.test."
        )


def _place(data: DataConfig, part: str) -> str:
    """Where the rows of a split are read from."""
    own = data.own_source(part)
    return find_location(data.source if own is None else own.source, data)
