"""What the commands share that write a table for any number of inputs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keras_transfer.console.commands import echo

if TYPE_CHECKING:
    from keras_transfer.run.predictor import Predictor
    from keras_transfer.run.rows import TableOptions

BATCH_OPTIONS = ("resume", "columns", "engine", "address")


def batch_options(command: Any) -> Any:
    """How a table is written."""
    options = [
        click.option("--resume", is_flag=True, help="With --out: continue after an interruption."),
        click.option(
            "--columns",
            multiple=True,
            metavar="NAMES",
            help='With --out: columns of the inputs to write, separated by commas; "" for none. By default all.',
        ),
        click.option(
            "--engine",
            type=click.Choice(["local", "ray"]),
            default="local",
            help="With --out. local: this process. ray: Ray Data.",
        ),
        click.option(
            "--address", help="With --engine ray: address of the cluster, or auto. By default Ray on this machine."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def write_answers(
    run: "Predictor",
    given: list[Any],
    out: Path,
    *,
    suffixes: tuple[str, ...],
    table: "TableOptions",
    resume: bool,
    columns: tuple[str, ...],
    engine: str,
    address: str | None,
    **answers: Any,
) -> int:
    """Predict for inputs, write the table, and print what is worth knowing; return the number of rows.

    Args:
        given: What the user named.
        **answers: Further fields of ``Settings``.
    """
    from keras_transfer.batch_prediction import ENGINES, AnswerFile, Settings, Worker, choose_columns, predict_to_file
    from keras_transfer.run.rows import given_options

    file = AnswerFile(out, resume=resume, suffixes=suffixes)
    if resume and not file.is_begun:
        echo(f"Nothing to resume: {file.folder} has no parts. Starting with the first row.", err=True)
    inputs = run.stream_inputs(*given, **table)
    for note in inputs.notes:
        echo(note, err=True)
    chosen = choose_columns(columns or None, inputs.columns)
    settings = Settings(columns=chosen, table=given_options(table), **answers)
    with ENGINES[engine](Worker(run, inputs.kind, settings), address) as opened:
        summary = predict_to_file(inputs, file, settings, run=run.path, engine=opened, outputs=len(run.target.names))
    for note in summary.notes():
        echo(note, err=True)
    return summary.rows
