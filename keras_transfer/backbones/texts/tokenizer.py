"""From texts to inputs of a KerasHub network, in one TensorFlow graph for training, ``predict`` and the export.

KerasHub tokenizes eagerly in Python, and in a graph with TensorFlow Text. Only the latter can be served, and the two
differ for some texts: here every text is tokenized in a graph.
"""

import functools
import hashlib
import json
import os
import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import keras
import keras_hub
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_transfer.backbones.keras_hub_catalog import shorten
from keras_transfer.backbones.texts.tokenizer_json import write_word_piece
from keras_transfer.data.readers.tokens import MASK
from keras_transfer.errors import BackboneError
from keras_transfer.networks.types import JsonObject, Tensor

TOKENS = "token_ids"
_CONFIG = "preprocessor.json"
_CHUNK = 32
_SHORT = 8
_MOST_CALLS = 8
# Not a token: the padding token may be an ordinary one (0 is "!" in GPT-2).
_NOTHING = -2
_NOT_ENCODING = ("name", "tokenizer", "sequence_length")
# Byte pairs are merged one at a time in all words of a batch together: a line of 5,000 dashes would take minutes.
_LONG_WORD = (
    r"([A-Za-z]{64}|[0-9]{64}|[^\sA-Za-z0-9\x{80}-\x{10FFFF}]{64}|[\x{2010}-\x{2BFF}]{64}"
    r"|[\x{80}-\x{1FFF}\x{2C00}-\x{2FFF}\x{3040}-\x{FEFF}\x{FF10}-\x{10FFFF}]{64})"
)
_LONG_GAP = r"(\s{64})\s+"

# Byte-pair tokenizers write a byte as a letter: printable ones of Latin-1 as themselves, the others from 256 on.
_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
_BYTES = {
    **{chr(byte): bytes([byte]) for byte in _PRINTABLE},
    **{chr(256 + number): bytes([byte]) for number, byte in enumerate(_OTHERS)},
}
# A byte for which a SentencePiece vocabulary has no other token.
_BYTE_TOKEN = re.compile("<0x[0-9A-F]{2}>")


