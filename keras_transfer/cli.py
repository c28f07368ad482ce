"""The command line: one function per command, each a few lines over the Python interface.

TensorFlow takes seconds to import: only the commands that use it import it.
"""

import json
import logging
import os
import sys
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from keras_transfer import __version__
from keras_transfer.console.commands import Commands, echo
from keras_transfer.console.imports import import_tensorflow
from keras_transfer.console.text import printable
from keras_transfer.errors import ConfigError, TransferWarning

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="keras-transfer")
def main() -> None:
    """Fine-tune pretrained networks with Keras, and export the result for serving."""
    # TensorFlow prints lines about its build and missing GPUs at every start; real problems raise exceptions.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    warnings.formatwarning = _format_warning
    parent = os.environ.pop("KERAS_TRANSFER_PARENT", "")
    if parent.isdecimal():  # a worker of `launch`
        from keras_transfer.launch.local import end_with

        end_with(int(parent))


_plain_format = warnings.formatwarning


def _format_warning(message: Warning | str, category: type[Warning], *where: Any, **options: Any) -> str:
    """Our warnings are for users: they come without a line of source code."""
    if issubclass(category, TransferWarning):
        return f"Warning: {printable(message)}\n"
    return _plain_format(message, category, *where, **options)


@main.command("list")
@_AS_JSON
def list_recipes(as_json: bool) -> None:
    """List the bundled recipes."""
    from keras_transfer.config.catalog import bundled_recipes

    recipes = bundled_recipes().values()
    if as_json:
        _print_json([{"name": r.name, "summary": r.summary, "expected": r.expected} for r in recipes])
        return
    width = max(len(recipe.name) for recipe in recipes)
    for recipe in recipes:
        echo(f"{recipe.name:<{width}}  {recipe.summary}")
        if recipe.expected:
            echo(f"{'':<{width}}  expected: {recipe.expected}")
    echo("\nRun one with: keras-transfer run RECIPE")


@main.command()
@_AS_JSON
def backbones(as_json: bool) -> None:
    """List the pretrained networks, and which of them can be used on this machine now."""
    import_tensorflow()
    from keras_transfer.backbones.listing import list_backbones, print_backbones

    rows = list_backbones()
    if as_json:
        _print_json(rows)
    else:
        print_backbones(rows)


@main.command()
@click.argument("task", required=False)
def schema(task: str | None) -> None:
    """Print the JSON schema of recipes, which editors use; of one TASK or of all."""
    from keras_transfer.config.json_schema import describe_recipes

    _print_json(describe_recipes(task))


@main.command()
@click.argument("recipe")
def show(recipe: str) -> None:
    """Print a recipe."""
    echo(_recipe_text(recipe), nl=False)


@main.command()
@click.argument("recipe")
@click.argument("file", type=click.Path(path_type=Path))
def copy(recipe: str, file: Path) -> None:
    """Copy a recipe to FILE, so that you can edit it."""
    text = _recipe_text(recipe)
    if file.exists():
        raise ConfigError(f"{file} exists. Name a new file.")
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}. Name another file.") from error
    echo(f"Copied to {file}. Run it with: keras-transfer run {file}")


def _recipe_text(recipe: str) -> str:
    from keras_transfer.config.catalog import find_recipe

    file = find_recipe(recipe)
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Recipe {file} cannot be read as UTF-8 text. Name a recipe file.") from error


@main.command()
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def check(recipe: str, overrides: tuple[str, ...]) -> None:
    """Validate a recipe, its data and its weights without training."""
    import_tensorflow()
    from keras_transfer.console import make_console
    from keras_transfer.recipe import Recipe

    Recipe.from_file(recipe, overrides).check(make_console())
    echo("No problems found.")


@main.command()
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder: new or empty. By default under runs/.")
@click.option("--resume", is_flag=True, help="Continue the run that was interrupted in --out.")
def run(recipe: str, overrides: tuple[str, ...], out: Path | None, resume: bool) -> None:
    """Train, evaluate and export a recipe; with data.folds or data.repeats, once per fold and repeat.

    SIGTERM ends a run after its next step, with a checkpoint and exit code 143. `--resume` continues from the last
    checkpoint, starts a run if there is none, and leaves a finished one unchanged.
    """
    import_tensorflow()
    from keras_transfer.console import make_console
    from keras_transfer.recipe import Recipe
    from keras_transfer.recipe.cross_validation import cross_validate

    given = Recipe.from_file(recipe, overrides)
    if given.config.data.is_several_runs:
        cross_validate(given, out, resume=resume, console=make_console())
    else:
        given.fit(out, resume=resume, console=make_console())


