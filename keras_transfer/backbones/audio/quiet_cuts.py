"""Divide long recordings at the quietest place in the last part of each window, so that no word is cut."""

from typing import NamedTuple

from keras import ops

from keras_transfer.networks.types import Tensor

STEPS_PER_SECOND = 50
"""Windows start at multiples of Whisper's timestamps."""

_SHARE = 4  # Of a window: its last quarter is searched,
_MOST_SECONDS = 5  # but not more than this.
_PAUSE = 9  # In steps of 20 ms: how long a short pause between words is.


class Cuts(NamedTuple):
    """Windows of a batch of recordings.

    Attributes:
        starts: ``int32[batch, windows]``, in samples.
        lengths: ``int32[batch, windows]``, in samples; 0 for those that a recording does not need.
    """

    starts: Tensor
    lengths: Tensor


def find_cuts(recordings: Tensor, samples: int, sample_rate: int) -> Cuts:
    """Divide recordings into windows.

    Args:
        recordings: ``float32[batch, time]``. Zeros at the end of a recording are padding, and not part of it.
    """
    step = sample_rate // STEPS_PER_SECOND
    window = samples // step  # in steps
    searched = max(min(window // _SHARE, _MOST_SECONDS * STEPS_PER_SECOND), 1)
    batch, time = ops.shape(recordings)
    length = ops.max(ops.where(ops.not_equal(recordings, 0), ops.arange(1, time + 1, dtype="int32"), 0), axis=1)
    # As many windows as the batch needs if all cuts are as early as possible: shapes depend only on shapes.
    windows = 1 + (_positive(time - samples) + (window - searched) * step - 1) // ((window - searched) * step)
    loudness = _measure_loudness(recordings, step)
    last = ops.shape(loudness)[1] - 1
    offsets = ops.arange(window - searched + 1, window + 1, dtype="int32")

    def divide(number: Tensor, start: Tensor, starts: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        left = ops.maximum(length - start * step, 0)
        places = ops.minimum(start[:, None] + offsets, last)
        quietest = ops.argmin(ops.take_along_axis(loudness, places, axis=1), axis=1)
        cut = ops.take(offsets, quietest) * step
        own = ops.where(left > samples, cut, left)
        # After the end of a recording, all windows are empty.
        following = ops.where(left > samples, start + cut // step, start + window)
        starts = ops.slice_update(starts, (0, number), (start * step)[:, None])
        return number + 1, following, starts, ops.slice_update(lengths, (0, number), own[:, None])

    nothing, first = ops.zeros((batch, windows), "int32"), ops.zeros((batch,), "int32")
    state = (ops.convert_to_tensor(0, "int32"), first, nothing, nothing)
    found = ops.while_loop(lambda number, *_: number < windows, divide, state)
    return Cuts(found[2], found[3])


def _measure_loudness(recordings: Tensor, step: int) -> Tensor:
    """Return the power around each step, ``float32[batch, steps]``, weighted by distance."""
    time = ops.shape(recordings)[1]
    steps = (time + step - 1) // step
    padded = ops.pad(recordings, ((0, 0), (0, steps * step - time)))
    power = ops.mean(ops.square(ops.reshape(padded, (-1, steps, step))), axis=2, keepdims=True)
    for _ in range(2):
        power = ops.average_pool(power, _PAUSE, strides=1, padding="same")
    return power[:, :, 0]


def _positive(number: Tensor) -> Tensor:
    """``max(number, 0)`` for a dimension: a number, or a tensor if the dimension is unknown."""
    return max(number, 0) if isinstance(number, int) else ops.maximum(number, 0)
