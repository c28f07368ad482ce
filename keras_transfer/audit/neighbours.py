"""The nearest neighbours of each row, by the features of the pretrained network."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_NEIGHBOURS = 20
# Of more rows, neighbours are sought among this many drawn ones: time and memory then grow with the rows, not squared.
_MOST_REFERENCES = 5000
_CHUNK = 1024
# How much more a neighbour counts that is nearer: e times for 0.1 of cosine similarity.
_SHARPNESS = 10.0
_PRIOR = 0.01


@dataclass(frozen=True)
class Neighbours:
    """The nearest neighbours of each row, the nearest first.

    Attributes:
        indices: ``int64[rows, neighbours]``.
        similarities: ``float32[rows, neighbours]``, cosines of the features after their mean was taken off.
    """

    indices: NDArray[np.int64]
    similarities: NDArray[np.float32]

    def vote(self, shares: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mean of the neighbours' targets, ``float32[rows, outputs]``; nearer ones count more.

        Args:
            shares: ``float32[rows, outputs]``, targets from 0 to 1.
        """
        weights = np.exp(_SHARPNESS * self.similarities)[..., None]
        total = weights.sum(axis=1)
        voted = (weights * shares[self.indices]).sum(axis=1) + _PRIOR * total * shares.mean(axis=0)
        return (voted / (1.0 + _PRIOR) / total).astype(np.float32)


def find_neighbours(features: NDArray[np.float32], *, seed: int) -> Neighbours:
    """Find the 20 nearest neighbours of each row, without itself.

    Args:
        features: ``float32[rows, channels]``.
        seed: For drawing the rows among which neighbours are sought, of more than 5,000.
    """
    count = len(features)
    chosen = np.arange(count)
    if count > _MOST_REFERENCES:
        chosen = np.sort(np.random.default_rng(seed).choice(count, _MOST_REFERENCES, replace=False))
    mean, nearest = features.mean(axis=0), min(_NEIGHBOURS, count - 1, len(chosen) - 1)
    references = _unit(features[chosen] - mean)
    place = np.full(count, -1)
    place[chosen] = np.arange(len(chosen))
    indices = np.empty((count, nearest), np.int64)
    similarities = np.empty((count, nearest), np.float32)
    for start in range(0, count, _CHUNK):
        part = slice(start, start + _CHUNK)
        products = _unit(features[part] - mean) @ references.T
        own = place[part]
        products[np.flatnonzero(own >= 0), own[own >= 0]] = -np.inf
        found = np.argpartition(-products, nearest - 1, axis=1)[:, :nearest]
        values = np.take_along_axis(products, found, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        indices[part] = chosen[np.take_along_axis(found, order, axis=1)]
        similarities[part] = np.take_along_axis(values, order, axis=1)
    return Neighbours(indices, similarities)


def _unit(features: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(lengths, 1e-12), np.float32)
