"""The contract of a task."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.config.recipe_file import parse_recipe, read_recipe
from keras_transfer.config.schema import SCHEMAS, RecipeConfig
from keras_transfer.data.splits.splits import Splits
from keras_transfer.errors import CheckpointError, ConfigError, InputError
from keras_transfer.heads.evaluation import Report
from keras_transfer.job.job import Job
from keras_transfer.recipe import Recipe
from keras_transfer.run.run import Run
from keras_transfer.tasks import TASKS, Task


def check_task(recipe: Recipe, inputs: Sequence[Any] = ()) -> None:
    """Check that a task fulfils its contract: run a small recipe from the data to a finished run, and read it back.

    The checks: the task is registered under its name, and its schema names it; the same recipe reads the same rows in
    the same order; the record of the data is plain JSON; the model accepts the reader's inputs, and its outputs fit the
    targets; target, head, reader and reports can be restored from the run folder alone; evaluating the test rows again
    returns the report that the run recorded; there is one prediction per input, in the order of the inputs, a list of
    one for one input, and an error for invalid inputs, unless the task says why there are no predictions; examples are
    shown and explained in their order.

    Args:
        recipe: A recipe of the task that trains in seconds: few rows, a small network, one epoch. It needs test rows,
            and a source that can be read again: no Python objects.
        inputs: What :meth:`Run.predict` takes, two or more. May be empty for a task that does not predict.

    Raises:
        AssertionError: The task does not fulfil the contract.

    Example:
        >>> from keras_transfer import ImageClassification
        >>> check_task(  # doctest: +SKIP
        ...     ImageClassification("images/", training={"epochs": 1}), inputs=["images/cat/1.png", "images/dog/1.png"]
        ... )
    """
    task = TASKS[recipe.config.task]
    _check_schema(task, recipe.config)
    first, second = (_read(task, recipe) for _ in range(2))
    _check(task, _same_rows(first, second), "the same recipe reads the same rows in the same order", first)
    with tempfile.TemporaryDirectory() as scratch:
        _check_job(task, recipe.prepare())
        folder = Path(scratch) / "run"
        recipe.fit(folder)
        _check_run(task, Run(folder), inputs)


def _check_schema(task: Task, config: RecipeConfig) -> None:
    schema = task.config_class
    _check(task, issubclass(schema, RecipeConfig), "config_class is a subclass of RecipeConfig", schema)
    _check(task, SCHEMAS[task.name] is schema, "recipes of this name have config_class as their schema", schema)
    _check(task, type(config) is schema, "a recipe of the task is an instance of config_class", type(config))
    missing = [name for name, field in schema.model_fields.items() if field.is_required()]
    _check(task, set(missing) <= {"task", "data"}, "only task and data have no default", missing)
    try:
        parse_recipe({"task": task.name, "data": {}}, known={}, where="The recipe")
    except ConfigError as error:
        _check(task, "data.source" in str(error), "a recipe without a source is an error that names it", error)
    else:
        _check(task, False, "a recipe without a source is an error", None)


def _read(task: Task, recipe: Recipe) -> Splits:
    loaded = task.load_splits(recipe.config, recipe.given.data)
    return loaded.with_parts(task.scan(recipe.config, tuple(loaded)).splits)


def _same_rows(first: Splits, second: Splits) -> bool:
    return all(
        list(a.examples.names) == list(b.examples.names)
        and np.array_equal(a.targets, b.targets)
        and a.fingerprint(first.target) == b.fingerprint(second.target)
        for a, b in zip(first, second, strict=True)
    )


def _check_job(task: Task, job: Job) -> None:
    try:
        json.dumps(job.record)
    except TypeError as error:
        _check(task, False, "what data.json records is plain JSON", error)
    batch = next(iter(job.training_batches()))
    _check(task, len(batch) == 3, "a training batch is (inputs, targets, weights)", len(batch))
    inputs, targets, weights = batch
    raw = np.asarray(job.model.trainer(inputs))
    rows = len(np.asarray(weights))
    _check(task, len(raw) == rows == len(np.asarray(targets)), "there is an output and a target per row", raw.shape)
    loss = job.model.head.loss(label_smoothing=0.0)
    _check(task, bool(np.isfinite(float(loss(targets, raw)))), "the loss of the first batch is finite", loss)


def _check_run(task: Task, run: Run, inputs: Sequence[Any]) -> None:
    parsed = parse_recipe(read_recipe(run.folder / "recipe.yaml"), known={}, where="recipe.yaml")
    _check(task, parsed == run.config, "the recipe of a run reads back as itself", parsed)
    _check(task, task.fits(run.model, run.target), "the model of a run fits its target", run.model.output_shape)
    recorded = run.reports
    metrics = json.loads((run.folder / "metrics.json").read_text(encoding="utf-8"))
    _check(task, "test" in recorded, "a run with test rows has a report on them", list(recorded))
    for name, report in recorded.items():
        _check(task, isinstance(report, Report), "reports are of report_type", type(report))
        _check(task, report.to_json() == metrics[name], "a report reads back as metrics.json has it", report)
    again = run.evaluate()
    close = np.isclose(again.loss, recorded["test"].loss, rtol=1e-3, atol=1e-4)
    _check(task, bool(close), "evaluating the test rows again gives the recorded loss", (again, recorded["test"]))
    refusal = task.refusal(run)
    if refusal is None:
        _check_predictions(task, run, inputs)
        return
    try:
        run.predict(list(inputs))
    except CheckpointError as error:
        _check(task, str(error) == refusal, "predicting is refused with the task's reason", error)
    else:
        _check(task, False, "predicting is refused", refusal)


def _check_predictions(task: Task, run: Run, inputs: Sequence[Any]) -> None:
    _check(task, len(inputs) >= 2, "check_task needs two inputs or more for a task that predicts", inputs)
    forward, backward = run.predict(list(inputs)), run.predict(list(reversed(inputs)))
    _check(task, len(forward) == len(inputs), "there is a prediction per input", len(forward))
    names = [prediction.input for prediction in forward]
    turned = [prediction.input for prediction in reversed(backward)]
    _check(task, names == turned, "predictions come in the order of the inputs", names)
    _check(task, all("\n" not in str(prediction) for prediction in forward), "a prediction prints as a line", forward)
    _check_explanations(task, run, inputs)
    alone = run.predict(inputs[0])
    _check(task, [one.input for one in alone] == names[:1], "one input alone gives a list of one prediction", alone)
    rejected: tuple[Any, ...] = (None, [])
    for nothing in rejected:
        try:
            run.predict(nothing)
        except InputError:
            continue
        _check(task, False, "what predict does not accept is an InputError", nothing)


def _check_explanations(task: Task, run: Run, inputs: Sequence[Any]) -> None:
    examples = run.read_inputs(list(inputs)).examples
    names = list(examples.names)
    outputs = [(0,)] * len(names)
    shown = task.show(run, examples, outputs)
    _check(task, [one.name for one in shown] == names, "show returns a record per example, in order", shown)
    explained = task.explain(run, examples, outputs)
    _check(task, [one.input for one in explained] == names, "explain returns one per example, in order", explained)


def _check(task: Task, holds: bool, rule: str, received: Any) -> None:
    if not holds:
        raise AssertionError(f"The contract of task {task.name!r}: {rule}. Received: {received!r}.")
