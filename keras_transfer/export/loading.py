"""Run an artifact in this process, with the same probe that verifies it in a fresh one."""

import runpy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_transfer.errors import ExportError
from keras_transfer.export.base import Exporter

Serve = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def load_artifact(exporter: type[Exporter], path: Path, inputs: Sequence[str]) -> tuple[Serve, tuple[str, ...]]:
    """Load an artifact with its format's runtime.

    Returns:
        A function from a batch by input name to outputs by name, and the names in the artifact.

    Raises:
        ExportError: The runtime is not installed, or cannot load the artifact.
    """
    try:
        serve, names = runpy.run_path(str(exporter.probe))["load"](str(exporter.find_artifact(path)), list(inputs))
    except ModuleNotFoundError as error:
        raise not_installed(exporter, path, error) from error
    except Exception as error:  # runtimes raise anything for files that are damaged
        raise ExportError(
            f"The {exporter.title} {path} cannot be loaded: {shorten_error(error)}. Export the run again, or use "
            "another copy."
        ) from error
    return serve, tuple(map(str, names))


def not_installed(exporter: type[Exporter], path: Path, error: ModuleNotFoundError) -> ExportError:
    """Return the error for an artifact whose runtime is not installed."""
    package = "keras-transfer" if exporter.extra is None else f"keras-transfer[{exporter.extra}]"
    return ExportError(
        f"{path} is a {exporter.title}, and {error.name}, which it needs, is not installed. Install it with pip "
        f"install '{package}'."
    )


def shorten_error(error: Exception) -> str:
    """Return the message of a runtime's error in one line."""
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {text[:300]}".removesuffix(".")
