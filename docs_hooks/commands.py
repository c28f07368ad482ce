"""The command line: every command with its options, from what ``--help`` prints."""

import inspect
from collections.abc import Iterator

import click
from generated import add_pages, cell
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files

from keras_transfer.cli import main


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page."""
    add_pages({"reference/commands.md": "\n\n".join(_page()) + "\n"}, files, config)
    return files


def _page() -> Iterator[str]:
    yield "# Command line"
    yield "```sh\nkeras-transfer --help\nkeras-transfer run --help\n```"
    yield "RECIPE is a bundled name or a file. [Exit codes](../exit-codes.md) say how a command ended."
    top = click.Context(main, info_name="keras-transfer")
    for name in main.list_commands(top):
        command = main.get_command(top, name)
        if command is None or command.hidden:
            continue
        context = click.Context(command, info_name=name, parent=top)
        yield f"## {name}"
        yield f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```"
        yield inspect.cleandoc(command.help or "").replace("\b\n", "")
        records = [option.get_help_record(context) for option in command.get_params(context)]
        yield "\n".join(
            [
                "| option | what it does |",
                "|---|---|",
                *(f"| `{cell(names)}` | {cell(text)} |" for names, text in filter(None, records) if text),
            ]
        )
