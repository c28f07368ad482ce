"""Results of scanning files, stored from one run to the next as JSON: a row of values by path or content hash."""

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def recall(record: Path, kinds: Sequence[type]) -> dict[str, list[Any]]:
    """Return what was stored; whatever is damaged counts as not stored.

    Args:
        kinds: The exact type of each value of a row.
    """
    try:
        values = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(values, dict):
        return {}
    expected = list(kinds)
    return {key: row for key, row in values.items() if isinstance(row, list) and list(map(type, row)) == expected}


def remember(record: Path, values: Mapping[str, Sequence[Any]]) -> None:
    """Store results. If they cannot be stored, the next run scans again."""
    temporary = record.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):
        record.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(json.dumps(values), encoding="utf-8")
            temporary.replace(record)
        finally:
            temporary.unlink(missing_ok=True)
