"""Keras' ``fit``, ``evaluate`` and ``predict`` under ``tf.distribute``, and what of them is wrong there put right.

Private methods of Keras, as they are in 3.15.1, are used here and nowhere else:

- ``_maybe_symbolic_build`` takes a batch and reduces it over the devices, which fails where slices differ in size, and
  on several machines (https://github.com/keras-team/keras/issues/20585). A batch's shapes and types are all it needs.
- ``reduce_per_replica`` reduces what a step returns over machines along an axis that scalars do not have (the same).
- The losses of slices are averaged as if all had one size.
- ``_clip_gradients`` clips the gradients of each device before ``_all_reduce_sum_gradients`` adds them up.
- BatchNorm's statistics are those that each device has seen, and the first device's are saved.
- ``predict`` gives each device the whole batch, or takes apart what is not to be taken apart.
"""

import contextlib
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_transfer.errors import TransferWarning
from keras_transfer.networks.batch_norm import adapting_statistics

KNOWN_KERAS = "3.15"
"""The version of Keras whose private methods these are."""


def distribute_slices(strategy: Any, dataset: Any, *, local: int) -> Any:
    """Turn a dataset of slices, one for each of a process's devices in turn, into one of distributed batches.

    Args:
        strategy: Of ``tf.distribute``.
        dataset: Of this process.
        local: How many devices this process has.

    Returns:
        What ``fit`` and ``evaluate`` take.
    """
    distributed = strategy.distribute_datasets_from_function(lambda _: dataset)
    if distributed.cardinality > 0:  # TensorFlow 2.21 counts slices, and fit counts its steps by that
        distributed._cardinality = distributed.cardinality // local
    return distributed


@contextlib.contextmanager
def mended_keras(strategy: tf.distribute.Strategy, *, processes: int) -> Iterator[None]:
    """Let models and optimizers of Keras do right under a strategy, for a while.

    Args:
        strategy: Of ``tf.distribute``, over one process or several.
        processes: How many.

    Yields:
        Nothing.
    """
    if not keras.__version__.startswith(f"{KNOWN_KERAS}."):
        warnings.warn(
            f"Training over several devices replaces private methods of Keras {KNOWN_KERAS}, and this is "
            f"{keras.__version__}: it may fail, or train wrongly. Compare a short run with distribution.strategy=none, "
            f"or install keras=={KNOWN_KERAS}.*.",
            TransferWarning,
            stacklevel=4,
        )
    mended = _Mended(strategy, processes)
    trainer = sys.modules[keras.Model.make_train_function.__module__]
    methods: dict[Any, tuple[str, ...]] = {
        keras.Model: ("train_step", "make_predict_function", "predict", "_maybe_symbolic_build"),
        keras.optimizers.Optimizer: ("scale_loss", "_clip_gradients", "_all_reduce_sum_gradients"),
        trainer: ("reduce_per_replica",),
    }
    with contextlib.ExitStack() as stack:
        for owner, names in methods.items():
            for name in names:
                stack.enter_context(replaced(owner, name, getattr(mended, name.lstrip("_"))))
        yield


@contextlib.contextmanager
def replaced(owner: Any, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """Put another function in a place for a while.

    Args:
        owner: A class or a module; classes derived from it see it too.
        name: Of the place.
        make: From what was there before to what takes its place.

    Yields:
        Nothing.
    """
    own, before = vars(owner).get(name), getattr(owner, name)
    setattr(owner, name, make(before))
    try:
        yield
    finally:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)


