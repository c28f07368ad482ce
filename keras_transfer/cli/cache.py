"""The command for cached features."""

from dataclasses import asdict

import click

from keras_transfer.cli.options import AS_JSON, print_json
from keras_transfer.console.commands import echo


@click.command()
@click.option("--clear", is_flag=True, help="Remove all cached features.")
@AS_JSON
def cache(clear: bool, as_json: bool) -> None:
    """Show the cached features of frozen stages, least recently used first, and what killed runs have left."""
    from datetime import datetime

    from keras_transfer.storage.cache_store import FeatureStore, cache_folder

    folder = cache_folder() / "features"
    store = FeatureStore(folder, max_bytes=0)
    entries = store.entries()
    size = sum(entry.size for entry in entries)
    left = store.leftovers()
    unfinished = f"{_megabytes(sum(entry.size for entry in left))} in {len(left)} unfinished entries of killed runs"
    if clear:
        cleared = store.clear()
        freed = sum(entry.size for entry in cleared.removed)
        echo(f"Removed {len(cleared.removed)} entries of {_megabytes(freed)} from {folder}.")
        for entry, reason in cleared.kept:
            echo(f"Could not remove {entry.description} ({_megabytes(entry.size)}, {entry.key[:12]}): {reason}.")
        if left:
            echo(f"Removed {unfinished}.")
    elif as_json:
        print_json([asdict(entry) for entry in (*entries, *left)])
    else:
        for entry in entries:
            used = datetime.fromtimestamp(entry.used).strftime("%Y-%m-%d %H:%M")
            echo(f"{_megabytes(entry.size):>12}  used {used}  {entry.description}")
        echo(f"{_megabytes(size):>12}  in {len(entries)} entries in {folder}")
        if left:
            echo(f"{unfinished}; --clear removes them, and so does the next run that writes an entry.")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
