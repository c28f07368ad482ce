"""Evaluate a run or a model that it exported on labelled rows, in a separate process.

Usage: python -m keras_transfer.benchmark.metric JOB.json, a file that :mod:`keras_transfer.benchmark.measure` writes.
"""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

from keras_transfer.data.splits.splits import Split
from keras_transfer.errors import ConfigError, TransferError, TransferWarning
from keras_transfer.heads import TargetHead, TranscriptHead
from keras_transfer.heads.calibration import check_finite
from keras_transfer.heads.resampling import bootstrap
from keras_transfer.run.opened import ExportedModel
from keras_transfer.run.run import Run
from keras_transfer.tasks.base import predict_examples


def main(file: str) -> None:
    """Evaluate, and write the results to a JSON file.

    Args:
        file: JSON with ``run``; ``artifact``, or null for the Keras model; ``data`` and ``table`` as ``evaluate`` takes
            them, ``data`` being null for the run's own test rows; and ``results``, the file to write.
    """
    job = json.loads(Path(file).read_text(encoding="utf-8"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TransferWarning)
        try:
            results = _evaluate(job)
        except TransferError as error:
            results = {"error": str(error)}
    notes = [str(warning.message) for warning in caught if issubclass(warning.category, TransferWarning)]
    Path(job["results"]).write_text(json.dumps({**results, "notes": notes}), encoding="utf-8")


def _evaluate(job: dict[str, Any]) -> dict[str, Any]:
    run = Run(job["run"])
    rows = run.load_split("test") if job["data"] is None else run.read_source(job["data"], **job["table"])
    return measure_metric(run if job["artifact"] is None else ExportedModel(job["artifact"]), rows)


def measure_metric(opened: Run | ExportedModel, rows: Split) -> dict[str, Any]:
    """Return the metric that models are compared by, as ``evaluate`` does.

    Returns:
        ``name``, ``value``, ``interval`` at 95 %, ``rows`` and their ``split``.

    Raises:
        ConfigError: The task has no such metric.
    """
    head = opened.head
    if not isinstance(head, TargetHead | TranscriptHead):
        raise ConfigError(
            f"The task {opened.config.task} has no metric for comparing models. Name a run of another task."
        )
    predicted = predict_examples(opened, rows.examples)
    check_finite(predicted, rows.name)
    report = head.report(rows.name, predicted, rows.targets)
    # Accuracy has a different interval.
    interval = getattr(report, f"{head.figure.name}_interval", None) or bootstrap(
        lambda counts: head.score(predicted, rows.targets, counts), len(rows)
    )
    value = head.score_once(predicted, rows.targets)
    return {
        "name": head.figure.name,
        "value": value,
        "interval": list(interval),
        "rows": len(rows),
        "split": rows.name,
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
