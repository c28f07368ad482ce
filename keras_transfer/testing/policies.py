"""The contract of a policy."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from keras_transfer.config.policies import PolicyConfig
from keras_transfer.errors import PolicyError
from keras_transfer.training.policies import Phase, Policy, Scope

_MOST_STAGES = 24


def check_policy(policy: Policy[Any]) -> None:
    """Check that a policy fulfils its contract: divide backbones of 1 to 24 stages.

    The checks of the section: it can be made from its defaults, it refuses other names and unknown keys, and every key
    has a description. The checks of the phases: there is at least one, and the same section and scope always give the
    same ones; stages are indices of the backbone in order; epochs, rates and factors are in their ranges; a head is
    solved only if the scope says so, and never while stages train. A section that does not fit a scope is a PolicyError
    that names its key; with its defaults, a policy fits a backbone of 24 stages. A key ``stages`` counts from the head,
    and more stages than the backbone has are an error; if the key takes names, it trains the part of that name. A
    policy that solves heads has the key ``head_solver``.

    Args:
        policy: The policy.

    Raises:
        AssertionError: The policy does not fulfil the contract.

    Example:
        >>> from keras_transfer import POLICIES
        >>> check_policy(POLICIES["lp_ft"])
    """
    config = _check_section(policy)
    scopes = itertools.product(range(1, _MOST_STAGES + 1), (1, 5), (False, True))
    for scope in (Scope(*values) for values in scopes):
        phases = _divide(policy, config, scope, may_refuse=scope.stages < _MOST_STAGES)
        _check_phases(policy, phases, scope)
    if "stages" in policy.section.model_fields:
        _check_stages(policy)


def _check_section(policy: Policy[Any]) -> PolicyConfig:
    section, name = policy.section, policy.name
    _check(policy, issubclass(section, PolicyConfig), "its section is a subclass of PolicyConfig", section)
    try:
        config = section()
    except ValidationError as error:
        raise AssertionError(f"The contract of policy {name!r}: every key has a valid default. {error}") from error
    _check(policy, _refuses(section, name=f"not_{name}"), "`name` has its own name as the only value", config.name)
    _check(policy, _refuses(section, no_such_key=1), "the section refuses unknown keys", section)
    bare = [key for key, field in section.model_fields.items() if key != "name" and not field.description]
    _check(policy, not bare, "every key has a description", bare)
    return config


def _refuses(section: type[PolicyConfig], **keys: Any) -> bool:
    try:
        section.model_validate(keys)
    except ValidationError:
        return True
    return False


def _divide(
    policy: Policy[Any], config: PolicyConfig, scope: Scope, *, may_refuse: bool = False
) -> tuple[Phase, ...] | None:
    """The phases; None if the policy refuses the scope, which it may do with an error that names a key."""
    try:
        phases = policy.phases(config, scope)
    except PolicyError as error:
        _check(policy, may_refuse, f"{config!r} fits {scope}", error)
        _check(policy, "policy." in str(error), "a PolicyError names the key, such as policy.stages", error)
        return None
    except Exception as error:
        raise AssertionError(
            f"The contract of policy {policy.name!r}: a section that does not fit is a PolicyError. "
            f"Received for {scope}: {error!r}."
        ) from error
    again = policy.phases(config, scope)
    _check(policy, phases == again, f"{config!r} and {scope} always give the same phases", (phases, again))
    return phases


def _check_phases(policy: Policy[Any], phases: Sequence[Phase] | None, scope: Scope) -> None:
    if phases is None:
        return
    names = [phase.name for phase in phases]
    _check(policy, isinstance(phases, tuple) and len(phases) > 0, "there is a tuple of at least one phase", phases)
    _check(policy, all(names) and len(set(names)) == len(names), "phases have different names", names)
    for phase in phases:
        ordered = tuple(sorted(set(phase.stages) & set(range(scope.stages))))
        _check(policy, phase.stages == ordered, f"stages are indices below {scope.stages} in order", phase)
        _check(policy, isinstance(phase.epochs, int) and phase.epochs >= 1, "epochs are at least 1", phase)
        _check(policy, math.isfinite(phase.rate) and phase.rate > 0, "the rate is positive", phase)
        _check(policy, 0 < phase.stage_decay <= 1, "stage_decay is above 0 and at most 1", phase)
        _check(policy, phase.batch_norm in ("frozen", "adapt"), "batch_norm is frozen or adapt", phase)
        _check(policy, not phase.solve or scope.solves_head, "a head is solved only if the scope says so", phase)
        _check(policy, not (phase.solve and phase.stages), "no stage trains while the head is solved", phase)
    if any(phase.solve for phase in phases):
        keys = list(policy.section.model_fields)
        _check(policy, "head_solver" in keys, "a policy that solves heads has the key head_solver", keys)


def _check_stages(policy: Policy[Any]) -> None:
    for count in range(1, _MOST_STAGES + 1):
        scope, config = Scope(_MOST_STAGES, 2, solves_head=False), policy.section(stages=count)
        phases = _divide(policy, config, scope, may_refuse=count < _MOST_STAGES)
        _check_phases(policy, phases, scope)
        trained = {index for phase in phases or () for index in phase.stages}
        expected = set(range(_MOST_STAGES - count, _MOST_STAGES))
        _check(policy, phases is None or trained == expected, f"stages={count} trains the last {count}", phases)
        few = Scope(count, 2, solves_head=False)
        phases = _divide(policy, policy.section(stages=count + 1), few, may_refuse=True)
        _check(policy, phases is None, f"stages={count + 1} is an error if there are {count} stages", phases)
    if not _refuses(policy.section, stages="first"):
        _check_part(policy)


def _check_part(policy: Policy[Any]) -> None:
    parts = {"first": range(_MOST_STAGES // 3), "second": range(_MOST_STAGES // 3, _MOST_STAGES)}
    scope = Scope(_MOST_STAGES, 2, solves_head=False, parts=parts)
    for name, part in parts.items():
        phases = _divide(policy, policy.section(stages=name), scope)
        _check_phases(policy, phases, scope)
        trained = {index for phase in phases or () for index in phase.stages}
        _check(policy, trained == set(part), f"stages={name} trains the part of that name", phases)
    phases = _divide(policy, policy.section(stages="third"), scope, may_refuse=True)
    _check(policy, phases is None, "stages=third is an error if there is no such part", phases)


def _check(policy: Policy[Any], holds: bool, rule: str, received: Any) -> None:
    if not holds:
        raise AssertionError(f"The contract of policy {policy.name!r}: {rule}. Received: {received!r}.")
