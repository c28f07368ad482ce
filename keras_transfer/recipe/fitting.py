"""Train, judge and export a recipe: from an empty run folder, or from the last checkpoint in one."""

import contextlib
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
from keras_transfer.report import plot_history, print_report
from keras_transfer.run import folder as folders
from keras_transfer.run.run import Run
from keras_transfer.storage.atomic import FolderLock, whole
from keras_transfer.storage.checkpoint_store import CheckpointStore
from keras_transfer.training.checkpointing import Checkpoints, Stopwatch
from keras_transfer.training.interruption import Interruption


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


def fit_recipe(recipe: Any, out: str | Path | None, *, resume: bool, console: Console | None) -> Run:
    """Train, evaluate and export.

    Args:
        recipe: Stands for one run.
        out: The run folder: new or empty; by default ``runs/<task>-<date>-<time>``.
        resume: Go on with the run that was interrupted in ``out``.
        console: Told what happens; None for silence.

    Returns:
        The finished run.

    Raises:
        TransferError: As :meth:`Recipe.fit` says.
    """
    if recipe.config.data.is_several_runs:
        raise ConfigError("data.folds and data.repeats stand for several runs. Use cross_validate(recipe, out).")
    if not is_chief(recipe.config):
        return _assist(recipe, out, resume)
    folder = folders.choose_folder(recipe.task, out, resume=resume)
    found = "none"
    if resume:
        found = folders.find_run(folder)
    else:
        folders.prepare_folder(folder)
    if found != "finished":
        with _output(recipe, folder, folder) as output:
            _run(recipe, output, resume, console)
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


def _assist(recipe: Any, out: str | Path | None, resume: bool) -> Run:
    """Do a process's part of a run whose folder the chief writes."""
    if out is None:
        raise ConfigError("The processes of a run share its folder, and none is named. Name it with --out.")
    folder = Path(out)
    if not (resume and folder.is_dir() and folders.find_run(folder) == "finished"):
        # It leaves what the chief keeps where nobody looks.
        with tempfile.TemporaryDirectory() as own, _output(recipe, Path(own), folder) as output:
            _run(recipe, output, resume, None)
    return Run(folder)


@contextlib.contextmanager
def _output(recipe: Any, own: Path, folder: Path) -> Iterator[_Output]:
    interruption = Interruption(folder, grace_seconds=recipe.config.checkpoint.grace_seconds)
    with interruption.listening(), FolderLock(own) as lock:
        yield _Output(own, folder, interruption, lock)


def _run(recipe: Any, output: _Output, resume: bool, console: Console | None) -> None:
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
            if start is None:  # an earlier process may have been killed before its first checkpoint
                (output.own / folders.HISTORY).unlink(missing_ok=True)
            checkpoints = Checkpoints(
                output.store,
                recipe.config.checkpoint,
                record=record,
                interruption=output.interruption,
                start=start,
                distribution=distribution,
            )
            checkpoints.add("seconds", watch)
            trained = _train(output.own, job, checkpoints)
            _judge(output.own, job, trained, console)
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


def _train(folder: Path, job: Job, checkpoints: Checkpoints) -> Trained:
    try:
        trained = job.train(folder / folders.HISTORY, checkpoints)
    except TrainingError as error:
        _save(folder, job)
        CheckpointStore(folder / folders.CHECKPOINTS).clear()
        raise TrainingError(f"{error} The last good weights are in {folder / folders.MODEL}.") from error
    _save(folder, job)
    with whole(folder / folders.PLOT) as image:
        plot_history(folder / folders.HISTORY, image, job.model.head.metric)
    return trained


def _judge(folder: Path, job: Job, trained: Trained, console: Console | None) -> None:
    head, reports = job.judge(trained)
    folders.write_head(folder, head)
    folders.write_json(folder / folders.METRICS, {report.split: report.to_json() for report in reports})
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
