"""What commands share: options, and how JSON is printed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from keras_transfer.console.commands import echo


def together(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return one decorator for several options, which `--help` shows in this order."""

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
RECIPE = click.argument("recipe")
OVERRIDES = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
RUN = click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
TABLE_OPTIONS = together(
    click.option("--root", help="Folder that the paths in a table are relative to; by default its own."),
    click.option("--suffix", help="Added to each path in a table, such as .jpg; by default if one fits all."),
    click.option("--encoding", help="Of a table or a text file, such as cp1252; by default UTF-8."),
    click.option("--delimiter", help="Between the fields of a table: tab or one character."),
)
"""How a table other than the run's own source is read."""


def print_json(values: Any) -> None:
    """Print JSON without escaping names."""
    echo(json.dumps(values, indent=2, ensure_ascii=False))
