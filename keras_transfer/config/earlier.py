"""Recipes in run folders that earlier versions wrote, as this version reads them."""

from collections.abc import Mapping
from typing import Any

from keras_transfer.config.policies import POLICY_SECTIONS

# The keys that every policy section had before each policy had a section of its own; a run wrote all of them.
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
    """Return a run's recipe with the keys that its policy uses.

    A key that the policy does not use had no effect, whatever its value. None, and ``auto`` for BatchNorm, stood for
    the policy's own default.
    """
    policy = values.get("policy")
    if not isinstance(policy, Mapping) or set(policy) != _ALL_POLICIES or policy["name"] not in POLICY_SECTIONS:
        return dict(values)
    used = POLICY_SECTIONS[policy["name"]].model_fields
    kept = {key: value for key, value in policy.items() if key in used and value is not None}
    if kept.get("batch_norm") == "auto":
        del kept["batch_norm"]
    return {**values, "policy": kept}
