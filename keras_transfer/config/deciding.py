"""Which part of a recipe decides how its model predicts, and which concerns training and this machine alone."""

from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

_ELSEWHERE = ("source", "root", "data_dir", "validation", "test", "splits_of", "exclude")
_NOT_DECIDING = ("policy", "training", "cache", "checkpoint", "distribution", "trackers", "export", "report")


def what_decides(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections and keys of a recipe by which its model predicts.

    Returns:
        The recipe without policy, training and the like, and without where its data and weights are.
    """
    values = {name: section for name, section in recipe.items() if name not in _NOT_DECIDING}
    for name, keys in (("data", _ELSEWHERE), ("backbone", ("weights",))):
        if isinstance(values.get(name), Mapping):
            values[name] = {key: value for key, value in values[name].items() if key not in keys}
    data = values.get("data")
    if isinstance(data, dict) and isinstance(data.get("relabel"), str):  # data.json has what the table says
        del data["relabel"]
    return values


def without_places(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides of a recipe, with nothing in it that leads to a file of a machine.

    Args:
        recipe: As read from YAML or JSON; it may come from a stranger.

    Returns:
        A recipe whose source, and whose backbone if that is a file, are names for people.
    """
    values = what_decides(recipe)
    for section, key in (("data", "source"), ("backbone", "name")):
        given = recipe.get(section)
        place = given.get(key) if isinstance(given, Mapping) else None
        if isinstance(values.get(section), dict) and isinstance(place, str):
            values[section][key] = _last_part(place)
    return values


def _last_part(place: str) -> str:
    """An absolute path names folders of its machine, and a relative one may lead out of any."""
    for kind in (PurePosixPath, PureWindowsPath):
        path = kind(place)
        if path.is_absolute() or ".." in path.parts or place.startswith("~"):
            return path.name or place.strip("/\\~.") or "data"
    return place
