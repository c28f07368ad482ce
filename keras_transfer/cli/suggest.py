"""The command that says which examples to label next."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from keras_transfer.cli.options import RUN, TABLE_OPTIONS
from keras_transfer.console.commands import echo
from keras_transfer.console.imports import import_tensorflow

if TYPE_CHECKING:
    from keras_transfer.run.rows import TableOptions


@click.command()
@RUN
@click.argument("inputs", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--n", "count", type=click.IntRange(min=1), default=50, show_default=True, help="How many to suggest.")
@TABLE_OPTIONS
@click.option("--out", type=click.Path(path_type=Path), help="New .csv, .tsv, .jsonl or .parquet file to write.")
def suggest(
    folder: Path, inputs: tuple[str, ...], count: int, out: Path | None, **table: "Unpack[TableOptions]"
) -> None:
    """Choose which unlabelled examples to label next.

    SOURCE is what `predict` takes: files, folders, tables, or `-` for lines of standard input. Suggested are examples
    of which the model is not sure and which are unlike one another. Examples that the run has labels of are left out.
    """
    import_tensorflow()
    from keras_transfer.data.tables.write import write_table
    from keras_transfer.run.predicted import check_out
    from keras_transfer.run.run import Run
    from keras_transfer.run.suggestions import to_suggestion_line, to_suggestion_table

    if out is not None:
        check_out(out)
    finished = Run(folder)
    read = finished.read_inputs(*finished.parse_inputs(inputs, (), sys.stdin.buffer), **table)
    suggestions, notes = finished.suggest_inputs(read, count=count)
    for note in (*read.notes, *notes):
        echo(note, err=True)
    if out is not None:
        rows = to_suggestion_table(suggestions, read)
        write_table(out, rows)
        echo(f"Suggestions: {out} ({len(rows):,} rows)")
    else:
        for suggestion in suggestions:
            echo(to_suggestion_line(suggestion))
