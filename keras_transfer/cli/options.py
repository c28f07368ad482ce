"""What commands share: options, and how JSON is printed."""

import json
from pathlib import Path
from typing import Any

import click

from keras_transfer.console.commands import echo

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
RECIPE = click.argument("recipe")
OVERRIDES = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
RUN = click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))


def TABLE_OPTIONS(command: Any) -> Any:
    """How a table other than the run's own source is read."""
    options = [
        click.option("--root", help="Folder that the paths in a table are relative to; by default its own."),
        click.option("--suffix", help="Added to each path in a table, such as .jpg; by default if one fits all."),
        click.option("--encoding", help="Of a table or a text file, such as cp1252; by default UTF-8."),
        click.option("--delimiter", help="Between the fields of a table: tab or one character."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def print_json(values: Any) -> None:
    """Print JSON without escaping names."""
    echo(json.dumps(values, indent=2, ensure_ascii=False))
