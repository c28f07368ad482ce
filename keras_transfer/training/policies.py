"""Which stages train, at which relative learning rate, in which phase."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from keras_transfer.config import PolicyConfig
from keras_transfer.errors import PolicyError
from keras_transfer.registry import Registry


@dataclass(frozen=True)
class Phase:
    """One compile and fit with a fixed set of trainable weights. The head trains in every phase.

    Attributes:
        name: For history and progress.
        stages: Indices of the backbone's stages that train, in order.
        epochs: How often the training rows are seen.
        rate: Factor on the recipe's learning rate.
        batch_norm: ``frozen`` keeps the BatchNorm layers of training stages on their stored statistics and weights;
            ``adapt`` trains them. In frozen stages they are always frozen.
        stage_decay: Factor on the learning rate from each stage to the next one towards the input.
        weights: Which weights of the training stages train.
        lora_rank: Rank of the adapters that train in place of the weights of the training stages; None for none.
        lora_layers: Which layers get one.
        solve: Whether the head is solved instead of trained; no stage trains then.
    """

    name: str
    stages: tuple[int, ...]
    epochs: int
    rate: float
    batch_norm: Literal["frozen", "adapt"]
    stage_decay: float = 1.0
    weights: Literal["all", "batch_norm", "layer_norm", "bias"] = "all"
    lora_rank: int | None = None
    lora_layers: Literal["all", "query_value"] = "all"
    solve: bool = False

    def frozen_stages(self, stages: int) -> int:
        """Return how many stages, from the input on, stay as they are in this phase.

        Args:
            stages: How many the backbone has.
        """
        return min(self.stages, default=stages)


@dataclass(frozen=True)
class Scope:
    """What a policy has to divide into phases.

    Attributes:
        stages: How many stages the backbone has.
        epochs: The recipe's training.epochs.
        solves_head: Whether a phase that trains the head alone solves it.
    """

    stages: int
    epochs: int
    solves_head: bool


Policy = Callable[[PolicyConfig, Scope], tuple[Phase, ...]]
"""From the recipe's policy section and what there is to divide, to phases."""

POLICIES: Registry[Policy] = Registry("policy", PolicyError, group="keras_transfer.policies")

# Factors on the learning rate where a recipe gives none. What was fitted to the network as it is bears small steps; a
# few weights want larger ones: headlines, seeds 100 and 101, reached with `lora` 0.870 and 0.876 at a factor of 1,
# 0.910 and 0.894 at 3, 0.906 and 0.921 at 10; `bias` (seed 100) 0.712, 0.858 and 0.894; `lora` on one draw of 10 digits
# a class 0.882, 0.900 and 0.920.
_AFTER_HEAD, _FEW_WEIGHTS = 0.3, 10.0

# How many stages ``last_stages`` trains where a recipe does not say; for other policies that is all of them.
_LAST_STAGES = 3


def plan(config: PolicyConfig, scope: Scope) -> tuple[Phase, ...]:
    """Turn a recipe's policy into phases.

    Args:
        config: The recipe's policy section.
        scope: What there is to divide.

    Returns:
        The phases, in order.

    Raises:
        PolicyError: There is no such policy, or it does not fit the backbone.
    """
    return POLICIES[config.name](config, scope)


def _head(config: PolicyConfig, scope: Scope) -> tuple[Phase, ...]:
    return (_head_phase(scope, scope.epochs),)


def _head_phase(scope: Scope, epochs: int) -> Phase:
    return Phase("head", (), 1 if scope.solves_head else epochs, 1.0, "frozen", solve=scope.solves_head)


def _last_stages(config: PolicyConfig, scope: Scope) -> tuple[Phase, ...]:
    stages = _trained(config, scope, default=_LAST_STAGES)
    return (_stages_phase("last_stages", stages, scope.epochs, config),)


def _full(config: PolicyConfig, scope: Scope) -> tuple[Phase, ...]:
    return (_stages_phase("full", _all(scope), scope.epochs, config),)


