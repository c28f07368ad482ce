"""The commands predict and embed, which write a table for any number of inputs."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from keras_transfer.cli.options import AS_JSON, RUN, TABLE_OPTIONS, print_json, together
from keras_transfer.console.commands import echo
from keras_transfer.console.imports import import_tensorflow
from keras_transfer.errors import ConfigError

if TYPE_CHECKING:
    from keras_transfer.run.predictor import Predictor
    from keras_transfer.run.rows import TableOptions

BATCH_OPTIONS = ("resume", "columns", "engine", "address")
"""The names of :data:`batch_options`."""

batch_options = together(
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
)
"""How a table is written."""


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
        **answers: Further fields of ``Settings``.
    """
    from keras_transfer.batch_prediction import ENGINES, AnswerFile, Settings, Worker, choose_columns, predict_to_file
    from keras_transfer.run.rows import given_options

    file = AnswerFile(out, resume=resume, suffixes=suffixes)
    if resume and not file.is_started:
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


@click.command()
@RUN
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option("--text", "texts", multiple=True, metavar="TEXT", help="A text to predict for; may be repeated.")
@TABLE_OPTIONS
@click.option("--skip-broken", is_flag=True, help="Leave predictions empty for inputs that cannot be read.")
@click.option("--top-k", type=click.IntRange(min=1), metavar="K", help="Show the K most probable classes or labels.")
@click.option(
    "--min-confidence", type=float, metavar="P", help="Abstain if the probability of the prediction is below P."
)
@AS_JSON
@click.option("--out", type=click.Path(path_type=Path), help="New .csv, .tsv, .jsonl or .parquet file to write.")
@click.option("--embeddings", is_flag=True, help="With --out: add a column of the features that the head reads.")
@batch_options
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
    **options: Any,
) -> None:
    """Predict for files, folders, tables or texts.

    INPUT is an image, text or audio file, a folder of such files, or a .csv, .tsv, .jsonl or .parquet table, which is
    read by the columns that the recipe names. `-` reads lines from standard input: texts, or paths of files. RUN may
    also be a model that a run exported, such as runs/mine/export/onnx/1.

    With --out, any number of inputs is read, predicted and written in parts, and --resume continues after an
    interruption.
    """
    if not inputs and not texts:
        raise click.UsageError("Missing argument 'INPUT...'. Name files, a folder or a table, or give --text.", context)
    if out is not None and as_json:
        raise click.UsageError("--out writes a table, and --json prints. Give one of them.", context)
    of_table = {name: options.pop(name) for name in (*BATCH_OPTIONS, "embeddings")}
    if out is None:
        _refuse_without_out(of_table)
    import_tensorflow()
    from keras_transfer.data.tables.write import WRITABLE
    from keras_transfer.run.opened import open_model
    from keras_transfer.run.predicted import check_min_confidence, check_top_k

    run = open_model(folder)
    given = run.parse_inputs(inputs, texts, sys.stdin.buffer)
    if top_k is not None:
        check_top_k(run.head)
    if min_confidence is not None:
        check_min_confidence(run.head, min_confidence)
    answers: dict[str, Any] = {"skip_broken": skip_broken, "top_k": top_k, "min_confidence": min_confidence}
    if out is not None:
        rows = write_answers(
            run, given, out, suffixes=WRITABLE, table=cast("TableOptions", options), **answers, **of_table
        )
        echo(f"Predictions: {out} ({rows:,} rows)")
    else:
        _print(run, given, as_json=as_json, table=cast("TableOptions", options), **answers)


def _refuse_without_out(of_table: dict[str, Any]) -> None:
    given = [name for name, value in of_table.items() if value not in (False, (), None, "local")]
    if given:
        raise ConfigError(
            f"Without --out, there is no table for {' and '.join(f'--{name}' for name in given)}. Name a new file with "
            "--out, or leave this out."
        )


def _print(run: "Predictor", given: list[Any], *, as_json: bool, table: "TableOptions", **answers: Any) -> None:
    from keras_transfer.run.predicted import count_abstained, to_json, to_line

    top_k = answers.pop("top_k")
    read = run.read_inputs(*given, **table)
    for note in read.notes:
        echo(note, err=True)
    predictions = run.predict_inputs(read, **answers)
    if read.problems:
        echo(f"{len(read.problems)} of {len(read)} inputs cannot be read; their predictions are empty.", err=True)
    abstained = count_abstained(predictions)
    if abstained is not None:
        echo(abstained, err=True)
    if as_json:
        print_json([to_json(prediction, top_k) for prediction in predictions])
    else:
        for prediction in predictions:
            echo(to_line(prediction, top_k))


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
