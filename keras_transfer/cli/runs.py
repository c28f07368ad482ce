"""Commands on finished runs: evaluate, report, suggest, export, benchmark."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import click

from keras_transfer.cli.options import AS_JSON, RUN, TABLE_OPTIONS, print_json
from keras_transfer.console.commands import echo
from keras_transfer.console.imports import import_tensorflow
from keras_transfer.errors import ConfigError

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
    if out is not None:
        _make_folder_of(out)
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


def _make_folder_of(page: Path) -> None:
    if page.is_dir():
        raise ConfigError(f"--out: {page} is a folder. Name a file in it that ends in .html.")
    if page.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--out: {page} is not a page. Name a file that ends in .html.")
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out: {page} cannot be written: {error.strerror}. Name another file.") from error


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
@click.option("--data", help="With --quantize: labelled examples to check it with, in place of the run's test rows.")
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


@click.command()
@RUN
@click.option(
    "--formats",
    metavar="NAME,...",
    help="Formats to measure, such as keras,onnx,litert:int8; by default all, and what was exported quantized.",
)
@click.option("--data", help="Labelled examples for the metric; by default the run's test rows.")
@TABLE_OPTIONS
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of cores that a model may use while its speed is measured.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.0, min_open=True, max=3600.0),
    default=2.0,
    show_default=True,
    help="Time for each measurement of latency and throughput, at least.",
)
@AS_JSON
def benchmark(
    folder: Path,
    formats: str | None,
    data: str | None,
    threads: int,
    seconds: float,
    as_json: bool,
    **table: "Unpack[TableOptions]",
) -> None:
    """Compare the formats of a run on this machine: size, speed, memory and metric.

    Formats that the run has not been exported in are exported to a temporary folder. Each is measured in fresh
    processes of its own.
    """
    names = None if formats is None else [name.strip() for name in formats.split(",")]
    from keras_transfer.benchmark.cores import usable_cores

    cores = usable_cores()
    if threads > cores:
        raise click.UsageError(f"--threads: this process may use {cores} cores. Received: {threads}.")
    import_tensorflow()
    from keras_transfer.benchmark.candidates import check_formats
    from keras_transfer.benchmark.measure import Settings, describe_machine, measure_formats
    from keras_transfer.benchmark.table import print_benchmark
    from keras_transfer.console import make_console
    from keras_transfer.run.rows import refuse_options
    from keras_transfer.run.run import Run

    if names is not None:
        check_formats(names)
    if data is None:
        refuse_options(table)
    run = Run(folder)
    run.check_servable()
    settings = Settings(threads, seconds, data, table)
    results = measure_formats(run, names, settings, report=lambda line: echo(line, err=True))
    machine = describe_machine()
    if as_json:
        rows = [measured.to_json() for measured in results]
        print_json({"run": str(folder), "machine": machine, "threads": threads, "formats": rows})
    else:
        print_benchmark(results, settings, machine, make_console())
