"""Results of scanning files, stored from one run to the next: JSON, by the path of each file."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any


def recall(record: Path) -> dict[str, list[Any]]:
    """Return what was stored; nothing if it cannot be read."""
    try:
        values = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def remember(record: Path, values: dict[str, list[Any]]) -> None:
    """Store results. If they cannot be stored, the next run scans again."""
    temporary = record.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):
        record.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(json.dumps(values), encoding="utf-8")
            temporary.replace(record)
        finally:
            temporary.unlink(missing_ok=True)
