"""Several runs of one recipe: cross-validation over folds, and repeated draws; a summary of the results."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console

from keras_transfer.config.recipe_file import read_recipe, write_recipe
from keras_transfer.config.schema import RecipeConfig
from keras_transfer.console import print_line, print_table
from keras_transfer.errors import CheckpointError
from keras_transfer.recipe.base import Recipe
from keras_transfer.recipe.resume_checks import check_recipe
from keras_transfer.recipe.spec import with_absolute_paths
from keras_transfer.report.page import try_to_write_page
from keras_transfer.report.pooled import write_pooled_page
from keras_transfer.report.terminal import print_confusion
from keras_transfer.run.folder import RECIPE, REPORT, SUMMARY, choose_folder, prepare_folder, write_json
from keras_transfer.run.run import Run
from keras_transfer.storage.atomic import UNFINISHED, whole
from keras_transfer.storage.inside import check_inside
from keras_transfer.trackers.base import Tracker


@dataclass(frozen=True)
class CrossValidation:
    """Several runs of one recipe.

    Attributes:
        folder: Contains a run folder for each, and ``summary.json``.
        runs: The runs, in order.
        summary: The content of that file: ``test``, with mean, standard deviation and values of each metric on the test
            rows; ``confusion``, summed over the runs, if there is one; ``runs``, the names of the folders.
    """

    folder: Path
    runs: tuple[Run, ...]
    summary: dict[str, Any]


def cross_validate(
    recipe: Recipe,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    console: Console | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    trackers: Sequence[Tracker | str] = (),
) -> CrossValidation:
    """Run a recipe once for every fold and repeat.

    Args:
        recipe: A recipe with ``data.folds``, ``data.repeats`` or both.
        out: The folder for all runs: new or empty. By default ``runs/<task>-<date>-<time>``.
        resume: Continue the interrupted runs in ``out``; finished runs stay as they are. The recipe has to be the same.
        console: Prints progress; None for silence.
        callbacks: Keras callbacks, as :meth:`Recipe.fit` takes them, for each run in turn.
        trackers: In addition to the recipe's own; each run is logged to them as a separate run.

    Returns:
        The runs and their summary.

    Raises:
        TransferError: A problem with one of the runs; those before it are kept.

    Example:
        >>> from keras_transfer import ImageClassification
        >>> recipe = ImageClassification("images/", folds=5)
        >>> recipe.config.data.is_several_runs
        True
        >>> result = cross_validate(recipe, "runs/five")  # doctest: +SKIP
        >>> result.summary["test"]["accuracy"]["mean"]  # doctest: +SKIP
    """
    folder = choose_folder(recipe.task, out, resume=resume)
    _begin(folder, with_absolute_paths(recipe.config), resume=resume)
    runs = []
    for name, config in _plan(recipe.config):
        if console:
            console.rule(name)
        runs.append(
            recipe.with_config(config).fit(
                folder / name, resume=resume, console=console, callbacks=callbacks, trackers=trackers
            )
        )
    summary = {**_summarise([run.reports["test"].to_json() for run in runs]), "runs": [run.folder.name for run in runs]}
    write_json(folder / SUMMARY, summary)
    result = CrossValidation(folder, tuple(runs), summary)
    if console:
        _print(result, console)
    if recipe.config.report:
        try_to_write_page(lambda: write_pooled_page(folder, runs, summary), folder, console)
    return result


def _begin(folder: Path, config: RecipeConfig, *, resume: bool) -> None:
    """Make the folder and write the recipe into it; a resumed run is compared with it."""
    file = folder / RECIPE
    if folder.is_dir():
        check_inside(folder, files=(RECIPE, SUMMARY, REPORT), prefix=UNFINISHED)
    if resume and file.is_file():
        check_recipe([read_recipe(file)], config)
        return
    prepare_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with whole(file) as unfinished:
            write_recipe(config, unfinished)
    except OSError as error:
        raise CheckpointError(
            f"The output folder {folder} cannot be made: {error.strerror}. Choose another --out."
        ) from error


def _plan(config: RecipeConfig) -> Iterator[tuple[str, RecipeConfig]]:
    """The name of each run, and its recipe, which names its fold and seed."""
    folds = range(1, config.data.folds + 1) if config.data.folds and config.data.fold is None else [config.data.fold]
    for repeat in range(config.data.repeats):
        for fold in folds:
            data = config.data.model_copy(update={"fold": fold, "repeats": 1})
            names = [f"repeat-{repeat + 1}"] * (config.data.repeats > 1) + [f"fold-{fold}"] * (fold is not None)
            yield "-".join(names), config.model_copy(update={"data": data, "seed": config.seed + repeat})


def _summarise(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    figures = {}
    for key in reports[0]:
        values = [report[key] for report in reports if isinstance(report.get(key), (int, float))]
        if len(values) == len(reports):
            figures[key] = {"mean": statistics.fmean(values), "std": statistics.stdev(values), "values": values}
    pooled = {}
    if "confusion" in reports[0]:
        pooled = {"confusion": np.sum([report["confusion"] for report in reports], axis=0).tolist()}
    return {"test": figures, **pooled}


def _print(result: CrossValidation, console: Console) -> None:
    figures = result.summary["test"]
    rows = [
        (run.folder.name, *(f"{figure['values'][number]:.4g}" for figure in figures.values()))
        for number, run in enumerate(result.runs)
    ]
    summary = [(key, *(f"{figure[key]:.4g}" for figure in figures.values())) for key in ("mean", "std")]
    headings = ("run", *(key.replace("_", " ") for key in figures))
    print_table(headings, rows, console, title=f"Test rows of {len(result.runs)} runs", footer=summary)
    if "confusion" in result.summary:
        names = result.runs[0].target.names
        print_confusion(names, result.summary["confusion"], f"Confusion over {len(result.runs)} runs", console)
    print_line(f"Summary: {result.folder / SUMMARY}", console)
