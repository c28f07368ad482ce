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


def print_json(values: Any) -> None:
    """Print JSON, with names as they are."""
    echo(json.dumps(values, indent=2, ensure_ascii=False))
