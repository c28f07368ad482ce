"""Word and character error rates of transcripts, with intervals; edit distances are computed by jiwer."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from keras_transfer.data.targets.transcripts import normalize
from keras_transfer.errors import DataError
from keras_transfer.heads.evaluation import CHARACTER_ERROR_RATE, WORD_ERROR_RATE, Figure, Floats, Improvement
from keras_transfer.heads.resampling import bootstrap
from keras_transfer.networks.types import IntArray, JsonObject

SUBSTITUTE, DELETE, INSERT = "substitute", "delete", "insert"
_KINDS = (SUBSTITUTE, DELETE, INSERT)


@dataclass(frozen=True)
class Step:
    """A span of an alignment of two texts.

    Attributes:
        kind: ``equal``, :data:`SUBSTITUTE`, :data:`DELETE` or :data:`INSERT`.
        expected: Words of the transcript; none for an insertion.
        found: Words of the recognized text; none for a deletion.
    """

    kind: str
    expected: tuple[str, ...]
    found: tuple[str, ...]


@dataclass(frozen=True)
class EditCounts:
    """The number of edits that turn transcripts into recognized texts, per utterance.

    Attributes:
        length: ``int64[n]``, the transcript's number of words or characters.
        edits: ``int64[n, 3]``: substitutions, deletions and insertions.
    """

    length: IntArray
    edits: IntArray

    def rates(self, counts: Floats) -> Floats:
        """Return the error rate of resamples: their edits divided by the length of their transcripts.

        Args:
            counts: ``[resamples, n]``, how often each utterance counts.

        Returns:
            ``[resamples]``. For a resample without a single word, the number of edits.
        """
        return (counts @ self.edits.sum(axis=1)) / np.maximum(counts @ self.length, 1.0)

    def rate(self) -> float:
        """Return the error rate of all utterances."""
        return float(self.rates(np.ones((1, len(self.length))))[0])

    def sum_by(self, groups: Sequence[str]) -> "EditCounts":
        """Return the sums over the utterances of each group, in the order of the groups' first utterances."""
        places = {group: place for place, group in enumerate(dict.fromkeys(groups))}
        of = np.array([places[group] for group in groups], np.int64)
        length, edits = np.zeros(len(places), np.int64), np.zeros((len(places), len(_KINDS)), np.int64)
        np.add.at(length, of, self.length)
        np.add.at(edits, of, self.edits)
        return EditCounts(length, edits)


@dataclass(frozen=True)
class ErrorRate:
    """An error rate and its components.

    Attributes:
        rate: Edits divided by the length of the transcripts; can exceed 1 if there are many insertions.
        interval: 95 % interval: percentiles of a bootstrap over utterances.
        group_interval: The same over groups, such as speakers, whose utterances are resampled together; None without
            two groups.
        length: Number of words or characters in the transcripts.
        substitutions: Words or characters that were recognized as others.
        deletions: Words or characters that were left out.
        insertions: Words or characters that were added.
        improvement: Compared with the network before training; None if that was not measured.
    """

    rate: float
    interval: tuple[float, float]
    group_interval: tuple[float, float] | None
    length: int
    substitutions: int
    deletions: int
    insertions: int
    improvement: Improvement | None = None

    def to_json(self) -> JsonObject:
        """Return the entry in metrics.json, apart from rate and interval."""
        groups = {} if self.group_interval is None else {"group_interval": list(self.group_interval)}
        bought = {} if self.improvement is None else {"untrained": self.improvement.to_json()}
        counts = {name: getattr(self, name) for name in ("length", "substitutions", "deletions", "insertions")}
        return {**counts, **groups, **bought}

    @classmethod
    def from_json(cls, figure: Figure, values: JsonObject) -> "ErrorRate":
        """Read back rate, interval and what :meth:`to_json` returned."""
        untrained, interval = values.get("untrained"), values.get("group_interval")
        return cls(
            rate=float(values["rate"]),
            interval=_pair(values["interval"]),
            group_interval=None if interval is None else _pair(interval),
            **{name: int(values[name]) for name in ("length", "substitutions", "deletions", "insertions")},
            improvement=None if untrained is None else Improvement.from_json(figure, untrained),
        )


@dataclass(frozen=True)
class TranscriptErrors:
    """The result of :func:`measure_transcripts`.

    Attributes:
        words: The word error rate.
        characters: The character error rate.
        groups: The number of groups, such as speakers; None if unknown.
    """

    words: ErrorRate
    characters: ErrorRate
    groups: int | None


