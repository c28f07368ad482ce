"""Which stages train, at which relative learning rate, in which phase."""

from collections.abc import Callable
from dataclasses import dataclass
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
    solve: bool = False


Policy = Callable[[PolicyConfig, int, int], tuple[Phase, ...]]
"""From the recipe's policy section, the number of stages and training.epochs to phases."""

POLICIES: Registry[Policy] = Registry("policy", PolicyError)


def plan(config: PolicyConfig, *, stages: int, epochs: int) -> tuple[Phase, ...]:
    """Turn a recipe's policy into phases.

    Args:
        config: The recipe's policy section.
        stages: How many stages the backbone has.
        epochs: The recipe's training.epochs.

    Returns:
        The phases, in order.

    Raises:
        PolicyError: There is no such policy, or it does not fit the backbone.
    """
    return POLICIES[config.name](config, stages, epochs)


def _head(config: PolicyConfig, stages: int, epochs: int) -> tuple[Phase, ...]:
    return (Phase("head", (), epochs, 1.0, "frozen"),)


def _last_stages(config: PolicyConfig, stages: int, epochs: int) -> tuple[Phase, ...]:
    if config.stages > stages:
        raise PolicyError(
            f"policy.stages: the backbone has {stages} stages. Received: {config.stages}. "
            f"Use 1 to {stages}, or policy.name=full for all of them."
        )
    trained = tuple(range(stages - config.stages, stages))
    return (Phase("last_stages", trained, epochs, 1.0, config.batch_norm),)


def _full(config: PolicyConfig, stages: int, epochs: int) -> tuple[Phase, ...]:
    return (Phase("full", tuple(range(stages)), epochs, 1.0, config.batch_norm),)


def _lp_ft(config: PolicyConfig, stages: int, epochs: int) -> tuple[Phase, ...]:
    """Linear probing, then fine-tuning (Kumar et al. 2022, arXiv 2202.10054)."""
    head = Phase("head", (), config.head_epochs, 1.0, "frozen")
    full = Phase("fine_tune", tuple(range(stages)), epochs, config.fine_tune_rate, config.batch_norm)
    return (head, full)


for _name, _policy in (("head", _head), ("last_stages", _last_stages), ("full", _full), ("lp_ft", _lp_ft)):
    POLICIES.add(_name, _policy)
