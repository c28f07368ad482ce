"""Prepare a recipe for training: every error that can be found before training is raised here."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from rich.console import Console

from keras_transfer.config.from_python import read_mark
from keras_transfer.config.schema import RecipeConfig
from keras_transfer.config.weights import Weights
from keras_transfer.console import print_line
from keras_transfer.data.checks.broken import Scan
from keras_transfer.data.readers.base import Reader
from keras_transfer.data.splits.splits import Splits
from keras_transfer.distribution import Distribution
from keras_transfer.distribution import session as device_session
from keras_transfer.errors import ConfigError, DataError, list_lines
from keras_transfer.export import make_exporters
from keras_transfer.job.auto_policy import choose_policy
from keras_transfer.job.job import Job
from keras_transfer.job.phases import add_phase_adapters, plan_phases
from keras_transfer.job.policy_choice import Choice
from keras_transfer.recipe.spec import RecipeSpec
from keras_transfer.report.terminal import print_plan
from keras_transfer.training.monitors import find_monitors
from keras_transfer.training.phase import summarize
from keras_transfer.training.precision import run_precision_test


def prepare_job(
    spec: RecipeSpec,
    distribution: Distribution,
    console: Console | None,
    *,
    on_data: Callable[[Splits], None] | None = None,
) -> Job:
    """Read and scan the data, load the weights, and plan the phases, without training anything.

    Args:
        spec: The recipe, as its :func:`session` yields it.
        console: Prints data and phases; None for silence.

    Raises:
        TransferError: The first problem that is found.
    """
    task, config, custom = spec.task, spec.config, spec.custom
    custom.check_marks(config.training)

    loaded, scanned = _read_data(spec, distribution)
    training = config.training.with_batch_size(len(loaded.train), distribution.replicas)
    config = config.model_copy(update={"training": training})
    if console:
        _print_data(config.data.source, loaded, scanned, console)
    repeated = _find_repeated(spec, loaded, console)
    if on_data is not None:
        on_data(loaded)

    backbone = task.load_backbone(config, Weights.parse(config.backbone.weights), spec.given)
    reader, prepared = task.make_reader(config, backbone, tuple(loaded))
    reader = _with_augmentation(reader, spec)
    _check_exports(config, reader, loaded)
    splits = loaded.with_parts(prepared)
    label_texts = task.label_texts(config, reader, splits.target.names)
    notes, facts = task.describe_examples(reader, tuple(loaded), prepared)
    _print_lines(notes, console)

    model = task.build_model(config, backbone, splits, reader)
    distribution.check_model(model.trainer)
    phases = plan_phases(config, model, splits, custom)
    if custom.loss is not None and phases != plan_phases(config, model, splits):
        _print_lines(["The head is trained, not solved: a loss was given from Python."], console)
    add_phase_adapters(model, phases)
    custom.check(model.head, config.training, policy=config.policy.name, phases=phases)
    find_monitors(config.training, model.head, custom)
    summaries = summarize(model, phases)
    if console and config.policy.name != "auto":
        print_plan(summaries, len(backbone.stages), console)

    record = {**splits.describe(), "skipped": scanned.broken, "repeated": repeated, **facts}
    return Job(
        task,
        config,
        splits,
        loaded,
        record,
        reader,
        model,
        phases,
        distribution=distribution,
        label_texts=label_texts,
        custom=custom,
    )


def _check_exports(config: RecipeConfig, reader: Reader, loaded: Splits) -> None:
    """Check before training that the run can be exported."""
    for exporter in make_exporters(config.export.formats):
        exporter.check(reader)
        if exporter.quantize is not None and not len(loaded.test) and not len(loaded.validation):
            raise ConfigError(
                f"export.formats: {exporter.name}: quantize: {exporter.quantize} is checked on rows that the model was "
                "not trained on. Received: data.test and data.validation without rows. Set one of them, or leave "
                "quantize out."
            )


def _with_augmentation(reader: Reader, spec: RecipeSpec) -> Reader:
    """The reader with the augmentation that was given from Python, if there is one."""
    if spec.given.augmentation is not None:
        return reader.with_function(spec.given.augmentation)
    name = getattr(getattr(spec.config, "augmentation", None), "function", None)
    if name is not None:
        given = read_mark(name)
        raise ConfigError(
            f"augmentation.function: {given} was passed from Python and is not stored in the file. Pass it again: "
            f"augmentation={given}."
            if given
            else f"augmentation.function is for functions from Python. Received: {name!r}. Leave it out."
        )
    return reader


def _read_data(spec: RecipeSpec, distribution: Distribution) -> tuple[Splits, Scan]:
    """The splits without examples that cannot be read, and what the scan found."""
    loaded = spec.task.load_splits(spec.config, spec.given.data)
    scanned = spec.task.scan(spec.config, tuple(loaded))
    loaded = loaded.with_parts(scanned.splits)
    loaded.check()
    loaded = loaded.with_gaps()
    for split in loaded:
        distribution.share.check(split.name, len(split))
    return loaded, scanned


def _find_repeated(spec: RecipeSpec, splits: Splits, console: Console | None) -> dict[str, Any] | None:
    """What data.json records of examples that are in two splits; None if they were not searched for."""
    leaks = spec.config.data.leaks
    if leaks == "off":
        return None
    repeated = spec.task.find_repeated(tuple(splits))
    if repeated.lines and leaks == "error":
        raise DataError(
            f"Examples are in two splits:\n{list_lines(repeated.lines)}\n"
            "Remove them from one, keep them together with data.group, or set data.leaks=warn."
        )
    _print_lines(repeated.lines, console)
    return repeated.record


def _print_data(source: str, splits: Splits, scanned: Scan, console: Console) -> None:
    counts = ", ".join(f"{len(split):,} {split.name}" for split in splits)
    _print_lines([f"Data: {source}: {splits.target.headline()}; rows: {counts}"], console)
    for line in scanned.broken:
        print_line(f"Broken: {line}", console, style="yellow")
    _print_lines((*scanned.notes, *splits.notes), console)


def _print_lines(lines: Iterable[object], console: Console | None) -> None:
    if console:
        for line in lines:
            print_line(line, console)


@contextlib.contextmanager
def session(spec: RecipeSpec, distribution: Distribution, console: Console | None) -> Iterator[RecipeSpec]:
    """Resolve ``training.precision: auto``, and set seeds, precision and devices for one run.

    Args:
        console: Prints the precision that was chosen; None for silence.

    Yields:
        The recipe with its precision. Model and optimizer have to be made inside.
    """
    if spec.config.training.precision == "auto":
        found = run_precision_test(
            lambda: spec.task.load_backbone(spec.config, Weights.RANDOM, spec.given),
            batch_size=spec.config.training.most_per_step,
        )
        _print_lines([found], console)
        training = spec.config.training.model_copy(update={"precision": found.precision})
        spec = spec.with_config(spec.config.model_copy(update={"training": training}))
    with device_session(spec.config, distribution):
        yield spec


def resolve_policy(job: Job, console: Console | None) -> tuple[Job, Choice | None]:
    """Replace ``policy: auto`` by the policy that suits the data and the budget."""
    if job.config.policy.name != "auto":
        return job, None
    job, choice = choose_policy(job)
    summaries = summarize(job.model, job.phases)
    if console:
        print_line(choice, console)
        print_plan(summaries, len(job.model.backbone.stages), console)
    return job, choice


def resolve_learning_rate(job: Job, console: Console | None) -> Job:
    """Replace ``learning_rate: auto`` by a number, unless every phase is solved and needs none."""
    if job.config.training.learning_rate != "auto" or all(phase.solve for phase in job.phases):
        return job
    found = job.find_learning_rate()
    _print_lines([found], console)
    return job.with_learning_rate(found.learning_rate)


def print_time(choice: Mapping[str, Any], seconds: float, console: Console | None) -> None:
    """Print how long a run took, if its time was estimated."""
    if console:
        estimate = choice["estimated_seconds"][choice["policy"]]
        print_line(f"Time: {seconds:.0f} s (estimated: about {estimate:.0f} s)", console)