def require_jiwer() -> ModuleType:
    """Import and return jiwer, which counts edits.

    Raises:
        DataError: It is not installed; the message has the command that installs it.
    """
    try:
        import jiwer  # an optional dependency
    except ImportError as error:
        raise DataError(
            "Word error rates need the package jiwer, which is not installed. Install it with pip install "
            "'keras-transfer[speech]'."
        ) from error
    return jiwer


def measure_transcripts(
    expected: Sequence[str],
    found: Sequence[str],
    *,
    rule: str,
    untrained: Sequence[str] | None = None,
    groups: Sequence[str | None] | None = None,
) -> TranscriptErrors:
    """Measure how much recognized texts differ from transcripts.

    The result is deterministic.

    Args:
        groups: The speaker, or other group, of each utterance; an utterance without a group is its own group.

    Raises:
        DataError: jiwer is not installed.
    """
    own = None if groups is None else [f"g{group}" if group is not None else f"r{n}" for n, group in enumerate(groups)]

    def measure(figure: Figure, *, characters: bool) -> ErrorRate:
        after = count_edits(expected, found, rule=rule, characters=characters)
        before = None if untrained is None else count_edits(expected, untrained, rule=rule, characters=characters)
        return _measure(figure, after, before, own)

    return TranscriptErrors(
        words=measure(WORD_ERROR_RATE, characters=False),
        characters=measure(CHARACTER_ERROR_RATE, characters=True),
        groups=None if own is None else len(set(own)),
    )


def count_edits(expected: Sequence[str], found: Sequence[str], *, rule: str, characters: bool = False) -> EditCounts:
    """Count the edits of each utterance.

    Args:
        expected: The transcripts; empty ones have a length of 0.
        characters: Whether to count characters instead of words.

    Raises:
        DataError: jiwer is not installed.
    """
    aligned = _process(expected, found, rule, characters=characters)
    if not len(expected):
        return EditCounts(np.zeros(0, np.int64), np.zeros((0, len(_KINDS)), np.int64))
    edits = np.zeros((len(expected), len(_KINDS)), np.int64)
    for row, chunks in enumerate(aligned.alignments):
        for chunk in chunks:
            if chunk.type in _KINDS:
                size = max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
                edits[row, _KINDS.index(chunk.type)] += size
    return EditCounts(np.array(list(map(len, aligned.references)), np.int64), edits)


def align(expected: Sequence[str], found: Sequence[str], *, rule: str) -> list[list[Step]]:
    """Align the words of each utterance: which are equal, and which differ.

    Raises:
        DataError: jiwer is not installed.
    """
    aligned = _process(expected, found, rule, characters=False)
    if not len(expected):  # jiwer would turn this into one empty utterance
        return []
    return [
        [
            Step(
                chunk.type,
                tuple(reference[chunk.ref_start_idx : chunk.ref_end_idx]),
                tuple(hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]),
            )
            for chunk in chunks
        ]
        for chunks, reference, hypothesis in zip(
            aligned.alignments, aligned.references, aligned.hypotheses, strict=True
        )
    ]


def _process(expected: Sequence[str], found: Sequence[str], rule: str, *, characters: bool) -> Any:
    jiwer = require_jiwer()
    process = jiwer.process_characters if characters else jiwer.process_words
    references, hypotheses = ([normalize(text, rule) for text in texts] for texts in (expected, found))
    return process(references, hypotheses)


def _measure(figure: Figure, after: EditCounts, before: EditCounts | None, groups: Sequence[str] | None) -> ErrorRate:
    rows = len(after.length)
    improvement = None
    if before is not None:
        value = before.rate()
        interval = bootstrap(lambda counts: after.rates(counts) - before.rates(counts), rows)
        improvement = Improvement(figure, value, after.rate() - value, interval)
    by_group = None if groups is None else after.sum_by(groups)
    substitutions, deletions, insertions = after.edits.sum(axis=0).tolist()
    return ErrorRate(
        rate=after.rate(),
        interval=bootstrap(after.rates, rows),
        group_interval=(
            None if by_group is None or len(by_group.length) < 2 else bootstrap(by_group.rates, len(by_group.length))
        ),
        length=int(after.length.sum()),
        substitutions=substitutions,
        deletions=deletions,
        insertions=insertions,
        improvement=improvement,
    )


def _pair(values: Sequence[float]) -> tuple[float, float]:
    low, high = values
    return float(low), float(high)