class _Mended:
    """Each method takes Keras' own and returns the one to put in its place."""

    def __init__(self, strategy: Any, processes: int) -> None:
        self._strategy, self._processes = strategy, processes
        self._replicas = strategy.num_replicas_in_sync
        # Devices are traced in threads of their own, which take turns.
        self._here = threading.local()

    def train_step(self, original: Any) -> Any:
        def train_step(model: Any, data: Any) -> Any:
            context = tf.distribute.get_replica_context()
            rows = tf.cast(tf.shape(keras.tree.flatten(data)[0])[0], tf.float32)
            everywhere = context.all_reduce(tf.distribute.ReduceOp.SUM, rows)
            self._here.share = self._replicas * rows / everywhere
            logs = original(model, data)
            statistics = adapting_statistics(model)
            if statistics:
                # All at once: as many small sums take longer. They are read first, so that their device is known.
                packed = tf.concat([tf.identity(variable) for variable in statistics], axis=0)
                means = context.all_reduce(tf.distribute.ReduceOp.MEAN, packed)
                sizes = [variable.shape[0] for variable in statistics]
                for variable, mean in zip(statistics, tf.split(means, sizes), strict=True):
                    variable.assign(mean)
            return logs

        return train_step

    def scale_loss(self, original: Any) -> Any:
        """The loss is the mean over a slice, divided by the number of devices: a slice counts by its rows."""
        return lambda optimizer, loss: original(optimizer, loss) * self._here.share

    def reduce_per_replica(self, original: Any) -> Any:
        def reduce(values: Any, strategy: Any, reduction: str) -> Any:
            """The means of a step's figures, all at once: to ask the network for each takes as long as for all."""
            packed = strategy.run(lambda figures: tf.stack(keras.tree.flatten(figures)), args=(values,))
            means = tf.unstack(strategy.reduce("MEAN", packed, axis=None))
            return keras.tree.pack_sequence_as(values, means)

        return reduce

    def clip_gradients(self, original: Any) -> Any:
        self._clip = original
        return lambda optimizer, gradients: gradients

    def all_reduce_sum_gradients(self, original: Any) -> Any:
        """Gradients are clipped once they are whole."""

        def reduce(optimizer: Any, pairs: Any) -> list[Any]:
            gradients, variables = zip(*pairs, strict=True)
            sums = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, list(gradients))
            return list(zip(self._clip(optimizer, sums), variables, strict=True))

        return reduce

    def maybe_symbolic_build(self, original: Any) -> Any:
        def build(model: Any, iterator: Any = None, data_batch: Any = None) -> None:
            if iterator is not None:
                data_batch = keras.tree.map_structure(_spec_of_one, iterator._get_iterator().element_spec)
            with self._strategy.scope():
                model._symbolic_build(data_batch=data_batch)

        return build

    def make_predict_function(self, original: Any) -> Any:
        def make(model: Any, force: bool = False) -> None:
            if model.predict_function is not None and not force:
                return
            local = self._replicas // self._processes

            def predict_slice(inputs: Any) -> Any:
                context = tf.distribute.get_replica_context()
                number = tf.cast(context.replica_id_in_sync_group, tf.int32) % local
                return model(_slice(inputs, number, local), training=False)

            def join(value: Any) -> Any:
                return tf.concat(self._strategy.experimental_local_results(value), axis=0)

            def predict(data: Any) -> Any:
                inputs, _, _ = keras.utils.unpack_x_y_sample_weight(data[0])
                each = self._strategy.run(predict_slice, args=(inputs,))
                return keras.tree.map_structure(join, each)

            model.predict_function = tf.function(predict, reduce_retracing=True, autograph=False)

        return make

    def predict(self, original: Any) -> Any:
        def predict(model: Any, batches: Any, verbose: Any = 0) -> Any:
            """Over a dataset of this process's own."""
            inputs = (keras.utils.unpack_x_y_sample_weight(batch)[0] for batch in batches)
            return np.concatenate([np.asarray(model.predict_on_batch(batch)) for batch in inputs])

        return predict


def _spec_of_one(spec: Any) -> Any:
    """The shape and type of one device's slice."""
    values = getattr(spec, "_value_specs", None)
    return values[0] if values else spec


def _slice(inputs: Any, number: Any, of: int) -> Any:
    n = tf.shape(keras.tree.flatten(inputs)[0])[0]
    begin, end = number * n // of, (number + 1) * n // of
    return keras.tree.map_structure(lambda tensor: tensor[begin:end], inputs)
