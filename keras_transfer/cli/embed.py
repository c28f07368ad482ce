"""The command embed."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from keras_transfer.cli.batches import BATCH_OPTIONS, batch_options, write_answers
from keras_transfer.cli.options import RUN, TABLE_OPTIONS
from keras_transfer.console.commands import echo
from keras_transfer.console.imports import import_tensorflow
from keras_transfer.errors import ConfigError

if TYPE_CHECKING:
    from keras_transfer.run.rows import TableOptions


@click.command()
@RUN
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option("--text", "texts", multiple=True, metavar="TEXT", help="A text; may be repeated.")
@TABLE_OPTIONS
@click.option("--skip-broken", is_flag=True, help="Leave features empty for inputs that cannot be read.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="New .parquet, .csv, .tsv or .jsonl file with a column embedding, or .npy file of float32[rows, dim].",
)
@batch_options
@click.pass_context
def embed(
    context: click.Context,
    /,
    folder: Path,
    inputs: tuple[str, ...],
    *,
    texts: tuple[str, ...],
    out: Path,
    skip_broken: bool,
    **options: Any,
) -> None:
    """Write the features by which a run predicts, for files, folders, tables or texts.

    The features are what the network returns, pooled, which the head reads: alike for inputs that are alike. INPUT is
    what `predict` takes.
    """
    if not inputs and not texts:
        raise click.UsageError("Missing argument 'INPUT...'. Name files, a folder or a table, or give --text.", context)
    of_batches = {name: options.pop(name) for name in BATCH_OPTIONS}
    if out.suffix.lower() == ".npy":
        if skip_broken or of_batches["columns"]:
            raise ConfigError(
                "--skip-broken and --columns are for tables, and a .npy file has features alone. Leave them out, or "
                f"name a .parquet file. Received: --out {out}."
            )
        of_batches["columns"] = ("",)
    import_tensorflow()
    from keras_transfer.data.tables.write import WRITABLE
    from keras_transfer.run.opened import open_model

    run = open_model(folder)
    rows = write_answers(
        run,
        run.parse_inputs(inputs, texts, sys.stdin.buffer),
        out,
        suffixes=(*WRITABLE, ".npy"),
        table=cast("TableOptions", options),
        skip_broken=skip_broken,
        predictions=False,
        embeddings=True,
        **of_batches,
    )
    echo(f"Features: {out} ({rows:,} rows)")
