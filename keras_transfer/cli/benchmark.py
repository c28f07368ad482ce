"""The command benchmark."""

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
