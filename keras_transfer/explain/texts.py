"""Attribute outputs to the words of texts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_transfer.data.examples.texts import Texts
from keras_transfer.data.readers.texts import TextReader
from keras_transfer.data.readers.tokens import IDS, MASK, Tokens
from keras_transfer.data.splits.splits import Split
from keras_transfer.explain.integrated_gradients import IntegratedGradients
from keras_transfer.explain.opened import OpenedModel
from keras_transfer.explain.pieces import Piece, divide_text
from keras_transfer.explain.records import Explanation

# Number of tokens in a batch, including padding.
_BATCH = 512
_BETWEEN = "\n"
_TOO_LONG = "Not explained: the texts before it are as long as an explanation of all may take."
_NO_TOKENS = "Not explained: the network has no stage with a vector for each token."


def explain_texts(
    opened: OpenedModel,
    reader: TextReader,
    texts: Texts | Tokens,
    outputs: Sequence[Sequence[int]],
    names: Sequence[str],
    *,
    points: int,
    most_tokens: int | None = None,
) -> list[Explanation]:
    """Attribute outputs to the words of texts, by integrated gradients.

    Args:
        outputs: For each text the output that is explained, alone or compared with a second one.
        points: How exact attributions are; see :class:`IntegratedGradients`.
        most_tokens: Maximum number of tokens of all texts together: later ones have no attributions.

    Returns:
        One per text. Attributions are differences of raw outputs: the first output minus the second, if there are two.
    """
    split = _prepare(reader, texts)
    tokens = split.examples
    total = np.cumsum(tokens.lengths)
    chosen = len(tokens) if most_tokens is None else max(int(np.searchsorted(total, most_tokens, "right")), 1)
    explainer, found = opened.explainer(IntegratedGradients), dict[int, list[float]]()
    why_not = _TOO_LONG if explainer.is_possible else _NO_TOKENS
    chosen = chosen if explainer.is_possible else 0
    for rows in _divide_into_batches(tokens.lengths[:chosen]):
        weights = make_weights([outputs[row] for row in rows], len(names))
        for row, values in zip(rows, _attribute(explainer, reader, split, rows, weights, points), strict=True):
            found[int(row)] = values
    return [
        Explanation(
            tokens.names[row],
            tuple(names[output] for output in outputs[row]),
            pieces=_divide(reader, tokens, row, found.get(row)),
            note=_cut_note(tokens, row) if row in found else why_not,
        )
        for row in range(len(tokens))
    ]


def make_weights(outputs: Sequence[Sequence[int]], count: int) -> NDArray[np.float32]:
    """Return weights of raw outputs, ``float32[n, count]``: 1 for the first one of each row, -1 for the second one."""
    weights = np.zeros((len(outputs), count), np.float32)
    for row, (first, *second) in enumerate(outputs):
        weights[row, first] = 1.0
        weights[row, second[:1]] = -1.0
    return weights


def _prepare(reader: TextReader, texts: Texts | Tokens) -> Any:
    # A run that has just ended has tokens in memory; those of training rows may be truncated further.
    plain = texts.texts if isinstance(texts, Tokens) else texts
    n = len(plain)
    return reader.prepare(Split("inputs", plain, np.zeros(n, np.int64), np.ones(n, np.float32)))


def _divide_into_batches(lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Rows from the shortest to the longest text."""
    batches: list[list[int]] = []
    for row in np.argsort(lengths, kind="stable").tolist():
        if not batches or (len(batches[-1]) + 1) * lengths[row] > _BATCH:
            batches.append([])
        batches[-1].append(row)
    return [np.array(batch, np.int64) for batch in batches]


def _attribute(
    explainer: IntegratedGradients,
    reader: TextReader,
    split: Split,
    rows: NDArray[np.int64],
    weights: NDArray[np.float32],
    points: int,
) -> list[list[float]]:
    inputs = dict(zip(reader.names, reader.gather(split, rows, reader.names), strict=True))
    mask = inputs[MASK] if MASK in inputs else np.ones_like(inputs[IDS])
    replaced = (mask > 0) & ~np.isin(inputs[IDS], reader.encoder.separator_ids)
    neutral = {**inputs, IDS: np.where(replaced, reader.encoder.neutral_id, inputs[IDS]).astype(np.int32)}
    values = explainer(inputs, neutral, weights, points=points).values
    return [row[: int(inside.sum())].tolist() for row, inside in zip(values, mask, strict=True)]


def _cut_note(tokens: Tokens, row: int) -> str:
    return f"The model read the first {tokens.lengths[row]:,} tokens." if tokens.is_cut[row] else ""


def _divide(reader: TextReader, tokens: Tokens, row: int, values: Sequence[float] | None) -> tuple[Piece, ...]:
    """Pieces of one text or of both."""
    segments: Sequence[str] = tokens.texts.segments[row]
    if values is None:
        return _join([(Piece(segment, 0.0),) for segment in segments])
    start, length = int(tokens.starts[row]), int(tokens.lengths[row])
    ids = tokens.columns[IDS][start : start + length]
    is_text = ~np.isin(ids, reader.encoder.separator_ids)
    parts = np.split(np.arange(length), np.flatnonzero(np.diff(is_text.astype(np.int8))) + 1)
    runs = [part for part in parts if is_text[part[0]]]
    filled = [index for index, segment in enumerate(segments) if segment.strip()]
    if len(runs) != len(filled):
        runs, filled, segments = [np.flatnonzero(is_text)], [0], [_BETWEEN.join(segments)]
    places = dict(zip(filled, runs, strict=True))
    surfaces = reader.encoder.surfaces(ids.tolist())
    return _join(
        [
            divide_text(segment, *([column[place] for place in places.get(index, ())] for column in (surfaces, values)))
            for index, segment in enumerate(segments)
        ]
    )


def _join(parts: Sequence[tuple[Piece, ...]]) -> tuple[Piece, ...]:
    joined = list(parts[0])
    for part in parts[1:]:
        joined += [Piece(_BETWEEN, 0.0), *part]
    return tuple(joined)
