"""Optimizers and their schedules."""

from collections.abc import Iterable
from typing import Any

import keras

from keras_transfer.config import TrainingConfig


def build_schedule(
    config: TrainingConfig, *, rate: float, steps: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Make a schedule that rises in a line from 0, then falls as a cosine to 0 or stays.

    Args:
        config: Learning rate, warm-up and schedule.
        rate: Factor on the learning rate.
        steps: How many steps the phase has.

    Returns:
        A function of the step.
    """
    warmup = round(config.warmup * steps)
    peak = config.learning_rate * rate
    # A cosine that falls to all of its peak is constant.
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else peak,
        decay_steps=max(steps - warmup, 1),
        alpha=1.0 if config.schedule == "constant" else 0.0,
        warmup_target=peak if warmup else None,
        warmup_steps=warmup,
    )


def build_optimizer(
    config: TrainingConfig, *, rate: float, steps: int, variables: Iterable[Any]
) -> keras.optimizers.Optimizer:
    """Make AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) for a phase.

    Args:
        config: Rate, decay and clipping.
        rate: The phase's factor on the learning rate.
        steps: How many steps the phase has.
        variables: What will be trained; biases and the weights of norms, which have at most one axis, do not decay.

    Returns:
        The optimizer, not yet built.
    """
    optimizer = keras.optimizers.AdamW(
        learning_rate=build_schedule(config, rate=rate, steps=steps),
        weight_decay=config.weight_decay,
        global_clipnorm=config.clip_norm,
    )
    optimizer.exclude_from_weight_decay(var_list=[variable for variable in variables if len(variable.shape) <= 1])
    return optimizer
