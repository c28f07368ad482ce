"""Train, judge and export a recipe: from an empty run folder, or from the last checkpoint in one."""

import contextlib
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console

from keras_transfer.config import RecipeConfig, parse_recipe, write_recipe
from keras_transfer.distribution import Distribution, describe_environment, distribute, is_chief
from keras_transfer.errors import CheckpointError, ConfigError, TrainingError, TransferWarning
from keras_transfer.export import make_exporters
from keras_transfer.frozen.baseline import Baseline
from keras_transfer.job.job import Job, Trained
from keras_transfer.job.policy_choice import Choice
from keras_transfer.networks.keras_file import write_keras_file
from keras_transfer.networks.lora import adapter_weights, merge_adapters
from keras_transfer.recipe.absolute_paths import with_absolute_paths
from keras_transfer.recipe.resolve_auto import settle_learning_rate, settle_policy, tell_truth
from keras_transfer.recipe.resume_checks import check_origin, check_rows, describe_origin
from keras_transfer.report import print_report
from keras_transfer.run import folder as folders
from keras_transfer.run.run import Run
from keras_transfer.storage.atomic import FolderLock, whole
from keras_transfer.storage.checkpoint_store import CheckpointStore
from keras_transfer.trackers import (
    ConsoleTracker,
    HistoryTracker,
    PlotTracker,
    ReportMade,
    RunStarted,
    Tracker,
    Trackers,
    find_git_commit,
    make_trackers,
)
from keras_transfer.training.checkpointing import Checkpoints, Stopwatch
from keras_transfer.training.interruption import Interruption
from keras_transfer.training.observers import Observers, UserCallbacks


@dataclass(frozen=True)
class _Output:
    """Where a process of a run writes, and the run's folder: to the chief, and to a run of one process, the same."""

    own: Path
    folder: Path
    interruption: Interruption
    lock: FolderLock

    @property
    def store(self) -> CheckpointStore:
        return CheckpointStore(self.folder / folders.CHECKPOINTS)


@dataclass(frozen=True)
class Extras:
    """What a run is given from Python beside its recipe.

    Attributes:
        callbacks: Keras callbacks.
        trackers: Trackers, objects or names, beside those of the recipe.
    """

    callbacks: Sequence[keras.callbacks.Callback] = ()
    trackers: Sequence[Tracker | str] = ()


def fit_recipe(
    recipe: Any, out: str | Path | None, *, resume: bool, console: Console | None, extras: Extras | None = None
) -> Run:
    """Train, evaluate and export.

    Args:
        recipe: Stands for one run.
        out: The run folder: new or empty; by default ``runs/<task>-<date>-<time>``.
        resume: Go on with the run that was interrupted in ``out``.
        console: Told what happens; None for silence.
        extras: Callbacks and trackers from Python.

    Returns:
        The finished run.

    Raises:
        TransferError: As :meth:`Recipe.fit` says.
    """
    if recipe.config.data.is_several_runs:
        raise ConfigError("data.folds and data.repeats stand for several runs. Use cross_validate(recipe, out).")
    extras = extras or Extras()
    callbacks = UserCallbacks(extras.callbacks)
    if not is_chief(recipe.config):
        return _assist(recipe, out, resume, callbacks)
    trackers = make_trackers([], extras.trackers)
    folder = folders.choose_folder(recipe.task, out, resume=resume)
    found = "none"
    if resume:
        found = folders.find_run(folder)
    else:
        folders.prepare_folder(folder)
    if found != "finished":
        history = folder / folders.HISTORY
        own = [HistoryTracker(history), PlotTracker(history, folder / folders.PLOT), ConsoleTracker()]
        with _output(recipe, folder, folder) as output:
            _run(recipe, output, Observers(Trackers([*own, *trackers]), callbacks), resume, console)
    elif console:
        console.print(f"The run in {folder} is finished.", highlight=False, soft_wrap=True)
    CheckpointStore(folder / folders.CHECKPOINTS).clear()
    run = Run(folder)
    for exporter in make_exporters(run.config.export.formats):
        if found == "finished" and any((folder / folders.EXPORT / exporter.name).glob("[0-9]*")):
            continue
        target, parity = run.export(format=exporter)
        if console:
            console.print(f"{exporter.title}: {target} ({parity})", highlight=False, soft_wrap=True)
    return run


def _assist(recipe: Any, out: str | Path | None, resume: bool, callbacks: UserCallbacks) -> Run:
    """Do a process's part of a run whose folder the chief writes."""
    if out is None:
        raise ConfigError("The processes of a run share its folder, and none is named. Name it with --out.")
    folder = Path(out)
    if not (resume and folder.is_dir() and folders.find_run(folder) == "finished"):
        # It leaves what the chief keeps where nobody looks.
        with tempfile.TemporaryDirectory() as own, _output(recipe, Path(own), folder) as output:
            _run(recipe, output, Observers(callbacks=callbacks), resume, None)
    return Run(folder)


@contextlib.contextmanager
def _output(recipe: Any, own: Path, folder: Path) -> Iterator[_Output]:
    interruption = Interruption(folder, grace_seconds=recipe.config.checkpoint.grace_seconds)
    with interruption.listening(), FolderLock(own) as lock:
        yield _Output(own, folder, interruption, lock)


