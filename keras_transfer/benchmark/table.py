"""Print a benchmark: a table, and why formats are missing in it."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from keras_transfer.benchmark.measure import Measured, Settings
from keras_transfer.console import print_line, print_table

_HEADINGS = ("format", "size MB", "load s", "latency ms", "p99 ms", "rows/s at 32", "memory MB")


def print_benchmark(
    results: Sequence[Measured], settings: Settings, machine: Mapping[str, Any], console: Console
) -> None:
    """Print results as a table.

    Args:
        machine: As :func:`~keras_transfer.benchmark.measure.describe_machine` returns it.
    """
    metric = next((measured.metric for measured in results if "name" in measured.metric), None)
    headings = _HEADINGS if metric is None else (*_HEADINGS, f"{metric['name']} (95 %)".replace("_", " "))
    rows = [_to_cells(measured, has_metric=metric is not None) for measured in results if measured.speed]
    lines = [f"{machine['processor']}, {_count(settings.threads, 'thread')} per process"]
    if metric is not None:
        lines.append(f"{metric['rows']:,} rows ({metric['split']})")
    if rows:
        print_table(headings, rows, console, title=f"Benchmark: {'; '.join(lines)}")
    temporary = [measured.candidate.name for measured in results if measured.candidate.is_temporary and measured.speed]
    if temporary:
        print_line(
            f"Exported for this benchmark alone: {', '.join(temporary)}. Keep one with keras-transfer export RUN "
            "--format NAME.",
            console,
        )
    for measured in results:
        if measured.problem is not None:
            print_line(f"{measured.candidate.name} failed: {measured.problem}", console)


def _to_cells(measured: Measured, *, has_metric: bool) -> tuple[str, ...]:
    speed, metric = measured.speed, measured.metric
    size, latency = measured.size_bytes, speed["latency"]
    cells = (
        measured.candidate.name,
        "" if size is None else f"{size / 1e6:.1f}",
        f"{speed['first_answer_seconds']:.2f}",
        f"{1000 * latency['median_seconds']:.2f}",
        f"{1000 * latency['p99_seconds']:.2f}",
        f"{speed['throughput']['rows_per_second']:,.0f}",
        "" if speed["peak_memory_bytes"] is None else f"{speed['peak_memory_bytes'] / 1e6:,.0f}",
    )
    if not has_metric:
        return cells
    if "value" not in metric:
        return (*cells, "")
    low, high = metric["interval"]
    return (*cells, f"{metric['value']:.4f} ({low:.4f} to {high:.4f})")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