class TextEncoder:
    """A tokenizer with the special tokens of its family.

    Encoders are packed by their family's ``TextClassifierPreprocessor``. Decoders, which KerasHub packs only for
    generation, start with their start token, if they have one, and end with the text: the last token is the one to
    pool. Pairs of texts for decoders are separated by the family's end token and truncated in turns, as those for
    encoders.

    Edge cases are defined: bytes that are not UTF-8 are read as U+FFFD, a NUL as a space, a byte that is not in a
    vocabulary as its unknown token (or as padding), and a text without any token as one token of padding. Byte-pair
    tokenizers split a word of more than 64 characters.

    Args:
        preprocessor: KerasHub's ``TextClassifierPreprocessor`` or ``CausalLMPreprocessor`` of the family.
    """

    def __init__(self, preprocessor: keras_hub.models.Preprocessor) -> None:
        self._preprocessor, self._tokenizer = preprocessor, preprocessor.tokenizer
        self._is_decoder = isinstance(preprocessor, keras_hub.models.CausalLMPreprocessor)
        self._merges_bytes = isinstance(self._tokenizer, keras_hub.tokenizers.BytePairTokenizer)
        self._lock = threading.RLock()
        self._packers: dict[int, Any] = {}
        self._pack_functions: dict[tuple[int, int], Any] = {}
        self._tokenize_function: Any = None
        self._for_graphs: TextEncoder | None = None
        self._padding_id = int(self._tokenizer.pad_token_id)
        unknown = getattr(self._tokenizer, "unk_token_id", None)
        self._unknown_id = self._padding_id if unknown is None else int(unknown)
        names = self._pack_function(_SHORT, 1).structured_outputs
        self.columns: Sequence[str] = tuple(name for name in (TOKENS, "segment_ids", MASK) if name in names)
        self.padding: Mapping[str, int] = {name: self._padding_id if name == TOKENS else 0 for name in self.columns}

    def __call__(self, segments: tuple[Tensor, ...], length: int) -> dict[str, Tensor]:
        """Encode texts, eagerly or in a graph.

        Args:
            segments: One ``string[n]``, or two for pairs of texts.
            length: Number of tokens of each text: longer ones are truncated as usual for the family, shorter ones
                padded. A traced function has the length that it was traced with.

        Returns:
            ``int32[n, length]`` for each of ``columns``. A row's padding comes last.
        """
        if tf.executing_eagerly():
            return self._run(tuple(map(tf.convert_to_tensor, segments)), length)
        fresh = self._fresh()
        return fresh._pack(tuple(fresh._tokenize(segment) for segment in segments), length)

    def encode(self, texts: Sequence[tuple[str, ...]], length: int) -> dict[str, NDArray[np.int32]]:
        """Encode many texts in threads, a few at a time.

        Returns:
            ``int32[n, length]`` for each of ``columns``.
        """
        arrays = {name: np.empty((len(texts), length), np.int32) for name in self.columns}
        if texts:

            def fill(start: int) -> None:
                rows = slice(start, start + _CHUNK)
                columns = self._run(_strings(texts[rows]), length)
                for name, array in arrays.items():
                    array[rows] = columns[name]

            with ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_CALLS)) as pool:
                list(pool.map(fill, range(0, len(texts), _CHUNK)))
        return arrays

    def describe(self) -> JsonObject:
        """Return ``lower_case``, whether texts are lower-cased, and ``special_tokens``: their ids by their spelling.

        Which of them surround texts depends on the family: ``preprocessor`` is KerasHub's class for it.
        """
        words = {str(word) for word in self._tokenizer.special_tokens if word is not None}
        ids = {word: int(self._tokenizer.token_to_id(word)) for word in words}
        return {
            "preprocessor": type(self._preprocessor).__name__,
            "lower_case": bool(getattr(self._tokenizer, "lowercase", False)),
            "special_tokens": dict(sorted(ids.items(), key=lambda item: item[1])),
        }

    def to_tokenizer_json(self) -> str | None:
        """Return the content of a ``tokenizer.json`` with the same encodings; None if that is not possible."""
        if self._is_decoder:
            return None
        return write_word_piece(self._tokenizer, {byte[0]: letter for letter, byte in _BYTES.items()})

    @property
    def resources(self) -> tuple[Any, ...]:
        """What an ``ExportArchive`` has to track: byte-pair vocabularies are in tables, others in the graph itself."""
        return (self._fresh()._tokenizer,) if self._merges_bytes else ()

    @property
    def vocabulary_size(self) -> int:
        vocabulary = self._tokenizer.get_vocabulary()
        ids = getattr(self._tokenizer, "vocabulary", None)
        return 1 + max(ids.values()) if isinstance(ids, dict) else len(vocabulary)

    @property
    def mask_id(self) -> int | None:
        """The mask token; None if the family has none."""
        found = getattr(self._tokenizer, "mask_token_id", None)
        return None if found is None else int(found)

    @property
    def special_ids(self) -> tuple[int, ...]:
        """Tokens that are not part of a text: padding, start, end and the like, the mask, and the unknown token."""
        others = [self.mask_id, self._padding_id, self._unknown_id]
        if isinstance(self._tokenizer, keras_hub.tokenizers.WordPieceTokenizer):
            others.append(self._tokenizer.token_to_id(self._tokenizer.oov_token))
        return tuple(
            sorted({int(token) for token in [*self._tokenizer.special_token_ids, *others] if token is not None})
        )

    @property
    def separator_ids(self) -> tuple[int, ...]:
        others = (self.mask_id, getattr(self._tokenizer, "unk_token_id", None))
        return tuple(sorted({int(token) for token in self._tokenizer.special_token_ids} - set(others)))

    @property
    def neutral_id(self) -> int:
        """The token with the least meaning: the mask, else the unknown token, the end of a text, or padding."""
        names = ("mask_token_id", "unk_token_id", "end_token_id")
        found = (getattr(self._tokenizer, name, None) for name in names)
        return next((int(token) for token in found if token is not None), self._padding_id)

    def surfaces(self, ids: Sequence[int]) -> list[bytes | None]:
        """Return the spelling of tokens in a text, in UTF-8.

        Returns:
            The bytes of each, without markers for the start of a word; empty if the spelling is unknown, and None for a
            word that is not in a vocabulary of words.
        """
        words = self._words
        return [self._to_surface(words.get(int(token), ""), int(token)) for token in ids]

    def _to_surface(self, word: str, token: int) -> bytes | None:
        if isinstance(self._tokenizer, keras_hub.tokenizers.WordPieceTokenizer):
            unknown = self._tokenizer.token_to_id(self._tokenizer.oov_token)
            return None if token == unknown else word.removeprefix(self._tokenizer.suffix_indicator).encode()
        if token in self.special_ids:
            return b""
        if self._merges_bytes:
            return b"".join(_BYTES.get(character, character.encode()) for character in word)
        if _BYTE_TOKEN.fullmatch(word):
            return bytes([int(word[3:5], 16)])
        return word.replace("\u2581", " ").strip().encode()

    @functools.cached_property
    def _words(self) -> Mapping[int, str]:
        """The vocabulary, by token."""
        ids = getattr(self._tokenizer, "vocabulary", None)
        if isinstance(ids, dict):
            return {int(token): str(word) for word, token in ids.items()}
        return dict(enumerate(map(str, self._tokenizer.get_vocabulary())))

    @property
    def fingerprint(self) -> str:
        """A digest of everything on which an encoding depends, except the length."""
        digest = hashlib.sha256(type(self._preprocessor).__name__.encode())
        for part in (self._preprocessor, self._tokenizer):
            config = {key: value for key, value in part.get_config().items() if key not in _NOT_ENCODING}
            digest.update(json.dumps(config, sort_keys=True, default=_plain).encode())
        with TemporaryDirectory(prefix="keras-transfer-") as folder:
            self._tokenizer.save_assets(folder)
            for file in sorted(Path(folder).iterdir()):
                digest.update(file.read_bytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write the vocabulary and the packing of texts in the layout of a KerasHub preset.

        Args:
            folder: Is created; may be moved afterwards.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._preprocessor.save_to_preset(str(folder.absolute()))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote; no code in the folder is run.

        Returns:
            An encoder with the same encodings.

        Raises:
            BackboneError: The folder does not contain an encoder, or it is damaged.
        """
        try:
            config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
            preprocessor = keras.saving.deserialize_keras_object(config)
            preprocessor.load_preset_assets(str(folder.absolute()))
            return cls(preprocessor)
        except Exception as error:  # KerasHub raises nearly every kind for files that are missing or damaged
            raise BackboneError(
                f"The tokenizer in {folder} cannot be read: {shorten(error)} Use a complete copy of the folder."
            ) from error

    def _fresh(self) -> "TextEncoder":
        """Return an encoder for graphs that may be exported.

        A byte-pair tokenizer caches every word in a table, which would be exported with the words of the training
        texts. The table of this one is empty.
        """
        with self._lock:
            if self._for_graphs is None:
                self._for_graphs = self
                if self._merges_bytes:
                    with tf.init_scope(), TemporaryDirectory(prefix="keras-transfer-") as folder:
                        self.save(Path(folder))
                        self._for_graphs = TextEncoder.load(Path(folder))
                    # An ExportArchive only tracks layers.
                    self._for_graphs._tokenizer.built = True
            return self._for_graphs

    def _run(self, segments: tuple[Tensor, ...], length: int) -> dict[str, Tensor]:
        """Encode eagerly: tokenizing is traced once, which takes seconds, and packing once for each length."""
        with self._lock:
            if self._tokenize_function is None:
                strings = [tf.TensorSpec([None], tf.string)]
                function = tf.function(self._tokenize, input_signature=strings, autograph=False)
                self._tokenize_function = function.get_concrete_function()
        pack = self._pack_function(length, len(segments))
        return dict(pack(*map(self._tokenize_function, segments)))

    def _pack_function(self, length: int, segments: int) -> Any:
        with self._lock:
            key = (length, segments)
            if key not in self._pack_functions:
                tokens = [tf.RaggedTensorSpec([None, None], tf.int32)] * segments
                function = tf.function(lambda *x: self._pack(x, length), input_signature=tokens, autograph=False)
                self._pack_functions[key] = function.get_concrete_function()
            return self._pack_functions[key]

    def _tokenize(self, texts: Tensor) -> Tensor:
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
        # TensorFlow Text would treat it as the end of the text.
        texts = tf.strings.regex_replace(texts, r"\x00", " ")
        if self._merges_bytes:
            texts = tf.strings.regex_replace(texts, _LONG_WORD, r"\1 ")
            texts = tf.strings.regex_replace(texts, _LONG_GAP, r"\1")
        tokenizer = self._tokenizer
        if isinstance(tokenizer, keras_hub.tokenizers.SentencePieceTokenizer):
            # The vocabulary is created inside, as part of this graph. One outside is lost when TensorFlow discards its
            # kernels, as it does whenever a seed is set (TensorFlow Text 2.21).
            tokenizer = type(tokenizer).from_config({**tokenizer.get_config(), "proto": tokenizer.proto})
        return tokenizer(texts)

    def _pack(self, tokens: tuple[Tensor, ...], length: int) -> dict[str, Tensor]:
        pack = self._packer(length)
        if self._is_decoder:
            # With an end token, pooling would use that.
            ids, _ = pack(tokens, add_end_value=False)
            columns, inside = {}, tf.not_equal(ids, _NOTHING)
        else:
            # By name: two texts without names would be treated as a text and its label.
            columns = dict(pack(x=tokens, y=None))
            ids = columns[TOKENS]
            # A text may contain the padding token; before another token, it is not padding.
            after = tf.cumsum(tf.cast(tf.not_equal(ids, self._padding_id), tf.int32), axis=1, reverse=True)
            inside = after > 0
        known = tf.where(ids < 0, self._unknown_id, ids)
        columns[TOKENS] = tf.where(inside, known, self._padding_id)
        empty = tf.logical_and(~tf.reduce_any(inside, axis=1, keepdims=True), tf.range(length) == 0)
        columns[MASK] = tf.logical_or(inside, empty)
        return {name: tf.ensure_shape(tf.cast(x, tf.int32), [None, length]) for name, x in columns.items()}

    def _packer(self, length: int) -> Any:
        """Return the layer that packs texts, or the tokens of decoders, to a length; all share one vocabulary."""
        with self._lock:
            if length not in self._packers:
                self._packers[length] = self._make_packer(length)
            return self._packers[length]

    def _make_packer(self, length: int) -> Any:
        if not self._is_decoder:
            config = {**self._preprocessor.get_config(), "sequence_length": length}
            config["tokenizer"] = _Tokenized(self._tokenizer)
            return type(self._preprocessor).from_config(config)
        start, end = (getattr(self._tokenizer, name) for name in ("start_token_id", "end_token_id"))
        return keras_hub.layers.MultiSegmentPacker(
            sequence_length=length,
            start_value=[] if start is None else [start],
            sep_value=[] if end is None else [end],
            end_value=[],
            pad_value=_NOTHING,
        )


class _Tokenized:
    """Replaces a tokenizer for texts that are already tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __call__(self, tokens: Tensor) -> Tensor:
        return tokens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


def _strings(rows: Sequence[tuple[str, ...]]) -> tuple[Tensor, ...]:
    # Lone surrogates in Python are not UTF-8 either.
    encoded = [[text.encode("utf-8", "surrogatepass") for text in row] for row in rows]
    return tuple(tf.constant(np.array(column, object)) for column in zip(*encoded, strict=True))


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set | frozenset) else str(value)
