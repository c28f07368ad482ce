"""The command evaluate."""

from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from keras_transfer.cli.options import AS_JSON, RUN, TABLE_OPTIONS, print_json
from keras_transfer.console.commands import echo
from keras_transfer.console.imports import import_tensorflow

if TYPE_CHECKING:
    from keras_transfer.heads.evaluation import Report
    from keras_transfer.run.rows import TableOptions
    from keras_transfer.run.run import Run


@click.command()
@RUN
@click.option("--data", help="Labelled examples: a folder, a table, a sample set or another source.")
@TABLE_OPTIONS
@click.option("--split", type=click.Choice(["train", "validation", "test"]), default="test", show_default=True)
@AS_JSON
def evaluate(folder: Path, data: str | None, split: str, as_json: bool, **table: "Unpack[TableOptions]") -> None:
    """Evaluate a run on labelled examples: by default its own test rows.

    If those are not on this machine, the report that the run recorded is shown. RUN may also be a model that a run
    exported, such as runs/mine/export/onnx/1; --data names the examples then.
    """
    import_tensorflow()
    from keras_transfer.console import make_console
    from keras_transfer.report.terminal import print_report
    from keras_transfer.run.opened import open_model
    from keras_transfer.run.run import Run

    opened = open_model(folder)
    report = _evaluate(opened, data, split, table) if isinstance(opened, Run) else opened.evaluate(data, **table)
    if as_json:
        print_json({report.split: report.to_json()})
    else:
        print_report(report, make_console())


def _evaluate(run: "Run", data: str | None, split: str, table: "TableOptions") -> "Report":
    """The report on a run's own rows, or on others; the recorded one if its own are elsewhere."""
    from keras_transfer.errors import DataError

    try:
        return run.evaluate(data, split=split, **table)
    except DataError as error:
        if data is not None or split not in run.reports:
            raise
        recorded = run.reports[split]
        echo(f"{error}\nThe report that the run recorded:", err=True)
        return recorded
