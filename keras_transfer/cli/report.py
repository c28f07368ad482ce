"""The command that writes the page of a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from keras_transfer.cli.options import RUN, TABLE_OPTIONS
from keras_transfer.console.commands import echo
from keras_transfer.console.imports import import_tensorflow
from keras_transfer.errors import ConfigError

if TYPE_CHECKING:
    from keras_transfer.run.rows import TableOptions


@click.command()
@RUN
@click.option("--data", help="Labelled examples to evaluate: a folder, a table, a sample set or another source.")
@TABLE_OPTIONS
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    help="Page to write; by default report.html, or report-NAME.html of another source, in the run folder.",
)
def report(folder: Path, data: str | None, out: Path | None, **table: "Unpack[TableOptions]") -> None:
    """Write a run's results as one HTML page.

    A run writes the page of its own rows when it ends. With --data, the rows are those of another source. RUN may also
    be the folder of a cross-validation.
    """
    if out is not None and not out.is_dir() and out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--out: {out} is not a page. Name a file that ends in .html.")
    if out is not None:
        _make_folder(out)
    import_tensorflow()
    from keras_transfer.report.page import write_page, write_source_page
    from keras_transfer.report.pooled import read_runs, write_pooled_page
    from keras_transfer.run.folder import MODEL, SUMMARY
    from keras_transfer.run.rows import refuse_options
    from keras_transfer.run.run import Run

    if data is None:
        refuse_options(table)
    if (folder / SUMMARY).is_file() and not (folder / MODEL).exists():
        if data is not None:
            raise ConfigError(f"{folder} holds several runs. Name one of them with --data, such as {folder}/fold-1.")
        runs, summary = read_runs(folder)
        page = write_pooled_page(folder, runs, summary, file=out)
    elif data is None:
        page = write_page(Run(folder), file=out)
    else:
        page = write_source_page(Run(folder), data, file=out, **table)
    echo(f"Report: {page}")


def _make_folder(out: Path) -> None:
    if out.is_dir():
        raise ConfigError(f"--out: {out} is a folder. Name a file in it that ends in .html.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out: {out} cannot be written: {error.strerror}. Name another file.") from error
