"""The tables of suite.py."""

from collections import defaultdict
from typing import Any

import numpy as np
from suite_data import SETS

Line = dict[str, Any]
Cells = dict[tuple[str, int], dict[str, dict[int, Line]]]
"""By set and size, by method, by draw."""


def print_tables(lines: list[Line], methods: list[str], against: str) -> None:
    """Print accuracy, log loss, leads, ranks and seconds."""
    cells: Cells = defaultdict(lambda: defaultdict(dict))
    for line in lines:
        cells[line["set"], line["size"]][line["method"]][line["draw"]] = line
    if not lines:
        return
    print_means("accuracy, %", cells, methods, lambda line: 100 * line["accuracy"], "{:.1f}")
    print_losses(cells, methods)
    if against in methods:
        print_leads(cells, methods, against)
    for kind in ("image", "text"):
        of_kind = {key: cell for key, cell in cells.items() if SETS[key[0]].kind == kind}
        if of_kind:
            print_summary(kind, of_kind, methods)


def print_header(title: str, methods: list[str]) -> None:
    print(f"\n{title:<22}" + "".join(f"{method:>16}" for method in methods))


def print_row(key: tuple[str, int], values: list[str]) -> None:
    print(f"{key[0]:<15}{key[1]:>7}" + "".join(f"{value:>16}" for value in values))


def print_means(title: str, cells: Cells, methods: list[str], value: Any, form: str) -> None:
    print_header(title, methods)
    for key, cell in cells.items():
        means = [[value(line) for line in cell[method].values()] for method in methods]
        print_row(key, [form.format(np.mean(each)) if each else "" for each in means])


def print_losses(cells: Cells, methods: list[str]) -> None:
    print_header("log loss (tempered)", methods)
    for key, cell in cells.items():
        print_row(key, [describe_losses(list(cell[method].values())) for method in methods])


def describe_losses(lines: list[Line]) -> str:
    if not lines:
        return ""
    own, tempered = (np.mean([line[name] for line in lines]) for name in ("log_loss", "tempered_log_loss"))
    return f"{own:.3f} ({tempered:.3f})"


def print_leads(cells: Cells, methods: list[str], against: str) -> None:
    others = [method for method in methods if method != against]
    print_header(f"points over {against}", others)
    for key, cell in cells.items():
        print_row(key, [describe_lead(cell[method], cell[against]) for method in others])


def describe_lead(own: dict[int, Line], other: dict[int, Line]) -> str:
    draws = sorted(set(own) & set(other))
    if not draws:
        return ""
    lead, error = measure_lead([(own[draw], other[draw]) for draw in draws])
    return f"{100 * lead:+.1f} +- {100 * error:.1f}{' !' if lead < -error else ''}"


def measure_lead(pairs: list[tuple[Line, Line]]) -> tuple[float, float]:
    """Return the mean lead in accuracy over draws and its standard error, from test rows and from draws.

    Args:
        pairs: A line of either method per draw, on the same test rows.
    """
    differences = np.array([unpack(own) - unpack(other) for own, other in pairs])
    variance = differences.mean(axis=0).var(ddof=1) / differences.shape[1]
    if len(pairs) > 1:
        variance += differences.mean(axis=1).var(ddof=1) / len(pairs)
    return float(differences.mean()), float(np.sqrt(variance))


def unpack(line: Line) -> np.ndarray:
    """Return 1.0 per test row that was classified correctly, else 0.0."""
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(line["correct"]), np.uint8))
    return bits[: line["rows"]].astype(float)


def print_summary(kind: str, cells: Cells, methods: list[str]) -> None:
    """Mean accuracy, losses and ranks over the cells that every method has, and the median seconds."""
    methods = [method for method in methods if any(cell[method] for cell in cells.values())]
    complete = [
        [cell[method][draw] for method in methods]
        for cell in cells.values()
        for draw in set.intersection(*(set(cell[method]) for method in methods))
    ]
    print_header(f"{kind}s, {len(complete)} cells", methods)
    if not complete:
        return
    figures = {
        name: np.array([[line[name] for line in row] for row in complete])
        for name in ("accuracy", "log_loss", "tempered_log_loss", "seconds")
    }
    summary = {
        "mean accuracy, %": (100 * figures["accuracy"].mean(axis=0), "{:.2f}"),
        "mean rank by it": (ranks(-figures["accuracy"]), "{:.2f}"),
        "mean log loss": (figures["log_loss"].mean(axis=0), "{:.3f}"),
        "mean rank by it ": (ranks(figures["log_loss"]), "{:.2f}"),
        "tempered": (figures["tempered_log_loss"].mean(axis=0), "{:.3f}"),
        "median seconds": (np.median(figures["seconds"], axis=0), "{:.0f}"),
    }
    for title, (values, form) in summary.items():
        print(f"{title:<22}" + "".join(f"{form.format(value):>16}" for value in values))


def ranks(values: np.ndarray) -> np.ndarray:
    """Return the mean rank of each column, 1 for the least value; equal ones share the mean of their ranks."""
    less = (values[:, None, :] < values[:, :, None]).sum(axis=2)
    equal = (values[:, None, :] == values[:, :, None]).sum(axis=2)
    return (less + (equal + 1) / 2).mean(axis=0)
