"""The phases of a job: the scope of a policy, and the resulting phases."""

from collections.abc import Sequence

import keras

from keras_transfer.config.schema import RecipeConfig
from keras_transfer.data.splits.splits import Splits
from keras_transfer.heads.solver import MOST_PRODUCTS
from keras_transfer.model import TransferModel
from keras_transfer.networks.keras_internals import parts
from keras_transfer.networks.lora import add_adapters
from keras_transfer.training.custom_parts import BUILT_IN, CustomParts
from keras_transfer.training.policies import Phase, Scope, plan


def plan_phases(
    config: RecipeConfig, model: TransferModel, splits: Splits, custom: CustomParts = BUILT_IN
) -> tuple[Phase, ...]:
    """Turn the policy of a recipe into phases.

    Raises:
        PolicyError: The policy does not fit the backbone.
    """
    return plan(config.policy, find_scope(config, model, splits, custom))


def find_scope(config: RecipeConfig, model: TransferModel, splits: Splits, custom: CustomParts = BUILT_IN) -> Scope:
    """Return the stages and epochs that a policy divides into phases.

    Args:
        config: The recipe. With ``policy.head_solver: auto``, the size of the problem decides whether a head is solved.
        custom: Loss, metrics and optimizer given from Python: with a custom loss, a head is not solved.
    """
    products = len(model.head.names) * model.top.input_shape[-1] * len(splits.train)
    can = model.head.is_solvable and not config.training.label_smoothing and products <= MOST_PRODUCTS
    can = can and custom.allows_solved_head
    solver = getattr(config.policy, "head_solver", "auto")
    solves = can if solver == "auto" else solver == "solve"
    stages = model.backbone.stages
    layers = (part for stage in stages for layer in stage.layers for part in parts(layer))
    norms = any(isinstance(layer, keras.layers.BatchNormalization) for layer in layers)
    return Scope(
        len(stages), config.training.epochs, solves_head=solves, has_batch_norm=norms, parts=model.backbone.parts
    )


def add_phase_adapters(model: TransferModel, phases: Sequence[Phase]) -> None:
    """Add the adapters that phases train."""
    for phase in phases:
        if phase.lora_rank is not None:
            add_adapters(model.backbone.stages, phase.stages, rank=phase.lora_rank, which=phase.lora_layers)
