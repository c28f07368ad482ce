"""The optimizer and its learning rate schedule."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_transfer.config.training import TrainingConfig
from keras_transfer.errors import ConfigError
from keras_transfer.model import TransferModel
from keras_transfer.networks.keras_internals import averages_of, index_of, variables_of
from keras_transfer.networks.types import JsonObject, Tensor, Variable
from keras_transfer.training.policies import Phase


def build_schedule(
    config: TrainingConfig, *, rate: float, steps: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Make a schedule that increases linearly from 0, then decreases as a cosine to 0 or stays constant.

    Returns:
        A function of the step.

    Raises:
        ConfigError: The learning rate is still ``auto``.
    """
    if config.learning_rate == "auto":
        raise ConfigError(
            "training.learning_rate must be a number once training begins. Received: 'auto'. "
            "Use the one that Recipe.find_learning_rate or `keras-transfer find-lr` suggests."
        )
    warmup = round(config.warmup * steps)
    peak = config.learning_rate * rate
    # A cosine that decreases to its full peak is constant.
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else peak,
        decay_steps=max(steps - warmup, 1),
        alpha=1.0 if config.schedule == "constant" else 0.0,
        warmup_target=peak if warmup else None,
        warmup_steps=warmup,
    )


# As in keras.optimizers.AdamW: how slowly the running means of gradients and of their squares change; the least
# denominator.
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7


@keras.saving.register_keras_serializable(package="keras_transfer")
class StagedAdamW(keras.optimizers.Optimizer):
    """AdamW with a learning rate factor for each variable, L2-SP, and slots that persist across phases.

    AdamW is that of Loshchilov and Hutter (2019, arXiv 1711.05101). If all factors are 1 and all weights started
    together, the steps are those of ``keras.optimizers.AdamW``, except that biases and the weights of norms, which have
    at most one axis, never decay. L2-SP (Li et al. 2018, arXiv 1802.01483) lets pretrained weights decay towards their
    initial values instead of zero; like weight decay it is decoupled from the gradient.

    ``keras.optimizers.MultiOptimizer`` would give each group of variables its own optimizer, but it clips each group by
    a separate norm and has no ``learning_rate``.

    Values per variable are in the order of the variables that the optimizer is built on.

    Args:
        weight_decay: Share of a weight that is subtracted in a step, times the learning rate.
        factors: On the learning rate, and with it on the decay, one per variable; all 1 by default.
        l2_sp: Share of the distance from the start that is subtracted in a step, times the learning rate.
        new: Whether a variable has no pretrained start, and so keeps weight decay; none by default.
        **options: Options of ``keras.optimizers.Optimizer``, such as ``global_clipnorm`` and ``use_ema``.

    Attributes:
        references: The value towards which L2-SP pulls each variable: an optimizer variable or None; set when it is
            built.
    """

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        *,
        weight_decay: float = 0.0,
        factors: Sequence[float] | None = None,
        l2_sp: float = 0.0,
        new: Sequence[bool] | None = None,
        **options: Any,
    ) -> None:
        # Keras' own weight decay has one rate for all and stays off: its attribute weight_decay is None.
        super().__init__(learning_rate, **options)
        self.decay = weight_decay
        self.factors = None if factors is None else tuple(factors)
        self.l2_sp = l2_sp
        self.new = None if new is None else tuple(new)

    def build(self, variables: Sequence[Variable]) -> None:
        """Create the slots; only the first call has an effect.

        Raises:
            ValueError: ``factors`` or ``new`` do not have one value per variable.
        """
        if self.built:
            return
        for name, values in (("factors", self.factors), ("new", self.new)):
            if values is not None and len(values) != len(variables):
                raise ValueError(
                    f"StagedAdamW: {name} must be one for each of the {len(variables)} variables. "
                    f"Received: {len(values)}. Give them in the order of the variables."
                )
        super().build(variables)
        self._momentums, self._velocities = self.add_optimizer_variables(variables, ["momentum", "velocity"])
        # Keras counts the steps of the optimizer; a weight's are those and the ones that it had in earlier optimizers.
        self._steps_before = self.add_variable(
            shape=(len(variables),), dtype="int", aggregation="only_first_replica", name="steps_before"
        )
        self._factors = self.factors or (1.0,) * len(variables)
        new = self.new or (False,) * len(variables)
        pulled = [bool(self.l2_sp) and not new[i] and _decays(variable) for i, variable in enumerate(variables)]
        self.references = tuple(
            self._add_reference(variable) if pull else None for variable, pull in zip(variables, pulled, strict=True)
        )
        if self.use_ema:
            # Keras' averages are zeros before the first step: using them then would erase the model.
            for average, variable in zip(averages_of(self), variables, strict=True):
                if average is not None:
                    average.assign(keras.ops.copy(variable))

    def _add_reference(self, variable: Variable) -> Variable:
        # A copy: JAX may not be given one buffer as two variables.
        return self.add_variable_from_reference(
            variable, name="reference", initializer=lambda shape, dtype=None: keras.ops.copy(variable)
        )

    def update_step(self, gradient: Tensor, variable: Variable, learning_rate: Tensor) -> None:
        """Update one variable."""
        ops, dtype, index = keras.ops, variable.dtype, index_of(self, variable)
        mean, square, reference = self._momentums[index], self._velocities[index], self.references[index]
        gradient = ops.cast(gradient, dtype)
        rate = ops.cast(learning_rate, dtype) * self._factors[index]
        step = ops.cast(self.iterations + self._steps_before[index] + 1, dtype)

        if reference is not None:
            self.assign_sub(variable, ops.multiply(ops.subtract(variable, reference), rate * self.l2_sp))
        elif self.decay and _decays(variable):
            self.assign_sub(variable, ops.multiply(variable, rate * self.decay))
        if _has_kernel(variable):
            self._move_by_kernel(variable, gradient=gradient, mean=mean, square=square, rate=rate, step=step)
            return
        self.assign_add(mean, ops.multiply(ops.subtract(gradient, mean), 1 - _BETA_1))
        self.assign_add(square, ops.multiply(ops.subtract(ops.square(gradient), square), 1 - _BETA_2))
        # Both running means start at zero; this is the ratio of their bias corrections.
        bias = ops.sqrt(1 - ops.power(_BETA_2, step)) / (1 - ops.power(_BETA_1, step))
        self.assign_sub(variable, ops.divide(ops.multiply(mean, rate * bias), ops.add(ops.sqrt(square), _EPSILON)))

    def _move_by_kernel(
        self, variable: Variable, *, gradient: Tensor, mean: Variable, square: Variable, rate: Tensor, step: Tensor
    ) -> None:
        """Do the same in one pass over memory: four times as fast on two cores, which matters for short texts."""
        tf.raw_ops.ResourceApplyAdam(
            var=_resource(variable).handle,
            m=_resource(mean).handle,
            v=_resource(square).handle,
            beta1_power=tf.pow(tf.cast(_BETA_1, variable.dtype), step),
            beta2_power=tf.pow(tf.cast(_BETA_2, variable.dtype), step),
            lr=rate,
            beta1=_BETA_1,
            beta2=_BETA_2,
            epsilon=_EPSILON,
            grad=tf.convert_to_tensor(gradient),  # that of an embedding is sparse
        )

    def carry_over(self, earlier: "StagedAdamW") -> None:
        """Take over the slots of the variables that an earlier optimizer also trained.

        Training of those variables continues without interruption, while the others start with new slots, each with the
        bias correction of its own number of steps. The schedule and the averages of the weights restart.
        """
        indices = {id(variable): index for index, variable in enumerate(variables_of(earlier))}
        steps = keras.ops.convert_to_numpy(earlier._steps_before) + int(earlier.iterations)
        counts = keras.ops.convert_to_numpy(self._steps_before).copy()
        for index, variable in enumerate(variables_of(self)):
            if (before := indices.get(id(variable))) is None:
                continue
            counts[index] = steps[before]
            for slot, earlier_slot in (
                (self._momentums[index], earlier._momentums[before]),
                (self._velocities[index], earlier._velocities[before]),
                (self.references[index], earlier.references[before]),
            ):
                if slot is not None and earlier_slot is not None:
                    slot.assign(keras.ops.copy(earlier_slot))
        self._steps_before.assign(counts)

    def get_config(self) -> JsonObject:
        """Return the configuration from which the optimizer can be made again, without its variables."""
        return {
            **super().get_config(),
            "weight_decay": self.decay,
            "factors": None if self.factors is None else list(self.factors),
            "l2_sp": self.l2_sp,
            "new": None if self.new is None else list(self.new),
        }


