"""Check that a run is resumed with the recipe, the rows and the versions that it was started with."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from keras_transfer.config.schema import RecipeConfig
from keras_transfer.errors import ConfigError, DataError, TransferWarning, list_lines
from keras_transfer.run.folder import UNKNOWN_CONTENT
from keras_transfer.storage.content_hashes import HASH


def describe_origin(
    recipe: RecipeConfig, resolved: RecipeConfig, *, environment: Mapping[str, Any], splits: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what every checkpoint of a run records of its recipe, data and environment.

    Args:
        recipe: The recipe as given, with absolute paths.
        resolved: The same recipe, with every ``auto`` resolved.
        splits: What data.json records of each.
    """
    return {
        "recipe": recipe.model_dump(mode="json"),
        "resolved": resolved.model_dump(mode="json"),
        "environment": environment,
        "splits": {name: {key: split[key] for key in ("count", "fingerprint")} for name, split in splits.items()},
        "hash": HASH,
    }


def check_origin(record: Mapping[str, Any], config: RecipeConfig, environment: Mapping[str, Any]) -> None:
    """Check that a run is resumed with what it was started with.

    Args:
        config: The recipe: either as it was given or with every ``auto`` resolved. How often checkpoints are written,
            and the devices of the run, may differ.
        environment: The current versions and devices. If they differ, there is a warning.

    Raises:
        ConfigError: The recipe differs; each key that differs is named.
    """
    check_recipe([record["recipe"], record["resolved"]], config)
    facts = ("versions", "backend", "cpu_count", "devices", "strategy", "replicas", "processes")
    before, here = ({name: facts_of.get(name) for name in facts} for facts_of in (record["environment"], environment))
    changes = find_differences(before, here)
    if changes:
        warnings.warn(
            "The run continues, but its weights may differ in the last digits from those of an uninterrupted run, "
            f"because the environment has changed; other devices sum numbers in another order:\n{list_lines(changes)}",
            TransferWarning,
            stacklevel=2,
        )


_MAY_DIFFER = ("checkpoint", "distribution", "trackers", "report")


def check_recipe(recipes: Sequence[Mapping[str, Any]], config: RecipeConfig) -> None:
    """Check that a recipe is the one that a run was started with.

    Args:
        recipes: As JSON objects; the recipe has to equal one of them. How often checkpoints are written may differ, and
            so may devices, trackers and the page.

    Raises:
        ConfigError: The recipe differs; each key that differs is named.
    """
    now = config.model_dump(mode="json", exclude=set(_MAY_DIFFER))
    different = min((find_differences(_what_counts(before), now) for before in recipes), key=len)
    if different:
        raise ConfigError(
            f"This is not the recipe that the run was started with:\n{list_lines(different)}\n"
            "Give the same recipe and overrides, or the recipe.yaml in the run folder, or choose another --out."
        )


def _what_counts(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {name: section for name, section in recipe.items() if name not in _MAY_DIFFER}


def check_rows(record: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Check that the rows, by name and content, are those that a run was started with.

    Args:
        record: What its checkpoints record, with count and fingerprint of each split.
        now: The current count and fingerprint of each split.

    Raises:
        DataError: The rows differ, or an early version recorded them in another way.
    """
    before, lines = record["splits"], []
    if record.get("hash") != HASH:
        raise DataError(f"The rows {UNKNOWN_CONTENT}. Choose another --out.")
    for name, split in now.items():
        if split["fingerprint"] != before[name]["fingerprint"]:
            counts = find_differences({"count": before[name]["count"]}, {"count": split["count"]}, f"{name} ")
            lines.append(counts[0] if counts else f"{name}: {split['count']} rows as before, but other ones")
    if lines:
        raise DataError(
            f"The data has changed since the run was started:\n{list_lines(lines)}\n"
            "Restore it, or choose another --out."
        )


def find_differences(before: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> list[str]:
    """Return a line for each key of nested mappings whose values differ."""
    lines = []
    # Another policy or network has other keys, which would only repeat that it is another one.
    renamed = "name" in before and before["name"] != now.get("name")
    for key in ["name"] if renamed else dict.fromkeys((*before, *now)):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += find_differences(old, new, f"{path}{key}.")
        elif old != new:
            lines.append(f"{path}{key}: {old} when the run was started, {new} now")
    return lines
