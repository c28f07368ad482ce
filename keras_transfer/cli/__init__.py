"""The command line: one function per command, each a few lines over the Python interface.

TensorFlow takes seconds to import: only the commands that use it import it, inside their functions.
"""

import logging
import os
import warnings
from typing import Any

import click

from keras_transfer import __version__
from keras_transfer.cli.cache import cache
from keras_transfer.cli.predict import embed, predict
from keras_transfer.cli.recipes import audit, backbones, check, copy, list_recipes, schema, show
from keras_transfer.cli.runs import benchmark, evaluate, export, report, suggest
from keras_transfer.cli.serve import serve
from keras_transfer.cli.training import find_learning_rate, launch_workers, run
from keras_transfer.console.commands import Commands
from keras_transfer.console.text import printable
from keras_transfer.errors import TransferWarning


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="keras-transfer")
def main() -> None:
    """Fine-tune pretrained networks with Keras, and export the result for serving."""
    # TensorFlow prints lines about its build and missing GPUs at every start; real problems raise exceptions.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    warnings.formatwarning = _format_warning
    parent = os.environ.pop("KERAS_TRANSFER_PARENT", "")
    if parent.isdecimal():  # a worker of `launch`
        from keras_transfer.launch.local import end_with

        end_with(int(parent))


for _command in (
    *(list_recipes, backbones, schema, show, copy, check, audit),
    *(run, launch_workers, find_learning_rate),
    *(evaluate, predict, embed, suggest, export, benchmark, report, serve),
    cache,
):
    main.add_command(_command)


_plain_format = warnings.formatwarning


def _format_warning(message: Warning | str, category: type[Warning], *where: Any, **options: Any) -> str:
    """Format warnings for users: without a line of source code."""
    if issubclass(category, TransferWarning):
        return f"Warning: {printable(message)}\n"
    return _plain_format(message, category, *where, **options)