def _has_kernel(variable: Variable) -> bool:
    """Whether TensorFlow's own Adam kernel can update a variable; for a mirrored one, each device's part."""
    return keras.backend.backend() == "tensorflow" and hasattr(_resource(variable), "handle")


def _resource(variable: Variable) -> Tensor:
    """The TensorFlow variable that a Keras variable wraps; Keras passes it to the optimizer unwrapped (3.15)."""
    return variable.value if isinstance(variable, keras.Variable) else variable


def _decays(variable: Variable) -> bool:
    """Whether a variable decays: it is neither a bias nor a weight of a norm."""
    return len(variable.shape) > 1


def build_optimizer(
    config: TrainingConfig,
    *,
    rate: float,
    steps: int,
    variables: Sequence[Variable],
    factors: Sequence[float] | None = None,
    new_variables: Iterable[Variable] = (),
) -> StagedAdamW:
    """Make the optimizer of a phase.

    Args:
        variables: The variables to train, in the order of the model's ``trainable_variables``.
        factors: Factors on the learning rate, one per variable; all 1 by default.
        new_variables: Variables that are not pretrained, such as the head's: with ``config.l2_sp`` they keep weight
            decay.

    Returns:
        The optimizer, built on the variables.
    """
    new = {id(variable) for variable in new_variables}
    optimizer = StagedAdamW(
        build_schedule(config, rate=rate, steps=steps),
        factors=factors,
        l2_sp=config.l2_sp,
        new=[id(variable) in new for variable in variables] if config.l2_sp else None,
        weight_decay=config.weight_decay,
        global_clipnorm=config.clip_norm,
        use_ema=config.ema > 0.0,
        ema_momentum=config.ema,
    )
    optimizer.build(list(variables))
    return optimizer


def rate_factors(model: TransferModel, phase: Phase, variables: Sequence[Variable]) -> list[float]:
    """Return each variable's factor on the learning rate: 1 in the head, lower from stage to stage towards the input.

    Howard and Ruder 2018 (arXiv 1801.06146) divide by 2.6 per layer.

    Args:
        phase: Its ``stage_decay`` is the factor from stage to stage.
    """
    depth = {
        id(weight): len(model.backbone.stages) - stage.index
        for stage in model.backbone.stages
        for weight in stage.weights
    }
    return [phase.stage_decay ** depth.get(id(variable), 0) for variable in variables]
