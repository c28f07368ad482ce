"""Commands on recipes and data: listing recipes, validating them, and auditing data."""

from pathlib import Path

import click

from keras_transfer.cli.options import AS_JSON, OVERRIDES, RECIPE, print_json
from keras_transfer.console.commands import echo
from keras_transfer.console.imports import import_tensorflow
from keras_transfer.errors import ConfigError


@click.command("list")
@AS_JSON
def list_recipes(as_json: bool) -> None:
    """List the bundled recipes."""
    from keras_transfer.config.catalog import bundled_recipes

    recipes = bundled_recipes().values()
    if as_json:
        print_json([{"name": r.name, "summary": r.summary, "expected": r.expected} for r in recipes])
        return
    width = max(len(recipe.name) for recipe in recipes)
    for recipe in recipes:
        echo(f"{recipe.name:<{width}}  {recipe.summary}")
        if recipe.expected:
            echo(f"{'':<{width}}  expected: {recipe.expected}")
    echo("\nRun one with: keras-transfer run RECIPE")


@click.command()
@AS_JSON
def backbones(as_json: bool) -> None:
    """List the pretrained networks, and which of them can be used on this machine now."""
    import_tensorflow()
    from keras_transfer.backbones.listing import list_backbones, print_backbones

    rows = list_backbones()
    if as_json:
        print_json(rows)
    else:
        print_backbones(rows)


@click.command()
@click.argument("task", required=False)
def schema(task: str | None) -> None:
    """Print the JSON schema of recipes, which editors use; of one TASK or of all."""
    from keras_transfer.config.recipe_file import describe_recipes

    print_json(describe_recipes(task))


@click.command()
@RECIPE
def show(recipe: str) -> None:
    """Print a recipe."""
    echo(_recipe_text(recipe), nl=False)


@click.command()
@RECIPE
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


@click.command()
@RECIPE
@OVERRIDES
def check(recipe: str, overrides: tuple[str, ...]) -> None:
    """Validate a recipe, its data and its weights without training."""
    import_tensorflow()
    from keras_transfer.console import make_console
    from keras_transfer.recipe import Recipe

    Recipe.from_file(recipe, overrides).check(make_console())
    echo("No problems found.")


@click.command()
@click.argument("source")
@OVERRIDES
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write audit.csv, relabel.csv and audit.html to this folder.",
)
@AS_JSON
def audit(source: str, overrides: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Find broken, odd and repeated examples, and labels that are probably wrong.

    SOURCE is a folder, a table or another source, or a recipe: a bundled name or a file. For a source, KEY=VALUE says
    how it is read, such as data.text=review data.label=stars, and task=text_classification if that is unclear.

    `data.exclude=FOLDER/audit.csv` leaves the rows of all findings out of a run: first delete the lines of those that
    you want to keep. `data.relabel=FOLDER/relabel.csv` gives rows the suggested labels.
    """
    import_tensorflow()
    from keras_transfer.console import make_console
    from keras_transfer.recipe import Recipe

    found = Recipe.for_source(source, overrides).audit(out, console=None if as_json else make_console())
    if as_json:
        print_json(found.to_json())
    elif out is not None:
        echo(f"Written to {out}: audit.csv, relabel.csv, audit.html")
    elif found.findings:
        echo("--out FOLDER writes all findings to audit.csv and audit.html.")
