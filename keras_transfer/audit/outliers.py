"""Examples unlike all others, by the features of the pretrained network."""

import numpy as np

from keras_transfer.audit.neighbours import Neighbours
from keras_transfer.audit.rows import Rows
from keras_transfer.data.checks.findings import Finding
from keras_transfer.data.checks.robust import robust_scores

_NEIGHBOURS = 10
_LEAST_ROWS = 30
_FAR = 6.0
_MOST = 0.02


def find_outliers(rows: Rows, neighbours: Neighbours) -> list[Finding]:
    """Find rows that are far from their nearest neighbours (Kuan and Mueller 2022, arXiv 2207.03061).

    Args:
        neighbours: Of each.

    Returns:
        At most 2 % of the rows, the farthest ones; their mean cosine distance to ten neighbours is more than six robust
        standard deviations above the median.
    """
    if len(rows) < _LEAST_ROWS:
        return []
    distances = 1.0 - neighbours.similarities[:, :_NEIGHBOURS].mean(axis=1).astype(np.float64)
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
