"""Gradient accumulation: one update with the mean gradient of several batches, in the memory of one."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_transfer.networks.keras_internals import index_of, variables_of
from keras_transfer.networks.types import Batches, JsonObject, Optimizer, Tensor, Variable


@keras.saving.register_keras_serializable(package="keras_transfer")
class AccumulatingOptimizer(keras.optimizers.Optimizer):
    """Wraps an optimizer, which then makes one update for several batches, with the mean of their gradients.

    For a loss that is a mean over examples, and batches of one size, this equals the update for one batch of all
    examples. The last update may be for fewer batches. The wrapped optimizer counts updates, and so do its schedule and
    its averages of the weights; gradients are clipped after averaging. Its own ``gradient_accumulation_steps`` would
    lose the last, incomplete sum, average weights at every batch, and fail on several devices.

    A ``keras.optimizers.LossScaleOptimizer`` around it skips the batches whose gradients overflow: they are not
    counted, and the last sum of a phase may then be lost.

    Args:
        steps: Batches per update.
        batches: Total number of batches; there is always an update after the last one.

    Example:
        >>> weight = keras.Variable([1.0])
        >>> optimizer = AccumulatingOptimizer(keras.optimizers.SGD(0.1), steps=2, batches=3)
        >>> optimizer.build([weight])
        >>> for gradient in (1.0, 3.0, 4.0):
        ...     optimizer.apply([keras.ops.convert_to_tensor([gradient])])
        ...     print(f"{float(weight[0]):.1f}")
        1.0
        0.8
        0.4
    """

    def __init__(self, inner_optimizer: Any, *, steps: int, batches: int, name: str | None = None) -> None:
        super().__init__(learning_rate=0.0, name=name)
        self.inner_optimizer, self.steps, self.batches = inner_optimizer, steps, batches

    def build(self, variables: Sequence[Variable]) -> None:
        if self.built:
            return
        self.inner_optimizer.build(variables)
        super().build(variables)
        self._sums = [self.add_variable_from_reference(variable, name="gradient_sum") for variable in variables]
        self._held, self._seen, self._expected = (
            self.add_variable(shape=(), initializer=start, dtype="int", aggregation="only_first_replica", name=name)
            for name, start in (
                ("batches_in_sum", "zeros"),
                ("batches_seen", "zeros"),
                ("batches_expected", keras.initializers.Constant(self.batches)),
            )
        )

    @property
    def variables(self) -> list[Variable]:
        """Its own variables, and those of the wrapped optimizer."""
        return [*super().variables, *self.inner_optimizer.variables]

    @property
    def iterations(self) -> Any:
        """The number of updates."""
        return self.inner_optimizer.iterations

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the next update."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        """Set the learning rate of the wrapped optimizer."""
        self.inner_optimizer.learning_rate = value

    def expect(self, batches: int) -> None:
        """Set the number of batches after which the last update is made."""
        self._expected.assign(batches)

    def apply(self, grads: Sequence[Tensor | None], trainable_variables: Sequence[Variable] | None = None) -> None:
        """Add the gradients of a batch, and make an update if it is due.

        Args:
            grads: One per variable; None for a variable that the loss does not depend on.
            trainable_variables: By default, the variables that the optimizer was built on.
        """
        variables = variables_of(self) if trainable_variables is None else list(trainable_variables)
        pairs = [(gradient, one) for gradient, one in zip(grads, variables, strict=True) if gradient is not None]
        gradients, variables = [gradient for gradient, _ in pairs], [one for _, one in pairs]
        sums = [self._sums[index_of(self, one)] for one in variables]
        if keras.backend.backend() != "tensorflow":
            self._apply_without_branches(gradients, variables, sums)
        elif tf.distribute.has_strategy():
            self._apply_on_replicas(gradients, variables, sums)
        else:
            for total, gradient in zip(sums, gradients, strict=True):
                self.assign_add(total, gradient)
            self._count()
            keras.ops.cond(self._is_due(), lambda: self._update_and_clear(variables, sums), lambda: None)

    def _count(self) -> None:
        self._held.assign_add(1)
        self._seen.assign_add(1)

    def _is_due(self) -> Tensor:
        return keras.ops.logical_or(
            keras.ops.equal(self._held, self.steps), keras.ops.equal(self._seen, self._expected)
        )

    def _update(self, variables: Sequence[Variable], sums: Sequence[Variable], replicas: int = 1) -> None:
        ops = keras.ops
        count = self._held * replicas  # each replica has the sum over all of them, and these are summed again
        means = [ops.divide(total, ops.cast(count, total.dtype)) for total in sums]
        self.inner_optimizer.apply(means, list(variables))

    def _update_and_clear(self, variables: Sequence[Variable], sums: Sequence[Variable]) -> None:
        self._update(variables, sums)
        for total in sums:
            total.assign(keras.ops.zeros(total.shape, total.dtype))
        self._held.assign(0)

    def _apply_on_replicas(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable], sums: Sequence[Variable]
    ) -> None:
        """Add the gradients of all replicas on each one: checkpoints are then the same everywhere, and exact.

        A condition that requires communication between replicas has to be outside of them, as in Keras' loss scaling.
        """
        context = tf.distribute.get_replica_context()
        replicas = context.num_replicas_in_sync
        dense = [tf.convert_to_tensor(gradient) for gradient in gradients]  # an embedding's comes as rows
        summed = context.all_reduce(tf.distribute.ReduceOp.SUM, dense)

        def across(strategy: Any, summed: Sequence[Any]) -> None:
            def change(total: Variable, change: Any, *values: Any) -> None:
                strategy.extended.update(total.value, change, args=values, group=False)

            def update() -> None:
                strategy.extended.call_for_each_replica(self._update, args=(variables, sums, replicas))
                for total in sums:
                    change(total, lambda held: held.assign(tf.zeros_like(held)))
                self._held.assign(0)

            for total, gradient in zip(sums, summed, strict=True):
                change(total, lambda held, value: held.assign_add(value), gradient)
            self._count()
            keras.ops.cond(self._is_due(), update, lambda: None)

        context.merge_call(across, args=(summed,))

    def _apply_without_branches(
        self, gradients: Sequence[Tensor], variables: Sequence[Variable], sums: Sequence[Variable]
    ) -> None:
        """Always compute the update, and use it if it is due: on JAX, a branch may not assign."""
        ops = keras.ops
        self._count()
        due = self._is_due()
        for total, gradient in zip(sums, gradients, strict=True):
            total.assign_add(gradient)
        changed = [*variables, *self.inner_optimizer.variables]
        before = [ops.convert_to_tensor(one) for one in changed]
        self._update(variables, sums)
        for one, old in zip(changed, before, strict=True):
            one.assign(ops.where(due, ops.convert_to_tensor(one), old))
        for one in (*sums, self._held):
            value = ops.convert_to_tensor(one)
            one.assign(ops.where(due, ops.zeros_like(value), value))

    def finalize_variable_values(self, var_list: Sequence[Variable]) -> None:
        """Set the variables to their averages, if the wrapped optimizer has any."""
        self.inner_optimizer.finalize_variable_values(var_list)

    def get_config(self) -> JsonObject:
        """Return the configuration from which the optimizer can be made again, without its variables."""
        return {
            "name": self.name,
            "inner_optimizer": keras.saving.serialize_keras_object(self.inner_optimizer),
            "steps": self.steps,
            "batches": self.batches,
        }

    @classmethod
    def from_config(cls, config: JsonObject, custom_objects: Any = None) -> "AccumulatingOptimizer":
        inner = keras.saving.deserialize_keras_object(config["inner_optimizer"], custom_objects=custom_objects)
        return cls(inner, steps=config["steps"], batches=config["batches"], name=config["name"])


def count_updates(batches: int, steps: int) -> int:
    """Return the number of updates for batches; the last one may be for fewer than the others."""
    return -(-batches // steps)


def expect_batches(optimizer: Optimizer, batches: Batches) -> None:
    """Let an optimizer make its last update after the last of the given batches.

    Args:
        optimizer: The optimizer of a compiled model; one that does not accumulate gradients is not changed.
    """
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    if isinstance(optimizer, AccumulatingOptimizer):
        optimizer.expect(int(batches.cardinality()))
