"""Which unlabelled examples to label next: those that the model is least sure of, unlike one another."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from keras_transfer.console.text import one_line
from keras_transfer.data.inputs import Inputs
from keras_transfer.data.inputs.base import show
from keras_transfer.data.splits.known import Known, identify
from keras_transfer.errors import DataError, list_lines
from keras_transfer.heads import Prediction

Rows = NDArray[np.int64]
Floats = NDArray[np.floating]

# If there are more examples, only those with the smallest margins: k-means takes seconds for that many.
_MOST_CANDIDATES = 20_000
# Even examples that the model is sure of count a little: it may be wrong.
_LEAST_WEIGHT = 1e-3


@dataclass(frozen=True)
class Suggestion:
    """An unlabelled example that is worth a label.

    Attributes:
        rank: From 1.
        name: Of the input.
        position: Of the input among those that were given, from 0.
        margin: How close the decision is: for classes, the difference of the two largest probabilities. None for
            numbers.
        prediction: The model's prediction for it.
    """

    rank: int
    name: str
    position: int
    margin: float | None
    prediction: Prediction


@dataclass(frozen=True)
class Unlabelled:
    """The inputs that can be suggested.

    Attributes:
        rows: ``int64[n]``, indices among the readable examples.
        positions: ``int64[n]``, indices among all inputs.
        notes: Lines for the user on what is left out.
    """

    rows: Rows
    positions: Rows
    notes: tuple[str, ...]


def find_unlabelled(inputs: Inputs, known: Known) -> Unlabelled:
    """Find the inputs that have no label in a run.

    Args:
        inputs: Some of them may be broken.

    Raises:
        DataError: There are none.
    """
    readable = np.array([place for place in range(len(inputs)) if place not in inputs.problems], np.int64)
    rows, seen, labelled, copies = [], set(), 0, 0
    for row, key in enumerate(identify(inputs.examples) if len(readable) else ()):
        if key and known.split_of((key,)):
            labelled += 1
        elif key and key in seen:
            copies += 1
        else:
            rows.append(row)
            seen.add(key)
    notes = _describe_left_out(inputs, labelled, copies)
    if not rows:
        raise DataError("\n".join(["There is nothing to suggest. Name other files or tables.", *notes]))
    index = np.array(rows, np.int64)
    return Unlabelled(index, readable[index], tuple(notes))


def _describe_left_out(inputs: Inputs, labelled: int, copies: int) -> list[str]:
    notes = []
    if inputs.problems:
        lines = [f"{show(inputs.names[place])}: {problem}" for place, problem in sorted(inputs.problems.items())]
        notes.append(f"Left out, {len(lines):,} of {len(inputs):,} inputs cannot be read:\n{list_lines(lines)}")
    if labelled:
        notes.append(f"Left out: {labelled:,} of {len(inputs):,} inputs have a label in this run.")
    if copies:
        notes.append(f"Left out: {copies:,} of {len(inputs):,} inputs have the content of another one.")
    return notes


def choose(features: Floats, margins: Floats | None, count: int) -> Rows:
    """Choose examples to label: one for each cluster of those that the model is not sure of.

    Examples are divided by k-means into as many clusters as are requested, each example weighted by the model's
    uncertainty, and the example nearest to the centre of each cluster is taken (Zhdanov 2019, arXiv 1901.05954). Small
    margins alone choose examples that are alike, and k-centers choose outliers (docs/experiments.md).

    Args:
        features: ``[n, channels]``.
        margins: ``[n]``, from 0 to 1, how sure the model is; None if that is unknown, so that all count alike.
        count: How many to choose, at most n.

    Returns:
        Their indices, those of the clusters with the most weight first.
    """
    rows = np.arange(len(features)) if margins is None else np.argsort(margins, kind="stable")
    rows = rows[: max(_MOST_CANDIDATES, count)]
    weights = np.ones(len(rows)) if margins is None else np.clip(1.0 - margins[rows], _LEAST_WEIGHT, 1.0)
    units = _to_units(features[rows])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer different examples than clusters
        clusters = KMeans(count, n_init=1, random_state=0).fit(units, sample_weight=weights)
    distances = np.square(units - clusters.cluster_centers_[clusters.labels_]).sum(axis=1)
    order = np.lexsort((distances, clusters.labels_))
    _, first = np.unique(clusters.labels_[order], return_index=True)
    nearest = order[first]
    mass = np.bincount(clusters.labels_, weights, minlength=count)
    chosen = nearest[np.argsort(-mass[clusters.labels_[nearest]], kind="stable")]
    # For empty clusters, the remaining examples of which the model is least sure.
    left = np.setdiff1d(np.arange(len(rows)), chosen)
    return np.asarray(rows[np.append(chosen, left)[:count]])


def _to_units(features: Floats) -> NDArray[np.float64]:
    """Standardized as by the solved head, and of length 1: the distance of two examples is the angle between them."""
    exact = np.asarray(features, np.float64)
    variance = exact.var(axis=0)
    deviation = np.sqrt(0.75 * variance + 0.25 * variance.mean())
    scaled = (exact - exact.mean(axis=0)) / np.where(deviation == 0.0, 1.0, deviation)
    length = np.linalg.norm(scaled, axis=1, keepdims=True)
    return np.asarray(scaled / np.where(length == 0.0, 1.0, length))


def to_suggestion_table(suggestions: Sequence[Suggestion], inputs: Inputs) -> pd.DataFrame:
    """Return suggestions as a table: rank and margin, the input's own columns, and the prediction."""
    own = inputs.table.iloc[[one.position for one in suggestions]].reset_index(drop=True)
    columns: dict[str, list[object]] = {"rank": [one.rank for one in suggestions]}
    if any(one.margin is not None for one in suggestions):
        columns["margin"] = [one.margin for one in suggestions]
    for one in suggestions:
        for name, value in one.prediction.columns(top_k=1).items():
            if name.startswith("predicted"):
                columns.setdefault(name, []).append(value)
    taken = [name for name in columns if name not in own.columns]
    ours = pd.DataFrame({name: pd.Series(columns[name], dtype=object) for name in taken})
    return pd.concat([ours, own], axis=1)


def to_suggestion_line(suggestion: Suggestion) -> str:
    """Return a suggestion in one line: rank, margin if available, name and prediction."""
    margin = [] if suggestion.margin is None else [f"{suggestion.margin:.4f}"]
    name = one_line(" ".join(suggestion.name.splitlines()))
    return "\t".join([str(suggestion.rank), *margin, name, str(suggestion.prediction)])