def _lp_ft(config: PolicyConfig, scope: Scope) -> tuple[Phase, ...]:
    """Linear probing, then fine-tuning (Kumar et al. 2022, arXiv 2202.10054)."""
    head = _head_phase(scope, config.head_epochs)
    return (head, _stages_phase("fine_tune", _trained(config, scope), scope.epochs, config, after_head=True))


def _gradual(config: PolicyConfig, scope: Scope) -> tuple[Phase, ...]:
    """Gradual unfreezing (Howard and Ruder 2018, arXiv 1801.06146): the head, then group after group of stages."""
    released = _trained(config, scope)
    if config.groups > len(released):
        raise PolicyError(
            f"policy.groups: there are {len(released)} stages to divide. Received: {config.groups}. "
            f"Use 1 to {len(released)}."
        )
    phases = [_head_phase(scope, config.head_epochs)]
    for group in range(1, config.groups + 1):
        trained = released[len(released) - group * len(released) // config.groups :]
        epochs = scope.epochs if group == config.groups else config.group_epochs
        phases.append(_stages_phase(f"group_{group}", trained, epochs, config, after_head=True))
    return tuple(phases)


def _lora(config: PolicyConfig, scope: Scope) -> tuple[Phase, ...]:
    """Adapters of a low rank (Hu et al. 2021, arXiv 2106.09685)."""
    rate = config.fine_tune_rate or _FEW_WEIGHTS
    phase = Phase("lora", _trained(config, scope), scope.epochs, rate, "frozen", config.stage_decay)
    return (replace(phase, lora_rank=config.rank, lora_layers=config.lora_layers),)


def _some_weights(weights: Literal["batch_norm", "layer_norm", "bias"]) -> Policy:
    """Of each stage one kind of weights; ``bias`` is BitFit (Ben Zaken et al. 2021, arXiv 2106.10199)."""

    def policy(config: PolicyConfig, scope: Scope) -> tuple[Phase, ...]:
        rate = config.fine_tune_rate or _FEW_WEIGHTS
        phase = Phase(weights, _trained(config, scope), scope.epochs, rate, "adapt", config.stage_decay, weights)
        frozen = weights == "layer_norm" or (weights == "bias" and config.batch_norm == "frozen")
        return (replace(phase, batch_norm="frozen") if frozen else phase,)

    return policy


def _stages_phase(
    name: str, stages: tuple[int, ...], epochs: int, config: PolicyConfig, *, after_head: bool = False
) -> Phase:
    rate = config.fine_tune_rate or (_AFTER_HEAD if after_head else 1.0)
    # The head was fitted to what the network puts out on its stored statistics; those of a batch would spoil it.
    automatic: Literal["frozen", "adapt"] = "frozen" if after_head else "adapt"
    batch_norm = automatic if config.batch_norm == "auto" else config.batch_norm
    return Phase(name, stages, epochs, rate, batch_norm, config.stage_decay)


def _all(scope: Scope) -> tuple[int, ...]:
    return tuple(range(scope.stages))


def _trained(config: PolicyConfig, scope: Scope, *, default: int | None = None) -> tuple[int, ...]:
    """The last ``policy.stages``; where a recipe does not say how many, the default, or all."""
    count = config.stages or default or scope.stages
    if count > scope.stages:
        raise PolicyError(
            f"policy.stages: the backbone has {scope.stages} stages. Received: {count}. "
            f"Use 1 to {scope.stages}, or policy.name=full for all of them."
        )
    return _all(scope)[scope.stages - count :]


CANDIDATES = ("head", "last_stages", "lp_ft")
"""What ``auto`` chooses from, the least work first."""


def _auto(config: PolicyConfig, scope: Scope) -> tuple[Phase, ...]:
    """All that it may come to; what it does come to depends on the data (choice.py)."""
    return [POLICIES[name](config, scope) for name in CANDIDATES][-1]


for _name, _policy in (
    ("auto", _auto),
    ("head", _head),
    ("last_stages", _last_stages),
    ("full", _full),
    ("lp_ft", _lp_ft),
    ("gradual", _gradual),
    ("lora", _lora),
    ("batch_norm", _some_weights("batch_norm")),
    ("layer_norm", _some_weights("layer_norm")),
    ("bias", _some_weights("bias")),
):
    POLICIES.add(_name, _policy)
