"""The contract of a head."""

import json
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_transfer.config.heads import HeadEntry
from keras_transfer.config.schema import HeadConfig, ImageHeadConfig
from keras_transfer.data.targets.base import Targets
from keras_transfer.errors import TransferError
from keras_transfer.heads import Prediction, TargetHead
from keras_transfer.heads.evaluation import Report
from keras_transfer.heads.solver import draw_folds
from keras_transfer.heads.target import ABSTAIN, HIGH, IN_SET, LOW
from keras_transfer.networks.keras_file import read_keras_file, write_keras_file

_NAMES = ("a", "b", "c")
_ROWS, _CHANNELS = 48, 8
_COVERAGE = 0.9
# The tolerance of float32 arithmetic over a few layers.
_TOLERANCE = 1e-4


def check_head(head: type[TargetHead], **settings: Any) -> None:
    """Check that a head fulfils its contract, on random features and targets.

    It names its target and settings. Its layers turn feature maps and vectors into one finite output per name, and can
    be saved to a ``.keras`` file with only Keras classes, and loaded from it. Loss and metrics are finite, and those of
    an epoch equal the report's. The content of head.json restores the same head. The report can be written to
    metrics.json and read back. An exported model returns the same predictions. If it supports coverage, sets or
    intervals contain the truth of the rows on which they were chosen, and predictions and exports have the same sets.
    If it is solvable, the solution is better than a constant.

    Args:
        head: The class.
        settings: Values for ``head.settings`` of a recipe; by default, its defaults.

    Raises:
        AssertionError: The head does not fulfil the contract.

    Example:
        >>> from keras_transfer import HEADS
        >>> check_head(HEADS["class"])
    """
    _check_entry(head, settings)
    features, targets = _make_rows(head.target)
    config = ImageHeadConfig(dropout=0.0, settings=settings)
    made = head.fit(_NAMES, config, targets)
    _check(head, made.names == _NAMES, "fit() gives a head with the names of the outputs", made.names)
    _check_facts(made, config)
    raw = _check_layers(made)
    _check_training(made, raw, targets)
    predicted = made.predictions(raw)
    _check(head, predicted.shape == (_ROWS, len(_NAMES)), "predictions are float32[rows, outputs]", predicted.shape)
    _check(head, bool(np.isfinite(predicted).all()), "predictions are finite", predicted[:2])
    _check_report(made, raw, predicted, targets)
    made = made.calibrate(predicted, targets)
    _check_facts(made, config)
    _check_calibration(made, predicted, targets)
    _check_serving(made, np.asarray(made.calibrated(predicted), np.float32))
    if head.has_coverage:
        covering = head.fit(_NAMES, config.model_copy(update={"coverage": _COVERAGE}), targets)
        covering = covering.calibrate(predicted, targets)
        _check_coverage(covering, np.asarray(covering.calibrated(predicted), np.float32), targets)
    if made.is_solvable:
        _check_solution(made, features, targets)


def _check(head: type[TargetHead], holds: bool, rule: str, received: object) -> None:
    if not holds:
        raise AssertionError(f"The contract of head {head.__name__}: {rule}. Received: {received!r:.300}")


def _check_entry(head: type[TargetHead], settings: dict[str, Any]) -> None:
    try:
        entry = HeadEntry.read(head)
        entry.settings.model_validate(settings)
    except (TransferError, ValueError) as error:
        raise AssertionError(f"The contract of head {head!r}: it names its target and settings. {error}") from error
    bare = [key for key, field in entry.settings.model_fields.items() if not field.description]
    _check(head, not bare, "every setting has a description", bare)
    missing = [name for name in ("figure", "metric", "report_type", "predictions_output") if not hasattr(head, name)]
    _check(head, not missing, "it has figure, metric, report_type and predictions_output", missing)


def _make_rows(target: str) -> tuple[NDArray[np.float32], Targets]:
    """Random features, and targets that depend on them up to noise."""
    random = np.random.default_rng(0)
    features = random.normal(size=(_ROWS, _CHANNELS)).astype(np.float32)
    scores = features[:, : len(_NAMES)] + 0.3 * random.normal(size=(_ROWS, len(_NAMES)))
    if target == "class":
        return features, scores.argmax(axis=1)
    if target == "multilabel":
        return features, (scores > 0).astype(np.float32)
    return features, (100.0 + 10.0 * scores).astype(np.float32)


