"""The nearest neighbours of each row, by the features of the pretrained network, and rows that are far from theirs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from keras_transfer.audit.rows import Rows
from keras_transfer.data.checks.findings import Finding
from keras_transfer.data.checks.robust import robust_scores

_NEIGHBOURS = 20
# Of more rows, neighbours are searched among a sample of this size: time and memory then grow linearly with the rows.
_MOST_REFERENCES = 5000
# How much more a nearer neighbour counts: e times for 0.1 of cosine similarity.
_SHARPNESS = 10.0
_PRIOR = 0.01


@dataclass(frozen=True)
class Neighbours:
    """The nearest neighbours of each row, the nearest first.

    Attributes:
        indices: ``int64[rows, neighbours]``.
        similarities: ``float32[rows, neighbours]``, cosine similarities of the centred features.
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
    """Find the 20 nearest neighbours of each row, excluding itself.

    Args:
        features: ``float32[rows, channels]``.
        seed: For drawing the rows among which neighbours are sought, of more than 5,000.
    """
    count = len(features)
    chosen = np.arange(count)
    if count > _MOST_REFERENCES:
        chosen = np.sort(np.random.default_rng(seed).choice(count, _MOST_REFERENCES, replace=False))
    # For unit vectors, the nearest have the largest cosine.
    units = normalize(features - features.mean(axis=0))
    search = NearestNeighbors(n_neighbors=min(_NEIGHBOURS, len(chosen) - 1), algorithm="brute").fit(units[chosen])
    distances = np.empty((count, search.n_neighbors), np.float32)
    indices = np.empty((count, search.n_neighbors), np.int64)
    others = np.setdiff1d(np.arange(count), chosen)
    for rows, queries in ((chosen, None), (others, units[others])):  # without a query, none is its own neighbour
        if len(rows):
            distances[rows], found = search.kneighbors(queries)
            indices[rows] = chosen[found]
    return Neighbours(indices, np.asarray(1.0 - distances**2 / 2.0, np.float32))


_FARTHEST = 10
_LEAST_ROWS = 30
_FAR = 6.0
_MOST = 0.02


def find_outliers(rows: Rows, neighbours: Neighbours) -> list[Finding]:
    """Find rows that are far from their nearest neighbours (Kuan and Mueller 2022, arXiv 2207.03061).

    Returns:
        At most 2 % of the rows, the farthest ones; their mean cosine distance to ten neighbours is more than six robust
        standard deviations above the median.
    """
    if len(rows) < _LEAST_ROWS:
        return []
    distances = 1.0 - neighbours.similarities[:, :_FARTHEST].mean(axis=1).astype(np.float64)
    scores = robust_scores(distances)
    far = np.flatnonzero(scores > _FAR)
    far = far[np.argsort(-scores[far])][: max(int(_MOST * len(rows)), 1)]
    median = float(np.median(distances))
    return [
        rows.find(
            "outlier",
            int(row),
            f"mean distance to its nearest neighbours {distances[row]:.2f}; median {median:.2f}",
            1.0 - _FAR / (2.0 * scores[row]),
        )
        for row in far
    ]
