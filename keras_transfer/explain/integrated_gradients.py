"""Integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365): how much each token changes an output."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_transfer.explain.opened import OpenedModel
from keras_transfer.networks.gradients import compiled, pull_back
from keras_transfer.networks.types import Tensor


@dataclass(frozen=True)
class TokenAttributions:
    """Attributions of the tokens of a batch.

    Attributes:
        values: ``float32[batch, tokens]``, in units of raw outputs.
        difference: ``float32[batch]``, the raw outputs' weighted sum for the text minus that for the neutral text: the
            sum of the values of a row, up to the error of the quadrature.
    """

    values: NDArray[np.float32]
    difference: NDArray[np.float32]


@dataclass(frozen=True)
class IntegratedGradients:
    """Attributes an output to tokens, at the boundary after the embedding.

    A text is compared with a neutral one of the same length, in which each token is replaced by one without meaning.
    Both have the same positions and special tokens, which therefore have no attribution.
    """

    opened: OpenedModel

    @property
    def is_possible(self) -> bool:
        """Whether there is a boundary with a vector for each token."""
        return bool(self.opened.boundaries(3))

    def __call__(
        self,
        inputs: Mapping[str, NDArray[Any]],
        neutral: Mapping[str, NDArray[Any]],
        weights: NDArray[np.float32],
        *,
        points: int,
    ) -> TokenAttributions:
        """Compute the attributions of one batch.

        Args:
            inputs: Of the model, ``int32[batch, tokens]`` by name.
            weights: ``float32[batch, outputs]``, weights of the sum of raw outputs that is explained.
            points: Number of points of the Gauss-Legendre quadrature between the neutral text and the text. Sums of
                attributions are off by about 5 % with 8 points, and by 0.5 % with 16.
        """
        embed, measure, slope = self._functions
        start, end = embed(neutral), embed(inputs)
        values: NDArray[np.float32] = np.zeros(np.shape(next(iter(inputs.values()))), np.float32)
        places, shares = np.polynomial.legendre.leggauss(points)
        for place, share in zip((places + 1) / 2, shares / 2, strict=True):
            values += share * _to_numpy(slope(np.asarray(place, np.float32), start, end, inputs, weights))
        difference = _to_numpy(measure(end, inputs, weights)) - _to_numpy(measure(start, inputs, weights))
        return TokenAttributions(values, difference)

    @cached_property
    def _functions(self) -> tuple[Any, Any, Any]:
        cut = self.opened.cut(min(self.opened.boundaries(3)))

        def measure(boundary: Tensor, inputs: Any, weights: Tensor) -> Tensor:
            return keras.ops.sum(keras.ops.cast(cut.behind(boundary, inputs), "float32") * weights, axis=1)

        def slope(place: Tensor, start: Tensor, end: Tensor, inputs: Any, weights: Tensor) -> Tensor:
            # A sum of small steps loses precision in half precision.
            way = keras.ops.cast(end, "float32") - keras.ops.cast(start, "float32")
            at = keras.ops.cast(keras.ops.cast(start, "float32") + place * way, end.dtype)
            (gradient,) = pull_back(lambda x: cut.behind(x, inputs), at, [weights])
            return keras.ops.sum(keras.ops.cast(gradient, "float32") * way, axis=-1)

        before, measured, sloped = (compiled(function, open_axes=2) for function in (cut.before, measure, slope))
        return before, measured, sloped


def _to_numpy(tensor: Tensor) -> NDArray[np.float32]:
    return np.asarray(keras.ops.convert_to_numpy(tensor), np.float32)
