"""Train, evaluate and export a recipe: from an empty run folder, or from the last checkpoint in one."""

import contextlib
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
from rich.console import Console

from keras_transfer.config.recipe_file import parse_recipe
from keras_transfer.config.records import find_problem
from keras_transfer.console import print_line
from keras_transfer.data.splits.splits import Splits
from keras_transfer.distribution import Distribution, describe_environment, distribute, is_chief
from keras_transfer.errors import CheckpointError, ConfigError, TrainingError, TransferWarning
from keras_transfer.export import Exporter, make_exporters
from keras_transfer.frozen.baseline import Baseline
from keras_transfer.frozen.learning_curve import NO_BASELINE, LearningCurve
from keras_transfer.heads import TargetHead
from keras_transfer.heads.evaluation import Floats
from keras_transfer.job.job import Job, Trained
from keras_transfer.recipe.auditing import find_in_run
from keras_transfer.recipe.prepare import prepare_job, print_time, resolve_learning_rate, resolve_policy, session
from keras_transfer.recipe.resume_checks import check_origin, check_rows, describe_origin
from keras_transfer.recipe.spec import RecipeSpec, with_absolute_paths
from keras_transfer.report.page import try_to_write_page, write_page
from keras_transfer.report.terminal import print_learning_curve, print_report
from keras_transfer.run.folder import (
    CHECKPOINTS,
    EXPORT,
    HISTORY,
    MODEL,
    PLOT,
    REPORT,
    check_shared,
    choose_folder,
    find_run,
    prepare_folder,
)
from keras_transfer.run.records import RunState
from keras_transfer.run.run import Run
from keras_transfer.run.writer import RunWriter
from keras_transfer.storage.atomic import FolderLock
from keras_transfer.storage.checkpoint_store import CheckpointStore
from keras_transfer.tasks import Evaluation
from keras_transfer.trackers.base import Tracker, make_trackers
from keras_transfer.trackers.built_in import ConsoleTracker, HistoryTracker, PlotTracker
from keras_transfer.trackers.composite import Trackers
from keras_transfer.trackers.logged import find_git_commit
from keras_transfer.trackers.records import ReportMade, RunStarted
from keras_transfer.training.checkpointing import Checkpoints, Stopwatch
from keras_transfer.training.interruption import Interruption
from keras_transfer.training.observers import Observers, UserCallbacks
from keras_transfer.training.phase import summarize


@dataclass(frozen=True)
class _Output:
    """Where one process of a run writes; for the chief, the run folder."""

    writer: RunWriter
    folder: Path
    interruption: Interruption
    lock: FolderLock

    @property
    def store(self) -> CheckpointStore:
        return CheckpointStore(self.folder / CHECKPOINTS)


@dataclass(frozen=True)
class _Start:
    """Where training starts, for new and resumed runs alike.

    Attributes:
        job: With every ``auto`` resolved; for a resumed run, with its baseline.
        record: What every checkpoint records of the run.
        state: The checkpoint that training continues from; None for a new run.
    """

    job: Job
    record: Mapping[str, Any]
    state: Mapping[str, Any] | None


@dataclass(frozen=True)
class _Ended:
    """What is still in memory when a run has ended, so that its page needs neither the data nor the model again.

    Attributes:
        loaded: The examples before the reader; None for a run that had already ended.
    """

    loaded: Splits | None = None
    predicted: Mapping[str, Floats] | None = None


def fit_recipe(
    spec: RecipeSpec,
    out: str | Path | None,
    *,
    resume: bool,
    console: Console | None,
    callbacks: Sequence[keras.callbacks.Callback],
    trackers: Sequence[Tracker | str],
) -> Run:
    """Train, evaluate and export the model.

    Args:
        out: The run folder: new or empty; by default ``runs/<task>-<date>-<time>``.
        resume: Continue the interrupted run in ``out``.
        console: Prints progress; None for silence.
        trackers: Objects or names, in addition to the trackers of the recipe.

    Raises:
        TransferError: See :meth:`Recipe.fit`.
    """
    if spec.config.data.is_several_runs:
        raise ConfigError("data.folds and data.repeats make several runs. Use cross_validate(recipe, out).")
    called = UserCallbacks(callbacks)
    if not is_chief(spec.config):
        return _assist(spec, out, resume, called)
    made = make_trackers(spec.config.trackers, trackers)
    folder = choose_folder(spec.task.name, out, resume=resume)
    found, ended = "none", _Ended()
    if resume:
        found = find_run(folder)
    else:
        prepare_folder(folder)
    if found != "finished":
        observers = Observers(Trackers([*_own_trackers(folder), *made]), called)
        with _output(spec, folder, folder) as output:
            ended = _train_and_evaluate(spec, output, observers, resume, console)
    elif console:
        print_line(f"The run in {folder} is finished.", console)
    CheckpointStore(folder / CHECKPOINTS).clear()
    run = Run(folder)
    if run.config.report and not (found == "finished" and (folder / REPORT).exists()):
        try_to_write_page(lambda: write_page(run, ended.loaded, ended.predicted), folder, console)
    todo = [
        exporter
        for exporter in make_exporters(run.config.export.formats)
        if not (found == "finished" and any((folder / EXPORT / exporter.name).glob("[0-9]*")))
    ]
    _export(run, todo, ended, console)
    if run.config.report and any(exporter.quantize is not None for exporter in todo):  # the page has their results
        try_to_write_page(lambda: write_page(run, ended.loaded, ended.predicted), folder, None)
    return run


