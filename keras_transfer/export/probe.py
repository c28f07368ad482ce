"""Run an exported model as a client would: in a fresh process that imports only the format's runtime.

Usage: python probe.py JOB.json, a file that :func:`keras_transfer.export.writing.export_run` writes.

The probe of a format is a separate file with one function, ``load(artifact, inputs)``. It returns a function from a
batch of inputs by name to outputs by name, and the names of the classes, labels or numbers, read from the artifact.
"""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np

_OURS = ("keras_transfer", "keras_hub")
# Neither an image nor UTF-8.
_UNREADABLE = b"\xff"


def main(file: str) -> None:
    """Load an artifact, run it on every batch of a job, and write its outputs to a JSON file.

    Args:
        file: JSON with ``probe``, the format's own file; ``artifact``; ``examples``, a folder; ``inputs``, their names;
            ``endpoint``, what the artifact takes; ``only``, the output to write, or null for all; and ``answers``, the
            file to write.
    """
    job = json.loads(Path(file).read_text(encoding="utf-8"))
    serve, names = runpy.run_path(job["probe"])["load"](job["artifact"], job["inputs"])
    outputs = [serve(batch) for batch in read_batches(Path(job["examples"]), job["inputs"])]
    wanted = [name for name in outputs[0] if job["only"] in (None, name)]
    answers = {name: [row for output in outputs for row in to_plain(output[name])] for name in wanted}
    result = {"outputs": answers, "names": list(names)}
    if job["endpoint"] == "raw" and job["only"] is None:
        output = serve(_read_unreadable(Path(job["examples"]), job["inputs"]))
        result["unreadable"] = {name: to_plain(output[name]) for name in output}
    Path(job["answers"]).write_text(json.dumps(result), encoding="utf-8")
    ours = sorted(name for name in sys.modules if name.split(".")[0] in _OURS)
    if ours:
        raise SystemExit(f"the probe must not import {', '.join(ours)}")


def read_batches(folder: Path, inputs: list[str]) -> list[dict[str, Any]]:
    """Return arrays as they are; of raw examples, half are one batch, and the others are batches of one."""
    files = sorted(folder.iterdir())
    if files[0].suffix == ".npz":
        return [dict(np.load(file, allow_pickle=False)) for file in files]
    values = [_read(file, inputs) for file in files]
    middle = (len(values) + 1) // 2
    batches = [values[:middle], *([value] for value in values[middle:])]
    return [{name: [value[name] for value in batch] for name in batch[0]} for batch in batches]


def _read_unreadable(folder: Path, inputs: list[str]) -> dict[str, Any]:
    """The first example, one that cannot be read, and the last example."""
    files = sorted(folder.iterdir())
    first, last = (_read(file, inputs) for file in (files[0], files[-1]))
    rows = [first, dict.fromkeys(first, _UNREADABLE), last]
    encoded = [{k: v.encode() if isinstance(v, str) else v for k, v in row.items()} for row in rows]
    return {name: [row[name] for row in encoded] for name in first}


def _read(file: Path, inputs: list[str]) -> dict[str, Any]:
    if file.suffix == ".json":
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return values
    return {inputs[0]: file.read_bytes()}


def to_plain(values: Any) -> list[Any]:
    """Convert a tensor or an array to JSON types: nested lists, with text for bytes."""

    def decode(value: Any) -> Any:
        if isinstance(value, list):
            return [decode(inner) for inner in value]
        return value.decode() if isinstance(value, bytes) else value

    return [decode(row) for row in (values.numpy() if hasattr(values, "numpy") else values).tolist()]


if __name__ == "__main__":
    main(*sys.argv[1:])
