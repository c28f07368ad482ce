"""The command that writes a run's model in a format for serving."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import click

from keras_transfer.cli.options import RUN, TABLE_OPTIONS
from keras_transfer.console.commands import echo
from keras_transfer.console.imports import import_tensorflow

if TYPE_CHECKING:
    from keras_transfer.run.rows import TableOptions


@click.command()
@RUN
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder to write: a new one. By default the next version under RUN/export.",
)
@click.option("--format", "format_name", default="saved_model", show_default=True, help="The name of a format.")
@click.option(
    "--quantize",
    type=click.Choice(["int8", "float16"]),
    help="Store numbers in fewer bits: int8 for a quarter of the size, float16 for half of it.",
)
@click.option(
    "--max-drop",
    type=float,
    help="With --quantize: how far the metric may fall on the test rows, 0.01 by default: a share, of numbers in "
    "standard deviations.",
)
@click.option("--data", help="With --quantize: labelled examples that prove it, in place of the run's test rows.")
@TABLE_OPTIONS
def export(
    folder: Path,
    out: Path | None,
    format_name: str,
    quantize: str | None,
    max_drop: float | None,
    data: str | None,
    **table: "Unpack[TableOptions]",
) -> None:
    """Write the model for serving, and check in a fresh process that it predicts what `predict` predicts.

    A quantized model is checked by the metric on labelled rows, before and after.
    """
    import_tensorflow()
    from keras_transfer.export import EXPORTERS, check_quantizable
    from keras_transfer.run.run import Run

    settings: dict[str, Any] = {"quantize": quantize, "max_drop": max_drop}
    given = {name: value for name, value in settings.items() if value is not None}
    kind = EXPORTERS[format_name]
    check_quantizable(kind, given)
    exporter = kind(**given)
    target, proof = Run(folder).export(out, format=exporter, data=data, **table)
    echo(f"{exporter.title}: {target} ({proof})")