def _run(recipe: Any, output: _Output, observers: Observers, resume: bool, console: Console | None) -> None:
    """Train and judge, from the beginning or from the last checkpoint."""
    with distribute(recipe.config) as distribution:
        start = _find_start(recipe, output.store, distribution, console) if resume else None
        origin = recipe if start is None else _as_settled(recipe, start)
        with origin.session(distribution, console) as settled:
            job, watch = settled.prepare(console), Stopwatch()
            if start is None:
                job, choice = settle_policy(job, console)
                job = settle_learning_rate(job, console)
                record = _describe(recipe.config, job, choice)
            else:
                record, baseline = start["run"], start["baseline"]
                check_rows(record["splits"], job.record["splits"])
                job = replace(job, measured=baseline and Baseline.from_state(baseline))
            _begin(output, job)
            checkpoints = Checkpoints(
                output.store,
                recipe.config.checkpoint,
                record=record,
                interruption=output.interruption,
                start=start,
                distribution=distribution,
            )
            checkpoints.add("seconds", watch)
            checkpoints.add("trackers", observers.trackers)
            with observers.trackers.recording(_describe_start(output.own, job, resumed=start is not None)):
                trained = _train(output.own, job, observers, checkpoints)
                _judge(output.own, job, trained, observers.trackers, console)
            if record["choice"]:
                tell_truth(output.own, record["choice"], watch.seconds, console)
            if distribution.is_chief:  # the others look at the folder once this one is done with it
                output.store.clear()


def _find_start(
    recipe: Any, store: CheckpointStore, distribution: Distribution, console: Console | None
) -> dict[str, Any] | None:
    """The state of the last checkpoint, where it is one of this recipe."""
    found = distribution.broadcast(store.read() if distribution.is_chief else None)
    if found is None:
        if distribution.is_chief:
            warnings.warn(
                f"There is no checkpoint to resume from in {store.folder}: the run begins at the beginning.",
                TransferWarning,
                stacklevel=4,
            )
        return None
    name, state = found
    record = state["run"]
    environment = describe_environment(recipe.config, distribution)
    check_origin(record, with_absolute_paths(recipe.config), environment)
    if console:
        position = state["position"]
        console.print(
            f"Resumed from {name}: phase {position['phase'] + 1}, {position['epoch']} epochs and "
            f"{position['step']} steps done",
            highlight=False,
        )
    return state


def _as_settled(recipe: Any, state: Mapping[str, Any]) -> Any:
    """The recipe with what ``auto`` came to when the run was begun."""
    settled = parse_recipe(state["run"]["settled"], known={}, where="The recipe in the checkpoint")
    return recipe.with_config(settled)


def _describe(config: RecipeConfig, job: Job, choice: Choice | None) -> dict[str, Any]:
    """What every checkpoint says of the run."""
    recipe, settled = with_absolute_paths(config), with_absolute_paths(job.config)
    environment = describe_environment(job.config, job.distribution)
    origin = describe_origin(recipe, settled, environment=environment, splits=job.record["splits"])
    return {**origin, "choice": choice and choice.to_json()}


def _describe_start(folder: Path, job: Job, *, resumed: bool) -> RunStarted:
    """What trackers receive of the run."""
    return RunStarted(
        folder,
        recipe=with_absolute_paths(job.config).model_dump(mode="json"),
        environment=describe_environment(job.config, job.distribution),
        git_commit=find_git_commit(),
        fingerprints={name: split["fingerprint"] for name, split in job.record["splits"].items()},
        metric=job.model.head.metric,
        resumed=resumed,
    )


def _begin(output: _Output, job: Job) -> None:
    folder = output.own
    try:
        (folder / folders.CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        output.lock.take()
        write_recipe(with_absolute_paths(job.config), folder / folders.RECIPE)
        folders.write_json(folder / folders.ENVIRONMENT, describe_environment(job.config, job.distribution))
        folders.write_json(folder / folders.DATA, job.record)
        folders.write_head(folder, job.model.head)
        folders.keep_samples(folder, job.splits, job.reader)
        job.reader.save(folder)
    except OSError as error:
        raise CheckpointError(
            f"The output folder {folder} cannot be made: {error.strerror}. Choose another --out."
        ) from error
    if job.distribution.processes > 1:
        folders.check_shared(output.folder, job.distribution)


def _train(folder: Path, job: Job, observers: Observers, checkpoints: Checkpoints) -> Trained:
    try:
        trained = job.train(observers, checkpoints)
    except TrainingError as error:
        _save(folder, job)
        CheckpointStore(folder / folders.CHECKPOINTS).clear()
        raise TrainingError(f"{error} The last good weights are in {folder / folders.MODEL}.") from error
    _save(folder, job)
    return trained


def _judge(folder: Path, job: Job, trained: Trained, trackers: Trackers, console: Console | None) -> None:
    head, reports = job.judge(trained)
    folders.write_head(folder, head)
    metrics = {report.split: report.to_json() for report in reports}
    folders.write_json(folder / folders.METRICS, metrics)
    for split, values in metrics.items():
        trackers.report_made(ReportMade(split, values))
    if console:
        if trained.baseline and trained.baseline.head.uses_hints:
            console.print(
                "The solved head learned from what labels are called, too, since it told held-out texts better. "
                "head.label_texts=none leaves that out.",
                highlight=False,
                soft_wrap=True,
            )
        if reports:
            print_report(reports[-1], console)
        console.print(f"Run folder: {folder}", highlight=False, soft_wrap=True)


def _save(folder: Path, job: Job) -> None:
    """The model as it will be served, and its adapters, which are no more than a part of its weights, beside it."""
    stages = job.model.backbone.stages
    adapters = adapter_weights(stages)
    if adapters:
        with whole(folder / folders.ADAPTERS) as file:
            np.savez(file, allow_pickle=False, **adapters)
        merge_adapters(stages)
    write_keras_file(job.model.predictor, folder / folders.MODEL)
