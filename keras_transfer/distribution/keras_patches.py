"""Keras' ``fit``, ``evaluate`` and ``predict`` under ``tf.distribute``, and fixes for their problems there.

The behaviour of Keras 3.15 that is replaced while a strategy is in scope:

- Building a model reduces a batch over the devices, which fails if slices differ in size, and on several machines
  (https://github.com/keras-team/keras/issues/20585). Its shapes and types are enough.
- The logs of a step are reduced over machines along an axis that scalars do not have (the same issue).
- The losses of slices are averaged as if all slices had one size.
- Each device clips its gradients before they are summed.
- BatchNorm's statistics are per device, and those of the first device are saved.
- ``predict`` gives each device the whole batch, or splits what must not be split.
"""

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_transfer.errors import TransferWarning
from keras_transfer.networks import keras_internals
from keras_transfer.networks.batch_norm import adapting_statistics
from keras_transfer.networks.keras_internals import READ_IN, Patch, Place, patched
from keras_transfer.networks.types import Array, Batches, Model, Optimizer, Tensor, Tensors, Variable


def distribute_slices(strategy: tf.distribute.Strategy, dataset: Batches, *, local: int) -> Batches:
    """Convert a dataset of slices, one for each of a process's devices in turn, to a dataset of distributed batches.

    Returns:
        A dataset for ``fit`` and ``evaluate``.
    """
    distributed = strategy.distribute_datasets_from_function(lambda _: dataset)
    if distributed.cardinality > 0:  # TensorFlow 2.21 counts slices, and fit counts its steps by that
        keras_internals.set_cardinality(distributed, distributed.cardinality // local)
    return distributed


@contextlib.contextmanager
def patched_keras(strategy: tf.distribute.Strategy, *, processes: int) -> Iterator[None]:
    """Patch Keras so that models and optimizers train correctly under a strategy, while the block runs."""
    if not keras.__version__.startswith(f"{READ_IN}."):
        warnings.warn(
            f"Training over several devices replaces private methods of Keras {READ_IN}. Received: Keras "
            f"{keras.__version__}, with which it may fail, or train wrongly. Install keras=={READ_IN}.*, or compare a "
            "short run with distribution.strategy=none.",
            TransferWarning,
            stacklevel=4,
        )
    patches = _Patches(strategy, processes)
    places: dict[Place, Patch] = {
        "train_step": patches.train_step,
        "make_predict_function": patches.make_predict_function,
        "predict": patches.predict,
        "build_before_fit": patches.build_before_fit,
        "reduce_logs": patches.reduce_logs,
        "scale_loss": patches.scale_loss,
        "clip_gradients": patches.clip_gradients,
        "sum_gradients": patches.sum_gradients,
    }
    with contextlib.ExitStack() as stack:
        for place, patch in places.items():
            stack.enter_context(patched(place, patch))
        yield


Original = Callable[..., Any]


class _Patches:
    """Each method takes Keras' function and returns its replacement."""

    def __init__(self, strategy: tf.distribute.Strategy, processes: int) -> None:
        self._strategy, self._processes = strategy, processes
        self._replicas = strategy.num_replicas_in_sync
        # Devices are traced in separate threads, which take turns.
        self._here = threading.local()

    def train_step(self, original: Original) -> Original:
        def train_step(model: Model, data: Any) -> dict[str, Tensor]:
            context = tf.distribute.get_replica_context()
            rows = tf.cast(tf.shape(keras.tree.flatten(data)[0])[0], tf.float32)
            everywhere = context.all_reduce(tf.distribute.ReduceOp.SUM, rows)
            self._here.share = self._replicas * rows / everywhere
            logs = original(model, data)
            statistics = adapting_statistics(model)
            if statistics:
                # All at once: several small sums would take longer. They are read first, so that their device is known.
                packed = tf.concat([tf.identity(variable) for variable in statistics], axis=0)
                means = context.all_reduce(tf.distribute.ReduceOp.MEAN, packed)
                sizes = [variable.shape[0] for variable in statistics]
                for variable, mean in zip(statistics, tf.split(means, sizes), strict=True):
                    variable.assign(mean)
            return logs

        return train_step

    def scale_loss(self, original: Original) -> Original:
        """Divide the mean loss over a slice by the number of devices, weighted by the rows of the slice."""
        return lambda optimizer, loss: original(optimizer, loss) * self._here.share

    def reduce_logs(self, original: Original) -> Original:
        def reduce(values: Any, strategy: tf.distribute.Strategy, reduction: str) -> Any:
            """The means of a step's logs, all at once: one exchange is as fast for all of them as for one."""
            packed = strategy.run(lambda logs: tf.stack(keras.tree.flatten(logs)), args=(values,))
            means = tf.unstack(strategy.reduce("MEAN", packed, axis=None))
            return keras.tree.pack_sequence_as(values, means)

        return reduce

    def clip_gradients(self, original: Original) -> Original:
        self._clip = original
        return lambda optimizer, gradients: gradients

    def sum_gradients(self, original: Original) -> Original:
        """Clip gradients after they are summed."""

        def reduce(optimizer: Optimizer, pairs: Any) -> list[tuple[Tensor, Variable]]:
            gradients, variables = zip(*pairs, strict=True)
            sums = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, list(gradients))
            return list(zip(self._clip(optimizer, sums), variables, strict=True))

        return reduce

    def build_before_fit(self, original: Original) -> Original:
        def build(model: Model, iterator: Any = None, data_batch: Any = None) -> None:
            with self._strategy.scope():
                keras_internals.build_from_specs(model, iterator, data_batch)

        return build

    def make_predict_function(self, original: Original) -> Original:
        def make(model: Model, force: bool = False) -> None:
            if model.predict_function is not None and not force:
                return
            local = self._replicas // self._processes

            def predict_slice(inputs: Tensors) -> Tensors:
                context = tf.distribute.get_replica_context()
                number = tf.cast(context.replica_id_in_sync_group, tf.int32) % local
                return model(_slice(inputs, number, local), training=False)

            def join(value: Any) -> Tensor:
                return tf.concat(self._strategy.experimental_local_results(value), axis=0)

            def predict(data: Any) -> Tensors:
                inputs, _, _ = keras.utils.unpack_x_y_sample_weight(data[0])
                each = self._strategy.run(predict_slice, args=(inputs,))
                return keras.tree.map_structure(join, each)

            model.predict_function = tf.function(predict, reduce_retracing=True, autograph=False)

        return make

    def predict(self, original: Original) -> Original:
        def predict(model: Model, batches: Batches, verbose: Any = 0) -> Array:
            """Predict a dataset that this process alone has."""
            inputs = (keras.utils.unpack_x_y_sample_weight(batch)[0] for batch in batches)
            return np.concatenate([np.asarray(model.predict_on_batch(batch)) for batch in inputs])

        return predict


def _slice(inputs: Tensors, number: Tensor, of: int) -> Tensors:
    n = tf.shape(keras.tree.flatten(inputs)[0])[0]
    begin, end = number * n // of, (number + 1) * n // of
    return keras.tree.map_structure(lambda tensor: tensor[begin:end], inputs)
