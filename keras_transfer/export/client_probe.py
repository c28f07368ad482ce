"""The probe of ``serve.py``: imports the same packages."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Batch = dict[str, Any]


def load(artifact: str, inputs: list[str]) -> tuple[Callable[[Batch], Batch], list[str]]:
    """Return the program's function for inputs by name, and the names that it returns.

    Args:
        artifact: The folder of ``serve.py``.
        inputs: The names of a client's inputs: ``image_bytes``, or one or two texts.
    """
    sys.dont_write_bytecode = True  # the folder is published as it is
    sys.path.insert(0, artifact)
    serve = runpy.run_path(str(Path(artifact) / "serve.py"))["load"](artifact)
    names: list[str] = []

    def run(batch: Batch) -> Batch:
        rows = list(zip(*(batch[name] for name in inputs), strict=True))
        answers: Batch = serve([row[0] if len(inputs) == 1 else row for row in rows])
        names[:] = answers["names"][0].tolist()
        return answers

    return run, names
