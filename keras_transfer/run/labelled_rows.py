"""The labelled rows that quantizing takes: those that prove the artifact, and those that calibrate the converter."""

from typing import Any

import numpy as np

from keras_transfer.data.splits.splits import Split, Splits
from keras_transfer.errors import DataError
from keras_transfer.export import Exporter, LabelledRows
from keras_transfer.run.own_rows import RunRows
from keras_transfer.run.rows import TableOptions

MOST_CALIBRATION_ROWS = 200
"""More change no range by much: docs/quantization.md."""


def find_labelled_rows(run: RunRows, exporter: Exporter, data: Any, table: TableOptions) -> LabelledRows:
    """Find the rows for an exporter that quantizes.

    Args:
        exporter: It decides whether there are rows to calibrate on.
        data: A source in place of the run's own data. Some of its rows calibrate, if that is needed, and the others
            prove. Or the splits of the run, if they are in memory; or None, to read them again.
        table: How a table in ``data`` is read.

    Returns:
        By default the test rows, or the validation rows of a run without test rows; and training rows to calibrate on.

    Raises:
        ConfigError: Such an option is wrong.
        DataError: The data is not on this machine, has changed, or is too small.
    """
    if isinstance(data, Splits):
        proof = data.test if len(data.test) else data.validation
        return _divide(run, exporter, proof, data.train)
    if data is not None:
        return _divide(run, exporter, run.read_source(data, **table), None)
    counts = {name: split["count"] for name, split in run.record["splits"].items()}
    name = next((name for name in ("test", "validation") if counts.get(name)), None)
    if name is None:
        raise DataError(
            f"quantize: {exporter.quantize} is proved on labelled rows that the model was not trained on. The run has "
            "no test rows and no validation rows. Name other labelled examples with --data."
        )
    try:
        return _divide(
            run, exporter, run.load_split(name), run.load_split("train") if exporter.calibrates(run.reader) else None
        )
    except DataError as error:
        reason = str(error).removesuffix(" Name a source with --data.")
        raise DataError(
            f"quantize: {exporter.quantize} is proved on the {name} rows of the run, which cannot be read: {reason} "
            "Name other labelled examples with --data."
        ) from error


def _divide(run: RunRows, exporter: Exporter, proof: Split, train: Split | None) -> LabelledRows:
    """Choose the rows to calibrate on from training rows; without these, up to half of the rows for the proof."""
    if not exporter.calibrates(run.reader):
        return LabelledRows(proof)
    rows = len(proof) // 2 if train is None else len(train)
    if not rows or not len(proof):
        raise DataError(
            f"quantize: {exporter.quantize} takes rows to calibrate on and others that prove it. Received: "
            f"{len(proof):,} labelled examples. Name more of them with --data."
        )
    # Evenly over the rows, which may be in the order of their classes.
    among = len(proof) if train is None else len(train)
    chosen = np.unique(np.linspace(0, among - 1, min(MOST_CALIBRATION_ROWS, rows)).astype(np.int64))
    if train is not None:
        return LabelledRows(proof, train.select(chosen))
    return LabelledRows(proof.select(np.setdiff1d(np.arange(among), chosen)), proof.select(chosen))