@main.command("launch")
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--workers", type=click.IntRange(min=1), required=True, help="Number of processes.")
@click.option(
    "--engine", type=click.Choice(["local", "ray"]), default="local", help="local: this machine. ray: a Ray cluster."
)
@click.option("--address", help="With --engine ray: address of the cluster, or auto. By default Ray on this machine.")
@click.option(
    "--retries", type=click.IntRange(min=0), help="With --engine ray: restarts after a lost process. By default 3."
)
@click.option("--out", type=click.Path(path_type=Path), help="Run folder: new or empty. By default under runs/.")
@click.option("--resume", is_flag=True, help="Continue the run that was interrupted in --out.")
@click.pass_context
def launch_workers(
    context: click.Context,
    /,
    recipe: str,
    overrides: tuple[str, ...],
    workers: int,
    engine: str,
    out: Path | None,
    resume: bool,
    **of_ray: Any,
) -> None:
    """Run a recipe in several processes that share every batch, on this machine or on a Ray cluster.

    Output lines start with the number of the process. If one process dies, all end, with its exit code; SIGTERM goes to
    all. Ray then restarts them with --resume.
    """
    from keras_transfer.config.catalog import find_recipe
    from keras_transfer.launch.local import find_free_addresses, launch, name_workers

    find_recipe(recipe)
    options = {name: value for name, value in of_ray.items() if value is not None}
    if options and engine != "ray":
        raise ConfigError(
            f"{' and '.join(f'--{name}' for name in options)} only work with --engine ray. Add it, or leave them out."
        )
    if out is None:
        if resume:
            raise ConfigError("--resume continues a run that was interrupted. Name its folder with --out.")
        out = Path("runs") / f"launch-{time.strftime('%Y%m%d-%H%M%S')}"
    strategy = "data_parallel" if os.environ.get("KERAS_BACKEND") == "jax" else "multi_worker"
    arguments = ["run", recipe, f"distribution.strategy={strategy}", *overrides, "--out", str(out)]
    arguments += ["--resume"] * resume
    if engine == "ray":
        context.exit(_import_ray_engine()(arguments, workers=workers, **options))
    command, addresses = [sys.executable, "-m", "keras_transfer.cli", *arguments], find_free_addresses(workers)
    context.exit(launch([[*command, *name_workers(addresses, number)] for number in range(workers)]))


def _import_ray_engine() -> Any:
    try:
        from keras_transfer.launch.on_ray import launch_on_ray
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise ConfigError(
            "--engine ray needs Ray, which is not installed. Install it with pip install 'keras-transfer[ray]', here "
            "and on every node."
        ) from error
    return launch_on_ray


