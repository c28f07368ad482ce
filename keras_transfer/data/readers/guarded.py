"""Functions of a graph that may fail for some rows of a batch, without harm to the others."""

from collections.abc import Callable

import tensorflow as tf

from keras_transfer.networks.types import Tensor


def try_each(function: Callable[[Tensor], Tensor], elements: Tensor, shape: list[int]) -> tuple[Tensor, Tensor]:
    """Apply a function to each element of a batch; operations that fail for one leave the others alone.

    A graph has no ``try``: an operation that fails ends its whole call. Elements of a tf.data dataset are an exception,
    for ``ignore_errors`` drops those that fail.

    Args:
        function: From an element, ``[]``, to ``float32[*shape]``.
        elements: ``[batch]``.

    Returns:
        ``float32[batch, *shape]``, zeros for elements that failed, and ``bool[batch]``, which did not fail.
    """
    rows = tf.size(elements, tf.int64)
    options = tf.data.Options()
    options.autotune.enabled = False  # its thread outlives the call

    def apply(row: Tensor, element: Tensor) -> tuple[Tensor, Tensor]:
        return row, tf.ensure_shape(function(element), shape)

    apply = tf.autograph.experimental.do_not_convert(apply)
    # As many at a time as the machine that runs the graph has cores.
    found = tf.data.Dataset.from_tensor_slices((tf.range(rows), elements)).map(
        apply, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    # One row more than there are, so that there is a batch even if all fail.
    last = tf.data.Dataset.from_tensors((rows, tf.zeros(shape)))
    batch = found.ignore_errors().concatenate(last).batch(rows + 1).with_options(options)
    places, values = batch.get_single_element()
    places, values = tf.reshape(places, [-1, 1])[:-1], tf.ensure_shape(values, [None, *shape])[:-1]
    ok = tf.scatter_nd(places, tf.ones(tf.shape(places)[:1], tf.bool), tf.stack([rows]))
    whole = tf.cond(
        tf.reduce_all(ok),
        lambda: values,
        lambda: tf.scatter_nd(places, values, tf.concat([[rows], tf.constant(shape, tf.int64)], axis=0)),
    )
    return tf.ensure_shape(whole, [None, *shape]), ok
