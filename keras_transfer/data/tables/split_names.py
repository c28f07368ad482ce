"""Names for training, validation and test rows: names of folders, and values of a column."""

from collections.abc import Iterable

from keras_transfer.data.tables.tables import SPLIT_NAMES

_OTHER_NAMES = {
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "eval": "validation",
    "testing": "test",
}


def find_split(name: str) -> str | None:
    """Return the split for a name, ignoring case; None if it is not the name of a split.

    Example:
        >>> find_split("Train"), find_split("val"), find_split("cat")
        ('train', 'validation', None)
    """
    plain = name.strip().casefold()
    return plain if plain in SPLIT_NAMES else _OTHER_NAMES.get(plain)


def find_twins(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the splits that have several names, each with these names."""
    read: dict[str, list[str]] = {}
    for name in names:
        split = find_split(name)
        if split is not None:
            read.setdefault(split, []).append(name)
    return {split: twins for split, twins in read.items() if len(twins) > 1}


def describe_names(names: Iterable[str]) -> str | None:
    """Return which name means which split, such as ``Train -> train``; None if all are the standard names."""
    read = {name: find_split(name) for name in names}
    if all(name == split for name, split in read.items()):
        return None
    return ", ".join(f"{name} -> {split}" for name, split in read.items() if split is not None)
