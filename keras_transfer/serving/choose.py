"""Choose the format of a run that is served: the fastest available one, measured when the server starts."""

import re
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_transfer.benchmark.measure import read_batches
from keras_transfer.errors import ConfigError, TransferError
from keras_transfer.registry import did_you_mean
from keras_transfer.run.folder import EXPORT, SAMPLES
from keras_transfer.run.opened import ExportedModel, open_model
from keras_transfer.run.predictor import Predictor
from keras_transfer.run.run import Run

KERAS, AUTO = "keras", "auto"

# Only the Keras model can explain its predictions: another format replaces it if users would notice the difference.
_LEAST_GAIN = 1.1
_ROUNDS, _WARM_UP, _MOST_SECONDS = 7, 2, 2.0
# Of one batch: some networks take seconds for a row, and a server should not need minutes to start.
_MOST_BATCH_SECONDS = 5.0

Batch = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Chosen:
    """What is served.

    Attributes:
        format: The name of the format: ``keras`` or that of an export.
        version: The version of the export; 1 for the Keras model.
        run: The run whose results the card shows; None for an exported model without its run. Its model may not be
            loaded.
    """

    opened: Predictor
    format: str
    version: int
    run: Run | None = None
    notes: tuple[str, ...] = ()


def choose(path: Path, format_name: str, *, batch_size: int) -> Chosen:
    """Open a run or an exported model in the format that is to be served.

    Args:
        format_name: ``auto`` for the fastest one, ``keras``, or that of an export of the run.

    Raises:
        ConfigError: The run has no such format.
        TransferError: The model cannot be opened.
    """
    opened = open_model(path)
    if isinstance(opened, ExportedModel):
        if format_name not in (AUTO, opened.exporter.name):
            raise ConfigError(f"--format: {path} is {opened.exporter.name}. Received: {format_name}. Leave it out.")
        opened.check_servable()
        return Chosen(opened, opened.exporter.name, _version_of(path))
    opened.check_servable()
    exported = find_exports(path)
    if format_name == AUTO:
        return _choose_fastest(opened, exported, batch_size)
    if format_name == KERAS:
        return Chosen(opened, KERAS, 1, opened)
    if format_name not in exported:
        known = did_you_mean(format_name, [KERAS, AUTO, *exported])
        raise ConfigError(
            f"--format: the run has no export {format_name!r}. {known} Export it first: keras-transfer export {path} "
            f"--format {format_name}"
        )
    export = exported[format_name]
    return Chosen(_open_export(opened, export), format_name, int(export.name), opened)


def find_exports(run: Path) -> dict[str, Path]:
    """Return the latest version of each format in a run folder."""
    found = {}
    for folder in sorted((run / EXPORT).glob("*")):
        versions = [int(entry.name) for entry in folder.glob("*") if entry.name.isdecimal() and entry.is_dir()]
        if versions:
            found[folder.name] = folder / str(max(versions))
    return found


def _open_export(run: Run, path: Path) -> ExportedModel:
    exported = open_model(path)
    if not isinstance(exported, ExportedModel) or exported.target.names != run.target.names:
        raise ConfigError(f"{path} is not an export of this run: its outputs are different. Export the run again.")
    return exported


def _choose_fastest(run: Run, exported: Mapping[str, Path], batch_size: int) -> Chosen:
    if not exported:
        return Chosen(run, KERAS, 1, run)
    batch = shrink(run.predict_tensors, read_batch(run, batch_size))
    rows = count_rows(batch)
    candidates = {KERAS: Chosen(run, KERAS, 1)}
    seconds = {KERAS: measure(run.predict_tensors, batch)}
    notes = []
    for name, path in exported.items():
        try:
            opened = _open_export(run, path)
            if opened.description.quantize is not None:
                notes.append(
                    f"Left out: {name} is {opened.description.quantize}, unlike the run; --format {name} serves it"
                )
                continue
            seconds[name] = measure(opened.predict_tensors, batch)
            candidates[name] = Chosen(opened, name, int(path.name))
        except TransferError as error:
            notes.append(f"Left out: {name}: {error}")
    best = min(seconds, key=lambda name: seconds[name] * (1.0 if name == KERAS else _LEAST_GAIN))
    rates = ", ".join(f"{name} {_format_rate(rows / value)}" for name, value in seconds.items())
    chosen = candidates[best]
    # Opened again, so that the Keras model that was measured is not loaded.
    shown = run if best == KERAS else Run(run.folder)
    notes.append(f"Inputs per second in batches of {rows}: {rates}")
    return Chosen(chosen.opened, best, chosen.version, shown, tuple(notes))


def _format_rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def read_batch(run: Run, batch_size: int) -> Batch:
    """Return a batch of the run's stored samples, repeated up to a size, as model inputs."""
    samples = run.reader.read_samples(run.folder / SAMPLES)
    if not len(samples):
        raise ConfigError(f"{run.folder / SAMPLES} is empty, so that speed cannot be measured. Name a --format.")
    tensors = next(read_batches(run, samples, batch_size))
    return {name: np.resize(values, (batch_size, *values.shape[1:])) for name, values in tensors.items()}


def count_rows(batch: Batch) -> int:
    """Return the number of rows of a batch."""
    return len(next(iter(batch.values())))


def shrink(predict: Callable[[Batch], Any], batch: Batch) -> Batch:
    """Return the first rows of a batch: as many as a model predicts in a few seconds, according to one row."""
    one = {name: values[:1] for name, values in batch.items()}
    predict(one)  # builds the graph
    started = time.perf_counter()
    predict(one)
    seconds = time.perf_counter() - started
    rows = max(1, int(_MOST_BATCH_SECONDS / seconds)) if seconds else None
    return {name: values[:rows] for name, values in batch.items()}


def measure(predict: Callable[[Batch], Any], batch: Batch) -> float:
    """Return the median seconds that a model takes for a batch, over a few rounds."""
    times: list[float] = []
    for _ in range(_WARM_UP):
        predict(batch)
    while len(times) < _ROUNDS and sum(times) < _MOST_SECONDS:
        started = time.perf_counter()
        predict(batch)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _version_of(path: Path) -> int:
    folder = path if path.is_dir() else path.parent
    return int(folder.name) if folder.name.isdecimal() else 1


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def choose_name(path: Path, name: str | None) -> str:
    """Return the name of a model: the given one, or that of its folder in a form that is valid in URLs.

    Raises:
        ConfigError: The given name is not valid in a URL.
    """
    if name is None:
        own = re.sub(r"[^A-Za-z0-9._-]+", "-", path.resolve().stem if path.is_file() else path.resolve().name)
        return own.strip("-._")[:100] or "model"
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"--name: expected up to 100 letters, digits, points, hyphens and underscores. Received: {name!r}."
        )
    return name
