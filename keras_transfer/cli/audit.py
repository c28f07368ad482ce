"""What is wrong with data, before anything is trained on it."""

from pathlib import Path

import click

from keras_transfer.cli.options import AS_JSON, OVERRIDES, print_json
from keras_transfer.console.commands import echo
from keras_transfer.console.imports import import_tensorflow


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
