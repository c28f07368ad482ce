"""The range of pixels that a Keras model takes, read from the layer at its start."""

import keras
import numpy as np

_BYTES, _UNIT = (0.0, 255.0), (0.0, 1.0)


def find_input_range(model: keras.Model) -> tuple[float, float] | None:
    """Read the range of pixels that a model takes from a Rescaling or Normalization layer at its start.

    Returns:
        The values for black and for white; None if there is no such layer, or if it leaves the range open.
    """
    first = _first_layer(model)
    if isinstance(first, keras.layers.Rescaling):
        return _range_of_factor(np.max(np.asarray(first.scale, np.float64)))
    if isinstance(first, keras.layers.Normalization) and first.mean is not None:
        mean = keras.ops.convert_to_numpy(first.mean)
        deviation = np.sqrt(keras.ops.convert_to_numpy(first.variance))
        return _range_of_statistics(np.ravel(mean), np.ravel(deviation))
    return None


def _first_layer(model: keras.Model) -> keras.layers.Layer | None:
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    if not layers:
        return None
    return _first_layer(layers[0]) if isinstance(layers[0], keras.Model) else layers[0]


def _range_of_factor(factor: float) -> tuple[float, float] | None:
    # From 1/255 for 0..1 to 1/(255 * 0.2) for ImageNet's smallest deviation.
    if 0.9 / 255 <= factor <= 5.5 / 255:
        return _BYTES
    # 2 for -1..1, about 4 for deviations of ImageNet, 255 for a network that has its own preprocessing.
    return _UNIT if 1.5 <= factor <= 256 else None


def _range_of_statistics(mean: np.ndarray, deviation: np.ndarray) -> tuple[float, float] | None:
    if mean.min() > 10 and mean.max() < 245 and deviation.max() > 5:
        return _BYTES
    return _UNIT if mean.min() > 0.1 and mean.max() < 0.9 and deviation.max() < 0.6 else None
