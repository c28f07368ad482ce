"""Problems of images: blank, blurred, dark, overexposed, of an odd size, or duplicates."""

from pathlib import Path

import numpy as np

from keras_transfer.audit.duplicates import Words, find_duplicates, group_equal, link_near_points
from keras_transfer.audit.rows import Rows
from keras_transfer.data.checks.findings import Finding
from keras_transfer.data.checks.image_measures import ImageMeasures, measure_images
from keras_transfer.data.checks.leaks import NEAR, to_points
from keras_transfer.data.checks.robust import robust_scores
from keras_transfer.data.splits.splits import Splits, images_of

# Grey levels, of 255.
_BLANK = 2.0
_DARK, _BRIGHT = 50.0, 220.0
# Laplacian variance over grey variance, and robust deviations below the median of its logarithm.
_BLURRED, _BLURRED_SCORE = 0.02, 3.5
_ODD_SIDE, _ODD_ASPECT = 3.0, 2.0
# A property that many images share is not odd.
_MOST_ODD = 0.05


def audit_images(splits: Splits, memory: Path) -> list[Finding]:
    """Check the appearance of images. They were already measured if duplicates were searched for."""
    rows = Rows.of(splits)
    measured = [one for split in splits for one in measure_images(images_of(split), memory)]
    contents = [content for split in splits for content in split.examples.content_hashes]
    blank = [bool(one.grey) and one.deviation < _BLANK for one in measured]
    findings = [
        rows.find("blank", row, f"grey levels differ by {one.deviation:.1f} of 255 (standard deviation)")
        for row, one in enumerate(measured)
        if blank[row]
    ]
    seen = [row for row, one in enumerate(measured) if one.grey and not blank[row]]
    if seen:
        findings += _find_dark(rows, measured, seen)
        findings += _find_blurred(rows, measured, seen)
    findings += _find_odd(rows, measured)
    return findings + _find_copies(rows, measured, contents, seen)


def _find_dark(rows: Rows, measured: list[ImageMeasures], seen: list[int]) -> list[Finding]:
    """Images that are dark or bright as a whole, unless most are."""
    levels = [(row, measured[row].low, measured[row].high) for row in seen]
    dark = [
        rows.find("dark", row, f"95 % of the pixels are below {high:.0f} of 255", 1.0 - high / 255.0)
        for row, _, high in levels
        if high < _DARK
    ]
    bright = [
        rows.find("bright", row, f"95 % of the pixels are above {low:.0f} of 255", low / 255.0)
        for row, low, _ in levels
        if low > _BRIGHT
    ]
    return [finding for found in (dark, bright) if len(found) <= len(seen) / 2 for finding in found]


def _find_blurred(rows: Rows, measured: list[ImageMeasures], seen: list[int]) -> list[Finding]:
    """Images with far less detail than the others."""
    sharpness = np.array([measured[row].sharpness for row in seen])
    scores = robust_scores(np.log(sharpness + 1e-6))
    return [
        rows.find("blurred", row, f"sharpness {value:.4f}; median {np.median(sharpness):.4f}", 1.0 - value / 20.0)
        for row, value, score in zip(seen, sharpness, scores, strict=True)
        if value < _BLURRED and score < -_BLURRED_SCORE
    ]


def _find_odd(rows: Rows, measured: list[ImageMeasures]) -> list[Finding]:
    """Images whose size or aspect ratio differs from nearly all others."""
    known = [row for row, one in enumerate(measured) if one.width and one.height]
    sizes = np.array([(measured[row].width, measured[row].height) for row in known], np.float64).reshape(-1, 2)
    if not len(sizes):
        return []
    findings = []
    logs = np.log(sizes)
    for kind, values, factor in (
        ("odd_size", logs.mean(axis=1), _ODD_SIDE),
        ("odd_aspect", logs[:, 0] - logs[:, 1], _ODD_ASPECT),
    ):
        distances = np.abs(values - np.median(values))
        odd = np.flatnonzero(distances > np.log(factor))
        if len(odd) > _MOST_ODD * len(known):
            continue
        usual = known[int(np.argsort(values)[len(values) // 2])]
        for index in odd:
            detail = f"{_size(measured[known[index]])} pixels; most are like {_size(measured[usual])}"
            score = 1.0 - float(np.exp(-distances[index]))
            findings.append(rows.find(kind, known[index], detail, score))
    return findings


def _size(one: ImageMeasures) -> str:
    return f"{one.width:,} x {one.height:,}"


def _find_copies(rows: Rows, measured: list[ImageMeasures], contents: list[str], seen: list[int]) -> list[Finding]:
    exact, near = group_equal(contents), group_equal(contents)
    # Blank images look the same, and are already reported.
    first = np.array([row for row in seen if exact[row] == row], np.int64)
    points = to_points([measured[row].grey for row in first], unknown=0.0)
    link_near_points(near, points, first, radius=NEAR * points.shape[1] ** 0.5 if len(points) else 0.0)
    return find_duplicates(rows, exact, near, Words("the same bytes as", "looks the same as"))
