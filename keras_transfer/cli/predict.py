"""The command predict."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from keras_transfer.cli.options import AS_JSON, RUN, TABLE_OPTIONS, print_json
from keras_transfer.console.commands import echo
from keras_transfer.console.imports import import_tensorflow

if TYPE_CHECKING:
    from keras_transfer.run.rows import TableOptions


@click.command()
@RUN
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option("--text", "texts", multiple=True, metavar="TEXT", help="A text to predict for; may be repeated.")
@TABLE_OPTIONS
@click.option("--out", type=click.Path(path_type=Path), help="New .csv, .tsv, .jsonl or .parquet file to write.")
@click.option("--skip-broken", is_flag=True, help="Leave predictions empty for inputs that cannot be read.")
@click.option("--top-k", type=click.IntRange(min=1), metavar="K", help="Show the K most probable classes or labels.")
@click.option(
    "--min-confidence", type=float, metavar="P", help="Abstain if the probability of the prediction is below P."
)
@AS_JSON
@click.pass_context
def predict(
    context: click.Context,
    /,
    folder: Path,
    inputs: tuple[str, ...],
    *,
    texts: tuple[str, ...],
    out: Path | None,
    skip_broken: bool,
    top_k: int | None,
    min_confidence: float | None,
    as_json: bool,
    **table: "Unpack[TableOptions]",
) -> None:
    """Predict for files, folders, tables or texts.

    INPUT is an image or text file, a folder of such files, or a .csv, .tsv, .jsonl or .parquet table, which is read by
    the columns that the recipe names. `-` reads lines from standard input: texts, or paths of images. RUN may also be a
    model that a run exported, such as runs/mine/export/onnx/1.
    """
    if not inputs and not texts:
        raise click.UsageError("Missing argument 'INPUT...'. Name files, a folder or a table, or give --text.", context)
    if out is not None and as_json:
        raise click.UsageError("--out writes a table, and --json prints. Give one of them.", context)
    import_tensorflow()
    from keras_transfer.data.tables.write import write_table
    from keras_transfer.run.opened import open_model
    from keras_transfer.run.predicted import check_out, check_top_k, count_abstained, to_json, to_line, to_table

    if out is not None:
        check_out(out)
    finished = open_model(folder)
    read = finished.read_inputs(*finished.parse_inputs(inputs, texts, sys.stdin.buffer), **table)
    if top_k is not None:
        check_top_k(finished.head)
    for note in read.notes:
        echo(note, err=True)
    predictions = finished.predict_inputs(read, skip_broken=skip_broken, min_confidence=min_confidence)
    if read.problems:
        echo(f"{len(read.problems)} of {len(read)} inputs cannot be read; their predictions are empty.", err=True)
    abstained = count_abstained(predictions)
    if abstained is not None:
        echo(abstained, err=True)
    if out is not None:
        rows, notes = to_table(read, predictions, top_k=top_k, errors=skip_broken)
        write_table(out, rows)
        for note in notes:
            echo(note, err=True)
        echo(f"Predictions: {out} ({len(rows):,} rows)")
    elif as_json:
        print_json([to_json(prediction, top_k) for prediction in predictions])
    else:
        for prediction in predictions:
            echo(to_line(prediction, top_k))