def _check_facts(made: TargetHead, config: HeadConfig) -> None:
    head = type(made)
    facts = json.loads(json.dumps(made.facts))
    again = head.restore(made.names, config, facts)
    _check(head, again == made, "restore() makes the same head of `facts`, which JSON can hold", again)


def _check_layers(made: TargetHead) -> NDArray[np.float32]:
    """Return raw outputs for random feature maps."""
    head = type(made)
    keras.utils.set_random_seed(0)
    for shape in ((_CHANNELS,), (5, _CHANNELS), (4, 4, _CHANNELS)):
        features = keras.Input(shape, name="features")
        pooled = made.pool(features)
        _check(head, len(pooled.shape) == 2, f"pool() turns features {shape} into vectors", pooled.shape)
        raw = made.read_out(pooled)
        _check(head, raw.shape == (None, len(made.names)), "read_out() gives one output per name", raw.shape)
        _check(head, raw.dtype == "float32", "raw outputs are float32", raw.dtype)
    model = keras.Model(features, made.final_layer()(raw), name="head")
    with_weights = [layer.name for layer in model.layers if layer.weights]
    _check(head, made.last_layer in with_weights, "its last weights are in the layer `last_layer`", with_weights)
    maps = np.random.default_rng(1).normal(size=(_ROWS, 4, 4, _CHANNELS)).astype(np.float32)
    expected = model.predict(maps, verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        write_keras_file(model, file)
        try:
            loaded = read_keras_file(file, TransferError).predict(maps, verbose=0)
        except TransferError as error:
            raise AssertionError(f"The contract of head {head.__name__}: a run can be read back. {error}") from error
    _check(head, np.allclose(loaded, expected, atol=1e-6), "a saved model gives the same outputs", loaded[:2])
    return np.asarray(keras.Model(features, raw).predict(maps, verbose=0), np.float32)


def _check_training(made: TargetHead, raw: NDArray[np.float32], targets: Targets) -> None:
    head = type(made)
    encoded = made.encode(targets)
    _check(head, encoded.dtype == np.float32 and len(encoded) == _ROWS, "encode() gives float32[rows, ...]", encoded)
    names = [metric.name for metric in made.metrics()]
    _check(head, made.metric in names, "`metric` is the name of one of metrics()", names)
    figures = made.measure(raw, targets)
    _check(head, bool(np.isfinite(list(figures.values())).all()), "loss and metrics are finite", figures)
    weights = made.class_weights(targets, "none")
    _check(head, weights.shape == (_ROWS,) and bool((weights > 0).all()), "class_weights() are positive", weights[:3])


def _check_report(made: TargetHead, raw: NDArray[np.float32], predicted: NDArray[np.float32], targets: Targets) -> None:
    head = type(made)
    report = made.report("test", predicted, targets)
    _check(head, isinstance(report, head.report_type), "report() gives a report_type", type(report))
    values = _check_reading_back(head, report, "the report can be read back from metrics.json")
    _check(head, head.figure.name in values, f"the report has the figure {head.figure.name!r}", list(values))
    score = made.score_once(predicted, targets)
    _check(head, bool(np.isclose(values[head.figure.name], score)), "score() is the report's figure", score)
    loss, rows = made.measure(raw, targets)["loss"], made.row_losses(predicted, targets)
    _check(
        head, bool(np.isclose(rows.mean(), loss, rtol=1e-3)), "row_losses() are those of loss()", (rows.mean(), loss)
    )
    _check(head, bool(np.isclose(report.loss, loss, rtol=1e-3)), "the report's loss is that of loss()", report.loss)


def _check_calibration(made: TargetHead, predicted: NDArray[np.float32], targets: Targets) -> None:
    head, calibrated = type(made), np.asarray(made.calibrated(predicted), np.float32)
    undone = made.uncalibrated(calibrated)
    _check(head, np.allclose(undone, predicted, rtol=1e-3, atol=1e-5), "uncalibrated() undoes calibrated()", undone[:2])
    inputs = keras.Input(predicted.shape[1:], name="predictions")
    served = keras.Model(inputs, made.add_calibration(inputs)).predict(predicted, verbose=0)
    same = np.allclose(served, calibrated, rtol=1e-5, atol=1e-6)
    _check(head, same, "add_calibration() does in a model what calibrated() does", served[:2])
    report = made.report("test", calibrated, targets)
    _check_reading_back(head, report, "a calibrated report can be read back from metrics.json")


def _check_reading_back(head: type[TargetHead], report: Report, rule: str) -> Any:
    """Return the report as metrics.json has it."""
    values = json.loads(json.dumps(report.to_json()))
    again = head.report_type.from_json("test", values)
    _check(head, again.to_json() == report.to_json(), rule, values)
    return values


def _check_serving(made: TargetHead, predicted: NDArray[np.float32]) -> None:
    head = type(made)
    outputs = made.serving_outputs(keras.ops.convert_to_tensor(predicted))
    _check(head, head.predictions_output in outputs, "serving_outputs() has the predictions_output", list(outputs))
    served = keras.ops.convert_to_numpy(outputs[head.predictions_output])
    bound = np.asarray(made.allowance(_TOLERANCE))
    _check(head, bool((np.abs(served - predicted) <= bound).all()), "served outputs are the predictions", served[:2])
    named = np.asarray(outputs["names"]).tolist() if "names" in outputs else None
    expected = [[name.encode() for name in made.names]] * _ROWS
    _check(head, named == expected, "serving_outputs() has the names of the outputs in every row", named)
    masked = made.masked_outputs(tf.constant(predicted), tf.range(_ROWS) > 0)
    first, second = (np.asarray(masked[head.predictions_output])[row] for row in (0, 1))
    neutral = bool(np.array_equal(first, np.full(len(first), made.neutral), equal_nan=True))
    _check(head, neutral and bool(np.isfinite(second).all()), "inputs that cannot be read get `neutral`", first)
    sizes = {name: len(value) for name, value in outputs.items()}
    _check(head, set(sizes.values()) == {_ROWS}, "every output has a row per input", sizes)
    prediction = made.to_prediction("x", predicted[0])
    _check(
        head,
        isinstance(prediction, Prediction) and prediction.input == "x",
        "to_prediction() keeps the input",
        prediction,
    )
    _check(head, bool(str(prediction)) and "\n" not in str(prediction), "a prediction is one line of text", prediction)


def _check_coverage(made: TargetHead, predicted: NDArray[np.float32], targets: Targets) -> None:
    head = type(made)
    _check_facts(made, made.config)
    report = made.report("test", predicted, targets)
    values = _check_reading_back(head, report, "a report with a coverage can be read back")
    rows = values["coverage"].get("labels") or values["coverage"].get("numbers") or {"all": values["coverage"]}
    shares = {name: row["covered"] for name, row in rows.items()}
    _check(
        head, min(shares.values()) >= _COVERAGE, f"`coverage` {_COVERAGE} holds for the rows it was chosen by", shares
    )
    outputs = {name: np.asarray(x) for name, x in made.serving_outputs(tf.constant(predicted)).items()}
    masked = made.masked_outputs(tf.constant(predicted), tf.range(_ROWS) > 0)
    predictions: list[Any] = [made.to_prediction("x", row) for row in predicted]
    if head.target == "number":
        spans = [[one.intervals[name] for name in made.names] for one in predictions]
        served = np.stack([outputs[LOW], outputs[HIGH]], axis=-1)
        _check(
            head, np.allclose(served, spans, rtol=1e-5), "predictions and exports have the same intervals", spans[:2]
        )
        neutral = np.isnan(np.asarray(masked[LOW])[0]).all() and np.isnan(np.asarray(masked[HIGH])[0]).all()
    else:
        sets = [[name in one.prediction_set for name in made.names] for one in predictions]
        _check(head, outputs[IN_SET].tolist() == sets, "predictions and exports have the same sets", sets[:2])
        abstain = [one.abstain for one in predictions]
        _check(head, outputs[ABSTAIN].tolist() == abstain, "predictions and exports abstain for the same rows", abstain)
        neutral = not np.asarray(masked[IN_SET])[0].any() and not np.asarray(masked[ABSTAIN])[0]
    _check(head, bool(neutral), "inputs that cannot be read have an empty set, or an interval of NaN", masked)


def _check_solution(made: TargetHead, features: NDArray[np.float32], targets: Targets) -> None:
    head = type(made)
    strata = targets if head.target == "class" else np.zeros(_ROWS, np.int64)
    solved = made.solve(features, targets, np.ones(_ROWS, np.float32), draw_folds(strata, 0))
    raw = np.asarray(features @ solved.kernel + solved.bias, np.float32)
    shape = (_CHANNELS, len(made.names))
    _check(head, solved.kernel.shape == shape, "the solution is linear in the pooled features", solved.kernel.shape)
    found = float(made.row_losses(made.predictions(raw), targets).mean())
    flat = float(made.row_losses(made.predictions(np.zeros_like(raw)), targets).mean())
    _check(head, found < flat, f"a solved head has a lower loss than a constant one, {flat:.3g}", found)