@main.command("find-lr")
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE.png",
    help="Plot to write: a new file. By default under runs/.",
)
@_AS_JSON
def find_learning_rate(recipe: str, overrides: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Suggest a learning rate, and plot the loss against it.

    The longest phase is trained for at most 100 steps while the rate rises; its weights are then restored.
    `training.learning_rate=auto` makes `run` do the same.
    """
    image = out or Path("runs") / f"find-lr-{time.strftime('%Y%m%d-%H%M%S')}.png"
    if image.suffix != ".png" or image.exists():
        problem = "exists" if image.exists() else "is not a .png file"
        raise ConfigError(f"--out: {image} {problem}. Name a new file that ends in .png.")
    import_tensorflow()
    from keras_transfer.console import make_console
    from keras_transfer.recipe import Recipe
    from keras_transfer.report import plot_range_test

    test = Recipe.from_file(recipe, overrides).find_learning_rate(None if as_json else make_console())
    if as_json:
        _print_json(test.to_json())
    else:
        echo(test)
    try:
        image.parent.mkdir(parents=True, exist_ok=True)
        plot_range_test(test, image)
    except OSError as error:
        raise ConfigError(f"--out: {image} cannot be written: {error.strerror}. Name another file.") from error
    if not as_json:
        echo(f"Curve: {image}")


@main.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--data", help="Labelled examples: a folder, a table, a sample set or another source.")
@click.option("--root", help="With --data: folder that the paths in the table are relative to; by default its own.")
@click.option("--split", type=click.Choice(["train", "validation", "test"]), default="test", show_default=True)
@_AS_JSON
def evaluate(folder: Path, data: str | None, root: str | None, split: str, as_json: bool) -> None:
    """Evaluate a run on labelled examples: by default its own test rows.

    If those are not on this machine, the report that the run recorded is shown.
    """
    import_tensorflow()
    from keras_transfer.console import make_console
    from keras_transfer.errors import DataError
    from keras_transfer.report import print_report
    from keras_transfer.run.run import Run

    if root is not None and data is None:
        raise ConfigError(f"--root is for the table of --data. Received: {root}. Name a table with --data.")
    finished = Run(folder)
    try:
        report = finished.evaluate(data, split=split, root=root)
    except DataError as error:
        recorded = finished.reports.get(split)
        if data is not None or recorded is None:
            raise
        echo(f"{error}\nThe report that the run recorded:", err=True)
        report = recorded
    if as_json:
        _print_json({report.split: report.to_json()})
    else:
        print_report(report, make_console())


@main.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option("--text", "texts", multiple=True, metavar="TEXT", help="A text to predict for; may be repeated.")
@click.option("--root", help="Folder that the paths in a table are relative to; by default its own.")
@click.option("--out", type=click.Path(path_type=Path), help="New .csv, .tsv, .jsonl or .parquet file to write.")
@click.option("--skip-broken", is_flag=True, help="Leave predictions empty for inputs that cannot be read.")
@click.option("--top-k", type=click.IntRange(min=1), metavar="K", help="Show the K most probable classes or labels.")
@_AS_JSON
@click.pass_context
def predict(
    context: click.Context,
    /,
    folder: Path,
    inputs: tuple[str, ...],
    *,
    texts: tuple[str, ...],
    root: str | None,
    out: Path | None,
    skip_broken: bool,
    top_k: int | None,
    as_json: bool,
) -> None:
    """Predict for files, folders, tables or texts.

    INPUT is an image or text file, a folder of such files, or a .csv, .tsv, .jsonl or .parquet table, which is read by
    the columns that the recipe names. `-` reads lines from standard input: texts, or paths of images.
    """
    if not inputs and not texts:
        raise click.UsageError("Missing argument 'INPUT...'. Name files, a folder or a table, or give --text.", context)
    if out is not None and as_json:
        raise click.UsageError("--out writes a table, and --json prints. Give one of them.", context)
    import_tensorflow()
    from keras_transfer.data.tables.write import write_table
    from keras_transfer.run.predicted import check_out, check_top_k, to_json, to_line, to_table
    from keras_transfer.run.run import Run

    if out is not None:
        check_out(out)
    finished = Run(folder)
    read = finished.read_inputs(*finished.parse_inputs(inputs, texts, sys.stdin.buffer), root=root)
    if top_k is not None:
        check_top_k(finished.head)
    for note in read.notes:
        echo(note, err=True)
    predictions = finished.predict_inputs(read, skip_broken=skip_broken)
    if read.problems:
        echo(f"{len(read.problems)} of {len(read)} inputs cannot be read; their predictions are empty.", err=True)
    if out is not None:
        table, notes = to_table(read, predictions, top_k=top_k, errors=skip_broken)
        write_table(out, table)
        for note in notes:
            echo(note, err=True)
        echo(f"Predictions: {out} ({len(table):,} rows)")
    elif as_json:
        _print_json([to_json(prediction, top_k) for prediction in predictions])
    else:
        for prediction in predictions:
            echo(to_line(prediction, top_k))


@main.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder to write: a new one. By default the next version under RUN/export.",
)
@click.option("--format", "format_name", default="saved_model", show_default=True, help="The name of a format.")
def export(folder: Path, out: Path | None, format_name: str) -> None:
    """Write the model for serving, and check in a fresh process that it predicts what `predict` predicts."""
    import_tensorflow()
    from keras_transfer.export import EXPORTERS
    from keras_transfer.run.run import Run

    exporter = EXPORTERS[format_name]()
    target, parity = Run(folder).export(out, format=exporter)
    echo(f"{exporter.title}: {target} ({parity})")


@main.command()
@click.option("--clear", is_flag=True, help="Remove all cached features.")
@_AS_JSON
def cache(clear: bool, as_json: bool) -> None:
    """Show the cached features of frozen stages, least recently used first, and what killed runs have left."""
    from datetime import datetime

    from keras_transfer.storage.cache_store import FeatureStore, cache_folder

    folder = cache_folder() / "features"
    store = FeatureStore(folder, max_bytes=0)
    entries = store.entries()
    size = sum(entry.size for entry in entries)
    left = store.leftovers()
    unfinished = f"{_megabytes(sum(entry.size for entry in left))} in {len(left)} unfinished entries of killed runs"
    if clear:
        cleared = store.clear()
        freed = sum(entry.size for entry in cleared.removed)
        echo(f"Removed {len(cleared.removed)} entries of {_megabytes(freed)} from {folder}.")
        for entry, reason in cleared.kept:
            echo(f"Could not remove {entry.description} ({_megabytes(entry.size)}, {entry.key[:12]}): {reason}.")
        if left:
            echo(f"Removed {unfinished}.")
    elif as_json:
        _print_json([asdict(entry) for entry in (*entries, *left)])
    else:
        for entry in entries:
            used = datetime.fromtimestamp(entry.used).strftime("%Y-%m-%d %H:%M")
            echo(f"{_megabytes(entry.size):>12}  used {used}  {entry.description}")
        echo(f"{_megabytes(size):>12}  in {len(entries)} entries in {folder}")
        if left:
            echo(f"{unfinished}; --clear removes them, and so does the next run that writes an entry.")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _print_json(values: Any) -> None:
    echo(json.dumps(values, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    sys.exit(main())
