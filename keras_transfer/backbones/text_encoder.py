"""From texts to what a KerasHub network takes, in one TensorFlow graph for training, ``predict`` and the export.

KerasHub tokenizes eagerly in Python, and in a graph with TensorFlow Text. Only the second can be served, and the two do
not agree on every text: here every text goes through a graph.
"""

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import keras
import keras_hub
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_transfer.backbones.pooling import MASK
from keras_transfer.errors import BackboneError

_CONFIG = "preprocessor.json"
_CHUNK = 256
_MOST_CALLS = 8
# No token: the token that pads may be an ordinary one (0 is "!" in GPT-2).
_NOTHING = -2


class TextEncoder:
    """A tokenizer with the special tokens of its family.

    Encoders are packed by their family's ``TextClassifierPreprocessor``. Decoders, which KerasHub packs for generation
    alone, begin with their start token, where they have one, and end with the text: the last token is the one to pool.
    Pairs of texts for decoders have the family's end token between them and are cut by turns, as those for encoders.

    What is odd is defined: bytes that are no UTF-8 are read as U+FFFD, a byte that a vocabulary lacks as its unknown
    token (or as padding), and a text without any token as one token of padding.

    Args:
        preprocessor: KerasHub's ``TextClassifierPreprocessor`` or ``CausalLMPreprocessor`` of the family.
    """

    def __init__(self, preprocessor: keras_hub.models.Preprocessor) -> None:
        self._preprocessor, self._tokenizer = preprocessor, preprocessor.tokenizer
        self._is_decoder = isinstance(preprocessor, keras_hub.models.CausalLMPreprocessor)
        self._lock = threading.RLock()
        self._packers: dict[int, Any] = {}
        self._functions: dict[tuple[int, int], Any] = {}
        self._padding_id = int(self._tokenizer.pad_token_id)
        unknown = getattr(self._tokenizer, "unk_token_id", None)
        self._unknown_id = self._padding_id if unknown is None else int(unknown)
        outputs = self._function(8, 1).structured_outputs
        self.columns = tuple(name for name in ("token_ids", "segment_ids", MASK) if name in outputs)
        self.padding = {name: self._padding_id if name == "token_ids" else 0 for name in self.columns}

    def __call__(self, segments: tuple[Any, ...], length: int) -> dict[str, Any]:
        """Encode texts, eagerly or in a graph.

        Args:
            segments: One ``string[n]``, or two for pairs of texts.
            length: How many tokens each gets: longer ones are cut as their family does it, shorter ones padded. A
                traced function keeps the length that it was traced with.

        Returns:
            ``int32[n, length]`` for each of ``columns``. A row's padding comes last.
        """
        if tf.executing_eagerly():
            return dict(self._function(length, len(segments))(*map(tf.convert_to_tensor, segments)))
        return self._encode(segments, length)

    def encode(self, texts: Sequence[tuple[str, ...]], length: int) -> dict[str, NDArray[np.int32]]:
        """Encode many texts, a few hundred at a time.

        Args:
            texts: Tuples of one text, or of two.
            length: As above.

        Returns:
            ``int32[n, length]`` for each of ``columns``.
        """
        arrays = {name: np.empty((len(texts), length), np.int32) for name in self.columns}
        if texts:
            function = self._function(length, len(texts[0]))
            strings = (tf.TensorSpec([None], tf.string),) * len(texts[0])
            calls = min(os.cpu_count() or 1, _MOST_CALLS)
            chunks = tf.data.Dataset.from_generator(lambda: _chunks(texts), output_signature=strings)
            options = tf.data.Options()
            options.autotune.enabled = False
            encoded = chunks.map(lambda *x: function(*x), num_parallel_calls=calls).prefetch(2).with_options(options)
            for number, columns in enumerate(encoded.as_numpy_iterator()):
                for name, array in arrays.items():
                    array[number * _CHUNK : (number + 1) * _CHUNK] = columns[name]
        return arrays

    @property
    def track(self) -> Any:
        """What an ``ExportArchive`` has to track: vocabularies lie in lookup tables and files."""
        return self._tokenizer

    @property
    def resources(self) -> tuple[Any, ...]:
        """All that a graph reads: ``track`` alone."""
        return (self.track,)

    @property
    def vocabulary_size(self) -> int:
        """One more than the largest token id."""
        vocabulary = self._tokenizer.get_vocabulary()
        ids = getattr(self._tokenizer, "vocabulary", None)
        return 1 + max(ids.values()) if isinstance(ids, dict) else len(vocabulary)

    @property
    def fingerprint(self) -> str:
        """A digest of all that an encoding follows from beside the length."""
        digest = hashlib.sha256(type(self._preprocessor).__name__.encode())
        for part in (self._preprocessor, self._tokenizer):
            config = {key: value for key, value in part.get_config().items() if key not in ("name", "tokenizer")}
            digest.update(json.dumps(config, sort_keys=True, default=_plain).encode())
        with TemporaryDirectory(prefix="keras-transfer-") as folder:
            self._tokenizer.save_assets(folder)
            for file in sorted(Path(folder).iterdir()):
                digest.update(file.read_bytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write the vocabulary and how texts are packed, as KerasHub lays out a preset.

        Args:
            folder: Is made; may be moved afterwards.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._preprocessor.save_to_preset(str(folder.absolute()))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote; nothing in it is run.

        Args:
            folder: Where that lies now.

        Returns:
            An encoder that encodes as the other did.

        Raises:
            BackboneError: The folder does not hold one, or it is damaged.
        """
        try:
            config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
            preprocessor = keras.saving.deserialize_keras_object(config)
            preprocessor.load_preset_assets(str(folder.absolute()))
            return cls(preprocessor)
        except Exception as error:  # KerasHub raises nearly every kind for files that are missing or damaged
            raise BackboneError(
                f"The tokenizer in {folder} cannot be read: {shorten(error)} Take a whole copy of the folder."
            ) from error

    def _function(self, length: int, segments: int) -> Any:
        """Return a function of so many ``string[n]``, traced once."""
        with self._lock:
            key = (length, segments)
            if key not in self._functions:
                function = tf.function(
                    lambda *strings: self._encode(strings, length),
                    input_signature=[tf.TensorSpec([None], tf.string)] * segments,
                    autograph=False,
                )
                self._functions[key] = function.get_concrete_function()
            return self._functions[key]

    def _encode(self, segments: tuple[Any, ...], length: int) -> dict[str, Any]:
        texts = tuple(tf.strings.unicode_transcode(x, "UTF-8", "UTF-8", errors="replace") for x in segments)
        pack = self._packer(length)
        if self._is_decoder:
            # An end token would be what is pooled.
            ids, _ = pack(tuple(self._tokenizer(text) for text in texts), add_end_value=False)
            columns, inside = {}, tf.not_equal(ids, _NOTHING)
        else:
            # By name: two texts alone would be taken for a text and its label.
            columns = dict(pack(x=texts, y=None))
            ids = columns["token_ids"]
            # A text may spell the token that pads; what comes before another token is none.
            after = tf.cumsum(tf.cast(tf.not_equal(ids, self._padding_id), tf.int32), axis=1, reverse=True)
            inside = after > 0
        known = tf.where(ids < 0, self._unknown_id, ids)
        columns["token_ids"] = tf.where(inside, known, self._padding_id)
        empty = tf.logical_and(~tf.reduce_any(inside, axis=1, keepdims=True), tf.range(length) == 0)
        columns[MASK] = tf.logical_or(inside, empty)
        return {name: tf.ensure_shape(tf.cast(x, tf.int32), [None, length]) for name, x in columns.items()}

    def _packer(self, length: int) -> Any:
        """Return what packs texts, or the tokens of decoders, to a length; all share one vocabulary."""
        with self._lock:
            if length not in self._packers:
                self._packers[length] = self._make_packer(length)
            return self._packers[length]

    def _make_packer(self, length: int) -> Any:
        if not self._is_decoder:
            config = {**self._preprocessor.get_config(), "tokenizer": self._tokenizer, "sequence_length": length}
            return type(self._preprocessor).from_config(config)
        start, end = (getattr(self._tokenizer, name) for name in ("start_token_id", "end_token_id"))
        return keras_hub.layers.MultiSegmentPacker(
            sequence_length=length,
            start_value=[] if start is None else [start],
            sep_value=[] if end is None else [end],
            end_value=[],
            pad_value=_NOTHING,
        )


def shorten(error: Exception) -> str:
    """Say in one line what another library says in many."""
    reason = " ".join(str(error).split())[:500] or type(error).__name__
    return reason if reason.endswith((".", "!", "?")) else f"{reason}."


def _chunks(texts: Sequence[tuple[str, ...]]) -> Iterator[tuple[NDArray[np.object_], ...]]:
    for start in range(0, len(texts), _CHUNK):
        rows = texts[start : start + _CHUNK]
        # What is half a character in Python is no UTF-8 either.
        encoded = [[text.encode("utf-8", "surrogatepass") for text in row] for row in rows]
        yield tuple(np.array(column, object) for column in zip(*encoded, strict=True))


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set | frozenset) else str(value)
