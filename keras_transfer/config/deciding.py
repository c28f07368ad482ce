"""Recipes in run folders: the keys on which predictions depend, and recipes of earlier versions."""

from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from keras_transfer.config.policies import POLICY_SECTIONS

# The keys that every policy section had before each policy got its own section; a run wrote all of them.
_ALL_POLICIES = {
    "name",
    "budget_seconds",
    "stages",
    "batch_norm",
    "head_solver",
    "head_epochs",
    "fine_tune_rate",
    "stage_decay",
    "groups",
    "group_epochs",
    "rank",
    "lora_layers",
}


def convert_earlier(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's recipe with only the keys that its policy uses.

    A key that the policy does not use had no effect, whatever its value. None, and ``auto`` for BatchNorm, meant the
    policy's own default.
    """
    policy = values.get("policy")
    if not isinstance(policy, Mapping) or set(policy) != _ALL_POLICIES or policy["name"] not in POLICY_SECTIONS:
        return dict(values)
    used = POLICY_SECTIONS[policy["name"]].model_fields
    kept = {key: value for key, value in policy.items() if key in used and value is not None}
    if kept.get("batch_norm") == "auto":
        del kept["batch_norm"]
    return {**values, "policy": kept}


_ELSEWHERE = ("source", "root", "data_dir", "validation", "test", "splits_of", "exclude")
_NOT_DECIDING = ("policy", "training", "cache", "checkpoint", "distribution", "trackers", "export", "report")


def what_decides(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections and keys of a recipe on which its model's predictions depend.

    Returns:
        The recipe without policy, training and the like, and without the locations of its data and weights.
    """
    values = {name: section for name, section in recipe.items() if name not in _NOT_DECIDING}
    for name, keys in (("data", _ELSEWHERE), ("backbone", ("weights",))):
        if isinstance(values.get(name), Mapping):
            values[name] = {key: value for key, value in values[name].items() if key not in keys}
    data = values.get("data")
    if isinstance(data, dict) and isinstance(data.get("relabel"), str):  # data.json has the content of the table
        del data["relabel"]
    return values


def without_places(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys on which predictions depend, without anything that leads to a file of a machine.

    Args:
        recipe: As read from YAML or JSON; it may come from an untrusted source.

    Returns:
        A recipe whose source, and whose backbone if it is a file, are only names.
    """
    values = what_decides(recipe)
    for section, key in (("data", "source"), ("backbone", "name")):
        given = recipe.get(section)
        place = given.get(key) if isinstance(given, Mapping) else None
        if isinstance(values.get(section), dict) and isinstance(place, str):
            values[section][key] = _last_part(place)
    return values


def _last_part(place: str) -> str:
    """An absolute path names folders of its machine, and a relative one may lead out of its folder."""
    for kind in (PurePosixPath, PureWindowsPath):
        path = kind(place)
        if path.is_absolute() or ".." in path.parts or place.startswith("~"):
            return path.name or place.strip("/\\~.") or "data"
    return place