def _export(run: Run, exporters: Sequence[Exporter], ended: _Ended, console: Console | None) -> None:
    for exporter in exporters:
        target, proof = run.export(format=exporter, data=ended.loaded)
        if console:
            print_line(f"{exporter.title}: {target} ({proof})", console)


def _own_trackers(folder: Path) -> list[Tracker]:
    """The trackers of every run: history.jsonl, history.png and the progress line."""
    history = folder / HISTORY
    return [HistoryTracker(history), PlotTracker(history, folder / PLOT), ConsoleTracker()]


def _assist(spec: RecipeSpec, out: str | Path | None, resume: bool, callbacks: UserCallbacks) -> Run:
    """Do a process's part of a run whose folder the chief writes."""
    if out is None:
        raise ConfigError("The processes of a run share its folder, and none was given. Name it with --out.")
    folder = Path(out)
    if not (resume and folder.is_dir() and find_run(folder) == "finished"):
        # This process writes to a folder that is thrown away; the chief writes the one that is kept.
        with tempfile.TemporaryDirectory() as own, _output(spec, Path(own), folder) as output:
            _train_and_evaluate(spec, output, Observers(callbacks=callbacks), resume, None)
    return Run(folder)


@contextlib.contextmanager
def _output(spec: RecipeSpec, own: Path, folder: Path) -> Iterator[_Output]:
    interruption = Interruption(folder, grace_seconds=spec.config.checkpoint.grace_seconds)
    with interruption.listening(), FolderLock(own) as lock:
        yield _Output(RunWriter(own), folder, interruption, lock)


def _train_and_evaluate(
    spec: RecipeSpec, output: _Output, observers: Observers, resume: bool, console: Console | None
) -> _Ended:
    """Train and evaluate, from the beginning or from the last checkpoint."""
    with distribute(spec.config) as distribution:
        state = _find_state(spec, output.store, distribution, console) if resume else None
        with session(_as_resolved(spec, state), distribution, console) as current:
            prepared, watch = prepare_job(current, distribution, console), Stopwatch()
            start = _resume(prepared, state) if state else _begin(spec, prepared, console)
            job = start.job
            _start_folder(output, job)
            checkpoints = Checkpoints(
                output.store,
                spec.config.checkpoint,
                record=start.record,
                interruption=output.interruption,
                start=start.state,
                distribution=distribution,
            )
            checkpoints.add("seconds", watch)
            checkpoints.add("trackers", observers.trackers)
            with observers.trackers.recording(_describe_start(output.writer.folder, start)):
                trained = _train(output.writer, job, observers, checkpoints)
                evaluation = _evaluate(output.writer, job, trained, observers.trackers, console)
            if start.record["choice"]:
                output.writer.write_choice(start.record["choice"], watch.seconds)
                print_time(start.record["choice"], watch.seconds, console)
            output.writer.seal()
            if distribution.is_chief:  # the others look at the folder once this one is done with it
                output.store.clear()
            return _Ended(job.loaded, evaluation.predicted)


