"""Networks for clips of one length on recordings of any length: windows, and the mean over windows.

Both layers only use operations that TensorFlow, JAX, ONNX and LiteRT have, for any number of recordings and samples.
Shapes depend only on the batch's shape, so that JAX can compile them: each recording gets as many windows as the batch
is long, and unused ones are ignored.
"""

from typing import Any, Literal

import keras

from keras_transfer.networks.types import JsonObject, SymbolicTensor, Tensor


@keras.saving.register_keras_serializable(package="keras_transfer")
class Windows(keras.layers.Layer):
    """Windows of recordings, evenly spaced from their first sample to their last.

    Zeros at the end of a recording are padding, and not part of it. A recording of up to ``samples`` samples is one
    window; a longer one has ``n = ceil(length / samples)`` of them, and window ``j`` starts at sample
    ``round(j * (length - samples) / (n - 1))``.

    Args:
        samples: Length of a window.
        padding: How shorter recordings are padded: ``silence``, or ``repeat`` to repeat the recording.

    Returns:
        From ``float32[batch, time]`` to windows, ``float32[batch * n, samples]``, recording by recording, and to
        ``float32[batch, n]``: 1 for the windows that a recording has, 0 for others.
    """

    needs_float32 = True

    def __init__(self, samples: int, padding: Literal["silence", "repeat"] = "silence", **options: Any) -> None:
        super().__init__(**{**options, "dtype": "float32"})
        self.samples, self.padding = samples, padding

    def call(self, recordings: Tensor) -> tuple[Tensor, Tensor]:
        ops, size = keras.ops, self.samples
        batch, time = ops.shape(recordings)
        ends = ops.where(ops.not_equal(recordings, 0), ops.arange(1, time + 1, dtype="int32"), 0)
        length = ops.max(ends, axis=1, keepdims=True)
        needed = ops.maximum((length + (size - 1)) // size, 1)
        number = ops.expand_dims(ops.arange((time + (size - 1)) // size, dtype="int32"), 0)
        counts = ops.cast(number < needed, "float32")
        start = _place_evenly(ops.minimum(number, needed - 1), ops.maximum(length - size, 0), needed - 1)
        # Not by indices: LiteRT slices no tensor of an open shape into a new axis.
        place = ops.expand_dims(start, -1) + ops.arange(size, dtype="int32")
        end = ops.expand_dims(length, -1)
        if self.padding == "repeat":
            place = place % ops.maximum(end, 1)
        # Positions in the flattened batch.
        first = ops.expand_dims(ops.arange(batch, dtype="int32"), (1, 2)) * time
        windows = ops.take(ops.reshape(recordings, (-1,)), first + ops.minimum(place, time - 1), axis=0)
        windows = ops.where(place < end, windows, 0.0)
        return ops.reshape(windows, (-1, size)), counts

    def compute_output_spec(self, recordings: SymbolicTensor) -> tuple[SymbolicTensor, SymbolicTensor]:
        """Return the shapes: JAX cannot infer them if dimensions are unknown."""
        windows = keras.KerasTensor((None, self.samples), "float32")
        return windows, keras.KerasTensor((recordings.shape[0], None), "float32")

    def get_config(self) -> JsonObject:
        return {**super().get_config(), "samples": self.samples, "padding": self.padding}


def _place_evenly(number: Tensor, last: Tensor, intervals: Tensor) -> Tensor:
    """``round(number * last / intervals)`` in whole numbers, which give the same everywhere and do not overflow."""
    intervals = keras.ops.maximum(intervals, 1)
    whole, rest = last // intervals, last % intervals
    return number * whole + (2 * number * rest + intervals) // (2 * intervals)


@keras.saving.register_keras_serializable(package="keras_transfer")
class MeanOverWindows(keras.layers.Layer):
    """The mean of a network's outputs over the windows of each recording.

    From ``float32[batch * n, outputs]`` and the second output of :class:`Windows` to ``float32[batch, outputs]``.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "dtype": "float32"})

    def call(self, given: Tensor, counts: Tensor) -> Tensor:
        ops = keras.ops
        each = ops.reshape(given, (-1, ops.shape(counts)[1], given.shape[-1]))
        weights = ops.expand_dims(counts, -1)
        return ops.sum(each * weights, axis=1) / ops.sum(weights, axis=1)

    def compute_output_spec(self, given: SymbolicTensor, counts: SymbolicTensor) -> SymbolicTensor:
        """Return the shape: JAX cannot infer it if dimensions are unknown."""
        return keras.KerasTensor((counts.shape[0], given.shape[-1]), "float32")


def over_windows(model: keras.Model, samples: int, padding: Literal["silence", "repeat"]) -> keras.Model:
    """Return a model for recordings of any length: the mean of another model's output over their windows.

    Args:
        model: From ``float32[batch, samples]`` to ``float32[batch, outputs]``.
        padding: See :class:`Windows`.

    Returns:
        From ``samples``, ``float32[batch, time]``, to ``float32[batch, outputs]``. It shares the layers.
    """
    recordings = keras.Input((None,), name="samples", dtype="float32")
    windows, counts = Windows(samples, padding, name="windows")(recordings)
    # Not model(windows): the parts of the model stay parts of this one, by their names.
    mean = MeanOverWindows(name="mean_over_windows")(model.call(windows), counts)
    return keras.Model(recordings, mean, name=model.name)
