"""Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391): where in an image the evidence for an output is."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_transfer.explain.opened import CutModel, OpenedModel
from keras_transfer.networks.gradients import compiled, pull_back
from keras_transfer.networks.types import FloatArray, Tensor, Tensors

# Before the patches' tokens: none, a class token, DeiT's class and distillation tokens, a class token with four
# registers.
_PREFIXES = (0, 1, 2, 5)

BATCH = 16
"""Examples that are explained at once."""

Grid = tuple[int, int, int]
"""How many tokens are in front of a map, and its height and width."""


@dataclass
class GradCam:
    """Computes heat maps at the last boundary of stages that is a feature map and on which the outputs depend.

    In a network that pools a class token, the patches of its last boundary do not affect outputs: the previous one is
    used.
    """

    opened: OpenedModel
    _chosen: Callable[..., Any] | None = field(default=None, init=False)

    def __call__(self, inputs: Tensors, directions: Sequence[Tensor]) -> NDArray[np.float32] | None:
        """Compute heat maps of one batch.

        Args:
            directions: For each map ``float32[batch, outputs]``, the weights of the sum of raw outputs that it
                explains.

        Returns:
            ``float32[maps, batch, height, width]`` on the grid of the boundary; positive for evidence for the weighted
            sum, negative for evidence against it: Selvaraju et al. set the latter to 0. None if no boundary is a
            feature map.
        """
        if self._chosen is not None:
            return np.asarray(_to_numpy(self._chosen(inputs, *directions)[0]))
        found = None
        for stages in self.opened.boundaries(3, 4):
            compute = self._map_function(self.opened.cut(stages))
            if compute is None:
                continue
            maps, reached = compute(inputs, *directions)
            found = _to_numpy(maps)
            if bool(_to_numpy(reached)):  # a batch without any gradient does not affect later ones
                self._chosen = compute
                break
        return found

    def explain(
        self, inputs: NDArray[np.float32], outputs: Sequence[Sequence[int]], count: int
    ) -> NDArray[np.float32] | None:
        """Compute a heat map for each output of each example of one batch.

        Args:
            inputs: Of the model, one tensor; at most :data:`BATCH` examples.

        Returns:
            ``float32[maps, batch, height, width]``; for an example with fewer outputs, its last one is repeated. None
            if no boundary is a feature map.
        """
        # JAX compiles every shape.
        size = BATCH if keras.backend.backend() == "jax" else len(inputs)
        rows = [place % len(inputs) for place in range(size)]
        most = max(map(len, outputs))
        directions = np.zeros((most, size, count), np.float32)
        for place, row in enumerate(rows):
            for number in range(most):
                directions[number, place, outputs[row][min(number, len(outputs[row]) - 1)]] = 1.0
        tensors: list[Any] = [keras.ops.convert_to_tensor(direction) for direction in directions]
        maps = self(keras.ops.convert_to_tensor(inputs[rows]), tensors)
        return None if maps is None else maps[:, : len(inputs)]

    def grid(self, shape: Sequence[int | None]) -> Grid | None:
        """Find the feature map in the output of a stage."""
        return find_grid(shape)

    def _map_function(self, cut: CutModel) -> Callable[..., Any] | None:
        """A function to heat maps and to whether any position has a gradient; None if there is no feature map."""
        grid = self.grid(cut.shape)
        if grid is None:
            return None
        prefix, height, width = grid

        def compute(inputs: Tensors, *directions: Tensor) -> Any:
            features = cut.before(inputs)
            gradients = pull_back(lambda x: cut.behind(x, inputs), features, directions)
            places, *slopes = (_to_places(x, prefix) for x in (features, *gradients))
            maps = [keras.ops.sum(keras.ops.mean(slope, axis=1, keepdims=True) * places, axis=-1) for slope in slopes]
            reached = keras.ops.any(keras.ops.stack([keras.ops.any(slope != 0) for slope in slopes]))
            return keras.ops.reshape(keras.ops.stack(maps), (len(maps), -1, height, width)), reached

        return compiled(compute, open_axes=1)


class SequenceGradCam(GradCam):
    """Computes heat maps of networks on sequences: ``float32[maps, batch, steps, 1]``, one position per step."""

    def grid(self, shape: Sequence[int | None]) -> Grid | None:
        return (0, shape[1], 1) if len(shape) == 3 and shape[1] and shape[1] > 1 else None


def _to_places(features: Tensor, prefix: int) -> Tensor:
    """``float32[batch, places, channels]``."""
    features = keras.ops.cast(features, "float32")
    if len(features.shape) == 4:
        return keras.ops.reshape(features, (-1, features.shape[1] * features.shape[2], features.shape[3]))
    return features[:, prefix:]


def find_grid(shape: Sequence[int | None]) -> Grid | None:
    """Find the feature map in the output of a stage.

    Args:
        shape: ``[batch, height, width, channels]`` or ``[batch, tokens, channels]``.

    Returns:
        The number of tokens before it, and its height and width; None if it is not a map, or has only one position.

    Example:
        >>> find_grid((None, 7, 7, 1280)), find_grid((None, 197, 192)), find_grid((None, 1280))
        ((0, 7, 7), (1, 14, 14), None)
    """
    if len(shape) == 4 and shape[1] and shape[2]:
        return (0, shape[1], shape[2]) if shape[1] * shape[2] > 1 else None
    if len(shape) == 3 and shape[1]:
        sides = ((prefix, math.isqrt(shape[1] - prefix)) for prefix in _PREFIXES if shape[1] - prefix > 1)
        return next(((prefix, side, side) for prefix, side in sides if side**2 == shape[1] - prefix), None)
    return None


def finish_maps(maps: NDArray[np.float32], size: tuple[int, int], *, signed: bool) -> NDArray[np.float32]:
    """Scale the maps of one example to its size, and their maximum to 1.

    Args:
        maps: ``float32[maps, height, width]``.
        signed: Whether a map includes evidence against an output: numbers become smaller, not less likely.
    """
    finished = np.stack([scale_map(heat if signed else np.maximum(heat, 0.0), size) for heat in maps])
    largest = np.abs(finished).max(axis=(1, 2), keepdims=True)
    return np.asarray(finished / np.where(largest > 0, largest, 1.0), np.float32)


def scale_map(values: FloatArray, size: tuple[int, int]) -> NDArray[np.float32]:
    """Scale a map to the size of its image, bilinearly.

    Args:
        values: ``float32[height, width]``.
    """
    from PIL import Image

    scaled = Image.fromarray(np.asarray(values, np.float32)).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(scaled, np.float32)


def _to_numpy(tensor: Tensor) -> NDArray[Any]:
    return np.asarray(keras.ops.convert_to_numpy(tensor))