def _find_state(
    spec: RecipeSpec, store: CheckpointStore, distribution: Distribution, console: Console | None
) -> Mapping[str, Any] | None:
    """The state in the last checkpoint, if there is one and it belongs to this recipe."""
    found = distribution.broadcast(store.read() if distribution.is_chief else None)
    if found is None:
        if distribution.is_chief:
            warnings.warn(
                f"There is no checkpoint to resume from in {store.folder}: the run starts from the beginning.",
                TransferWarning,
                stacklevel=4,
            )
        return None
    name, state = found
    problem = find_problem(RunState, state)
    if problem is not None:
        raise CheckpointError(
            f"{store.folder / name} is damaged: {problem}. Remove it to use the checkpoint before, or start the run "
            "again in another --out."
        )
    environment = describe_environment(spec.config, distribution)
    check_origin(state["run"], with_absolute_paths(spec.config), environment)
    if console:
        position = state["position"]
        place = ", ".join(f"{part} {position[part] + 1}" for part in ("phase", "epoch", "step"))
        print_line(f"Resumed from {name} at {place}", console)
    return state


def _as_resolved(spec: RecipeSpec, state: Mapping[str, Any] | None) -> RecipeSpec:
    """The recipe; for a resumed run, with every ``auto`` as it was resolved when the run started."""
    if state is None:
        return spec
    return spec.with_config(parse_recipe(state["run"]["resolved"], known={}, where="The recipe in the checkpoint"))


def _begin(spec: RecipeSpec, job: Job, console: Console | None) -> _Start:
    job, choice = resolve_policy(job, console)
    job = resolve_learning_rate(job, console)
    origin = describe_origin(
        with_absolute_paths(spec.config),
        with_absolute_paths(job.config),
        environment=describe_environment(job.config, job.distribution),
        splits=job.record["splits"],
    )
    return _Start(job, {**origin, "choice": choice and choice.to_json()}, state=None)


def _resume(job: Job, state: Mapping[str, Any]) -> _Start:
    record, baseline = state["run"], state["baseline"]
    try:
        check_rows(record, job.record["splits"])
        measured = baseline and Baseline.from_state(baseline)
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"The checkpoint is damaged: its run record lacks {error}. Start the run again in another --out."
        ) from error
    return _Start(replace(job, measured=measured), record, state)


def _describe_start(folder: Path, start: _Start) -> RunStarted:
    """What trackers receive at the start of a run."""
    job = start.job
    return RunStarted(
        folder,
        recipe=with_absolute_paths(job.config).model_dump(mode="json"),
        environment=describe_environment(job.config, job.distribution),
        git_commit=find_git_commit(),
        fingerprints={name: split["fingerprint"] for name, split in job.record["splits"].items()},
        metric=job.model.head.metric,
        resumed=start.state is not None,
    )


def _start_folder(output: _Output, job: Job) -> None:
    output.writer.start(
        output.lock,
        config=with_absolute_paths(job.config),
        environment=describe_environment(job.config, job.distribution),
        record=job.record,
        head=job.model.head,
        reader=job.reader,
        splits=job.splits,
    )
    output.writer.write_phases(summarize(job.model, job.phases), len(job.model.backbone.stages))
    if job.distribution.processes > 1:
        check_shared(output.folder, job.distribution)


def _train(writer: RunWriter, job: Job, observers: Observers, checkpoints: Checkpoints) -> Trained:
    try:
        trained = job.train(observers, checkpoints)
    except TrainingError as error:
        writer.merge_adapters(job.model)
        writer.write_model(job.model)
        CheckpointStore(writer.folder / CHECKPOINTS).clear()
        raise TrainingError(f"{error} The last good weights are in {writer.folder / MODEL}.") from error
    writer.merge_adapters(job.model)
    return trained


def _evaluate(writer: RunWriter, job: Job, trained: Trained, trackers: Trackers, console: Console | None) -> Evaluation:
    evaluation = job.evaluate(trained)
    # The calibration of predictions, which the served model applies by itself, is known only now.
    writer.write_model(job.model.calibrated(evaluation.head))
    metrics = writer.write_evaluation(evaluation, job.splits)
    writer.write_findings(find_in_run(job.splits, job.record["repeated"], trained.baseline))
    for split, values in metrics.items():
        trackers.report_made(ReportMade(split, values, trackers.run_epochs))
    curve = trained.baseline and trained.baseline.curve
    if job.config.report and isinstance(evaluation.head, TargetHead):
        writer.write_learning_curve(curve or NO_BASELINE)
    if console is None:
        return evaluation
    if trained.baseline and trained.baseline.head.uses_hints:
        print_line(
            "The solved head also used the label names, because they improved accuracy on held-out texts. "
            "head.label_texts=none leaves them out.",
            console,
        )
    if evaluation.reports:
        print_report(evaluation.reports[-1], console)
    if isinstance(curve, LearningCurve):
        print_learning_curve(curve, console)
    print_line(f"Run folder: {writer.folder}", console)
    return evaluation
