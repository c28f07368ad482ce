"""What a run was begun with, and whether it is the same that it is to be resumed with."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from keras_transfer.config import RecipeConfig
from keras_transfer.errors import ConfigError, DataError, TransferWarning, list_lines


def describe_origin(
    recipe: RecipeConfig, settled: RecipeConfig, *, environment: Mapping[str, Any], splits: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what every checkpoint of a run says of it.

    Args:
        recipe: As it was given, with absolute paths.
        settled: The same, with what each ``auto`` came to.
        environment: Versions and devices.
        splits: What data.json records of each.
    """
    return {
        "recipe": recipe.model_dump(mode="json"),
        "settled": settled.model_dump(mode="json"),
        "environment": environment,
        "splits": {name: {key: split[key] for key in ("count", "fingerprint")} for name, split in splits.items()},
    }


def check_origin(record: Mapping[str, Any], config: RecipeConfig, environment: Mapping[str, Any]) -> None:
    """Compare what a run was begun with to what it is to be resumed with.

    Args:
        record: What its checkpoints say of it.
        config: The recipe, which may be the one that was given or the one that ``auto`` was settled to. How often
            checkpoints are taken, and over which devices the run is spread, may differ.
        environment: Versions and devices, here and now. Where they are others, there is a warning.

    Raises:
        ConfigError: It is another recipe; each key that differs is named.
    """
    check_recipe([record["recipe"], record["settled"]], config)
    facts = ("versions", "backend", "cpu_count", "devices", "strategy", "replicas", "processes")
    before, here = ({name: facts_of.get(name) for name in facts} for facts_of in (record["environment"], environment))
    changes = find_differences(before, here)
    if changes:
        warnings.warn(
            "The run goes on, and may no longer be to the bit what it would have been; over other devices it is so but "
            f"for the order in which numbers are summed:\n{list_lines(changes)}",
            TransferWarning,
            stacklevel=2,
        )


_MAY_DIFFER = ("checkpoint", "distribution", "trackers")


def check_recipe(recipes: Sequence[Mapping[str, Any]], config: RecipeConfig) -> None:
    """Compare a recipe to what was begun with it.

    Args:
        recipes: As JSON takes them; one of them is to be the same. How often checkpoints are taken may differ, and so
            may devices and trackers.
        config: The recipe.

    Raises:
        ConfigError: It is another recipe; each key that differs is named.
    """
    now = config.model_dump(mode="json", exclude=set(_MAY_DIFFER))
    different = min((find_differences(_what_counts(before), now) for before in recipes), key=len)
    if different:
        raise ConfigError(
            f"This is not the recipe that the run was begun with:\n{list_lines(different)}\n"
            "Give the same recipe and overrides, or the recipe.yaml in the run folder, or choose another --out."
        )


def _what_counts(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {name: section for name, section in recipe.items() if name not in _MAY_DIFFER}


def check_rows(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Compare the rows that a run was begun on to those that there are now.

    Args:
        before: Count, counts by class and fingerprint of each split.
        now: The same.

    Raises:
        DataError: They are others.
    """
    lines = []
    for name, split in now.items():
        if split["fingerprint"] != before[name]["fingerprint"]:
            counts = find_differences({"count": before[name]["count"]}, {"count": split["count"]}, f"{name} ")
            lines.append(counts[0] if counts else f"{name}: {split['count']} rows as before, but not the same ones")
    if lines:
        raise DataError(
            f"The data is not what the run was begun on:\n{list_lines(lines)}\n"
            "Put it back as it was, or choose another --out."
        )


def find_differences(before: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> list[str]:
    """Return a line for each key of nested mappings that is not alike.

    Args:
        before: What was.
        now: What is.
        path: What the keys begin with.
    """
    lines = []
    for key in dict.fromkeys((*before, *now)):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += find_differences(old, new, f"{path}{key}.")
        elif old != new:
            lines.append(f"{path}{key}: {old} when it was begun, {new} now")
    return lines
