"""The command that writes a run's model in a format for serving."""

from pathlib import Path

import click

from keras_transfer.cli.options import RUN
from keras_transfer.console.commands import echo
from keras_transfer.console.imports import import_tensorflow


@click.command()
@RUN
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
