"""Commands that train: a run, several processes, the range test of the learning rate."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import click

from keras_transfer.cli.options import AS_JSON, OVERRIDES, RECIPE, print_json
from keras_transfer.console.commands import echo
from keras_transfer.console.imports import import_tensorflow, importing_ray
from keras_transfer.errors import ConfigError


@click.command()
@RECIPE
@OVERRIDES
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


@click.command("launch")
@RECIPE
@OVERRIDES
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
        import_tensorflow()  # what is imported next imports it, and would let it print
        with importing_ray():
            from keras_transfer.launch.on_ray import launch_on_ray
        context.exit(launch_on_ray(arguments, workers=workers, **options))
    command, addresses = [sys.executable, "-m", "keras_transfer.cli", *arguments], find_free_addresses(workers)
    context.exit(launch([[*command, *name_workers(addresses, number)] for number in range(workers)]))


@click.command("find-lr")
@RECIPE
@OVERRIDES
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE.png",
    help="Plot to write: a new file. By default under runs/.",
)
@AS_JSON
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
    from keras_transfer.training.lr_finder import plot_range_test

    test = Recipe.from_file(recipe, overrides).find_learning_rate(None if as_json else make_console())
    if as_json:
        print_json(test.to_json())
    else:
        echo(test)
    try:
        image.parent.mkdir(parents=True, exist_ok=True)
        plot_range_test(test, image)
    except OSError as error:
        raise ConfigError(f"--out: {image} cannot be written: {error.strerror}. Name another file.") from error
    if not as_json:
        echo(f"Curve: {image}")
