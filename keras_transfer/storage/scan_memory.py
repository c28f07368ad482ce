"""What was found out about files, kept from one run to the next: JSON, by the place of each."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any


def recall(record: Path) -> dict[str, list[Any]]:
    """Return what was kept; nothing where that cannot be read."""
    try:
        values = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def remember(record: Path, values: dict[str, list[Any]]) -> None:
    """Keep something. Memory is a convenience: where it cannot be kept, the next run looks again."""
    beside = record.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):
        record.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_text(json.dumps(values), encoding="utf-8")
            beside.replace(record)
        finally:
            beside.unlink(missing_ok=True)
