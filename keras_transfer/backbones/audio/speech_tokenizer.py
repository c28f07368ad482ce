"""Tokenizers of networks that transcribe: Whisper's byte pairs, Moonshine's SentencePiece.

Whisper's special tokens: Radford et al. 2022, https://arxiv.org/abs/2212.04356, section 2.3.
"""

import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self

from keras_transfer.errors import BackboneError, ConfigError
from keras_transfer.networks.types import JsonObject
from keras_transfer.storage.atomic import whole

_SETTINGS = "speech_tokenizer.json"
_VOCABULARIES = {"byte_pairs": "tokenizer.json", "sentence_piece": "vocabulary.spm"}
_ANNOTATIONS = (
    *'"#()*+/:;<=>@[\\]^_`{|}~「」『』',
    *"<< >> <<< >>> -- --- -( -[ (' (\" (( )) ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪".split(),
)
_NOTES = "♩♪♫♬♭♮♯"
_NO_SPEECH = ("<|nospeech|>", "<|nocaptions|>")  # one token, which is called so or so
_NEVER = (
    *(f"<|{name}|>" for name in ("startoftranscript", "translate", "transcribe", "startoflm", "startofprev")),
    *_NO_SPEECH,
)
_TASKS = ("transcribe", "translate")
# In seconds: there is a timestamp token for each of 0.00 to 30.00 s.
TIMESTAMP_SECONDS = 0.02
_LANGUAGE = re.compile(r"<\|([a-z]{2,3})\|>")

# Byte-level tokenizers write a byte as a letter: printable ones of Latin-1 as themselves, the others from 256 on.
_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
_LETTERS = {chr(byte): byte for byte in _PRINTABLE} | {chr(256 + place): byte for place, byte in enumerate(_OTHERS)}


@dataclass(frozen=True, kw_only=True)
class SpecialTokens:
    """The special tokens around a transcript.

    Attributes:
        start: Begins every prompt.
        end: Follows the transcript; shorter transcripts are padded with it.
        languages: Token of each language, by its code; empty if the network has none to choose from.
        tasks: Token of each task, by its name; empty if the network has one task.
        no_timestamps: Ends the prompt of a transcript without timestamps; None for networks without timestamps.
        timestamp_begin: The token ``<|0.00|>``; each further token is 0.02 s later. None for networks without
            timestamps.
        no_speech: The network predicts it after the start if there is no speech; None for networks without one.
        suppressed: Tokens that decoding never chooses, such as brackets around sounds.
        suppressed_first: Tokens that decoding does not choose as the first one.
        english_only: Whether transcripts are English without a token for the language.
    """

    start: int
    end: int
    languages: Mapping[str, int] = field(default_factory=dict)
    tasks: Mapping[str, int] = field(default_factory=dict)
    no_timestamps: int | None = None
    timestamp_begin: int | None = None
    no_speech: int | None = None
    suppressed: tuple[int, ...] = ()
    suppressed_first: tuple[int, ...] = ()
    english_only: bool = False


class SpeechTokenizer:
    """The tokenizer of a network's transcripts.

    Special tokens that occur in a text, such as ``<|en|>``, are treated as ordinary characters.

    Args:
        kind: How texts become tokens: ``byte_pairs`` or ``sentence_piece``.
        vocabulary: The content of a ``tokenizer.json`` of the package ``tokenizers``, or a SentencePiece model.
        vocabulary_size: Number of tokens of the network.
    """

    def __init__(
        self,
        *,
        kind: Literal["byte_pairs", "sentence_piece"],
        vocabulary: bytes,
        special: SpecialTokens,
        vocabulary_size: int,
    ) -> None:
        self._kind: Literal["byte_pairs", "sentence_piece"] = kind
        self._content = _strip_special(vocabulary) if kind == "byte_pairs" else vocabulary
        self.special = special
        self.vocabulary_size = vocabulary_size
        self._model = _read_byte_pairs(self._content) if kind == "byte_pairs" else _read_sentence_piece(self._content)

    @classmethod
    def of_whisper(
        cls,
        vocabulary: bytes,
        ids: Mapping[str, int],
        vocabulary_size: int,
        *,
        multilingual: bool,
        suppressed: Sequence[int] | None = None,
    ) -> Self:
        """Make the tokenizer of one of Whisper's networks.

        Args:
            vocabulary: The content of a ``tokenizer.json``.
            ids: The special tokens by their spelling, such as ``<|startoftranscript|>``.
            multilingual: Whether prompts name a language and a task.
            suppressed: Tokens that decoding never chooses; by default those that OpenAI's code suppresses.

        Raises:
            BackboneError: A special token is missing.
        """
        special = _whisper_tokens(ids, vocabulary_size, multilingual=multilingual)
        plain = cls(kind="byte_pairs", vocabulary=vocabulary, special=special, vocabulary_size=vocabulary_size)
        never = _find_suppressed(plain, ids) if suppressed is None else suppressed
        first = (*plain._encode_plainly(" ")[:1], special.end)
        special = replace(special, suppressed=tuple(map(int, never)), suppressed_first=first)
        return cls(kind="byte_pairs", vocabulary=vocabulary, special=special, vocabulary_size=vocabulary_size)

    @property
    def end(self) -> int:
        return self.special.end

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the languages to choose from; empty for networks that have none."""
        return tuple(self.special.languages)

    @property
    def timestamp_begin(self) -> int | None:
        return self.special.timestamp_begin

    @property
    def suppressed(self) -> tuple[int, ...]:
        """Tokens that decoding never chooses."""
        return self.special.suppressed

    @property
    def suppressed_first(self) -> tuple[int, ...]:
        """Tokens that decoding does not choose as the first one."""
        return self.special.suppressed_first

    def prompt(self, *, language: str | None, task: str = "transcribe", timestamps: bool = False) -> list[int]:
        """Return the tokens that a transcript starts with.

        Args:
            language: Its code, such as ``cs``; None for networks that have no languages to choose from.
            task: ``transcribe``, or ``translate`` into English.

        Raises:
            ConfigError: The network does not support the language or task, or needs a language.
        """
        special = self.special
        self._check_language(language)
        if task not in (special.tasks or ("transcribe",)):
            raise ConfigError(
                f"head.task: this network's tasks are {', '.join(special.tasks or ('transcribe',))}. Received: {task}. "
                "Use one of them."
            )
        if timestamps and special.timestamp_begin is None:
            raise ConfigError(
                "head.timestamps: this network does not support timestamps. Received: true. Leave it out."
            )
        chosen = [special.languages[str(language)]] if special.languages else []
        chosen += [special.tasks[task]] if special.tasks else []
        marks = special.no_timestamps is not None and not timestamps
        return [special.start, *chosen, *([int(special.no_timestamps or 0)] if marks else [])]

    def _check_language(self, language: str | None) -> None:
        known = self.special.languages
        if language in known or (language is None and not known):
            return
        if not known:
            if self.special.english_only and language == "en":
                return
            what = "writes English" if self.special.english_only else "has no languages to choose from"
            raise ConfigError(f"head.language: this network {what}. Received: {language}. Leave it out.")
        like = ", ".join(code for code in known if language and code[0] == language[0].lower())
        raise ConfigError(
            f"head.language: expected the code of one of {len(known)} languages, such as {', '.join([*known][:3])}. "
            f"Received: {language}. "
            + (f"Codes with that letter: {like}." if like else "Set it to the language of the recordings.")
        )

    def encode(self, text: str) -> list[int]:
        """Turn a transcript into ordinary tokens; the network was trained on transcripts that start with a space."""
        if self._kind == "sentence_piece":
            # SentencePiece adds the space itself.
            return [int(token) for token in self._model.encode(text)]
        return self._encode_plainly(f" {text}")

    def _encode_plainly(self, text: str) -> list[int]:
        return [int(token) for token in self._model.encode(text, add_special_tokens=False).ids]

    def decode(self, ids: Sequence[int]) -> str:
        """Turn tokens into a transcript, without special tokens and without spaces at its ends."""
        joined = b"".join(self.pieces[int(token)] for token in ids if 0 <= int(token) < len(self.pieces))
        return joined.strip().decode("utf-8", errors="replace")

    @functools.cached_property
    def pieces(self) -> Sequence[bytes]:
        """The UTF-8 bytes of each token, ``b""`` for special ones: a text is the concatenation of its pieces."""
        return _byte_pieces(self._model, self) if self._kind == "byte_pairs" else _sentence_pieces(self._model, self)

    @property
    def special_ids(self) -> frozenset[int]:
        special = self.special
        found = {special.start, special.end, *special.languages.values(), *special.tasks.values()}
        return frozenset(found | {token for token in (special.no_timestamps,) if token is not None})

    @property
    def fingerprint(self) -> str:
        """A digest of everything on which tokens depend."""
        settings = json.dumps(self._settings(), sort_keys=True)
        return hashlib.sha256(settings.encode() + self._content).hexdigest()

    def _settings(self) -> JsonObject:
        return {"kind": self._kind, "vocabulary_size": self.vocabulary_size, "special": asdict(self.special)}

    def save(self, folder: Path) -> None:
        """Write the tokenizer to a folder.

        Args:
            folder: Is created; may be moved afterwards.
        """
        folder.mkdir(parents=True, exist_ok=True)
        settings = json.dumps(self._settings(), indent=1).encode()
        for name, content in ((_VOCABULARIES[self._kind], self._content), (_SETTINGS, settings)):
            with whole(folder / name) as file:
                file.write_bytes(content)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote; no code in the folder is run.

        Returns:
            A tokenizer with the same tokens.

        Raises:
            BackboneError: The folder does not contain a tokenizer, or it is damaged.
        """
        try:
            settings = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
            special = {x.name: settings["special"][x.name] for x in fields(SpecialTokens)}
            special |= {key: tuple(special[key]) for key in ("suppressed", "suppressed_first")}
            return cls(
                kind=settings["kind"],
                vocabulary=(folder / _VOCABULARIES[settings["kind"]]).read_bytes(),
                special=SpecialTokens(**special),
                vocabulary_size=int(settings["vocabulary_size"]),
            )
        except Exception as error:  # the packages raise nearly every kind for files that are missing or damaged
            reason = " ".join(str(error).split())[:300]
            raise BackboneError(
                f"The tokenizer in {folder} cannot be read: {reason} Use a complete copy of the folder."
            ) from error


def _whisper_tokens(ids: Mapping[str, int], vocabulary_size: int, *, multilingual: bool) -> SpecialTokens:
    names = {name: f"<|{name}|>" for name in ("startoftranscript", "endoftext", "notimestamps", *_TASKS)}
    missing = sorted(spelling for spelling in names.values() if spelling not in ids)
    if missing:
        raise BackboneError(
            f"The tokenizer is not Whisper's. Expected: the special tokens {', '.join(names.values())}. "
            f"Missing: {', '.join(missing)}. Use a complete copy of its folder."
        )
    languages = {
        found.group(1): int(token)
        for spelling, token in sorted(ids.items(), key=lambda item: item[1])
        if (found := _LANGUAGE.fullmatch(spelling))
    }
    begin = int(ids[names["notimestamps"]]) + 1
    return SpecialTokens(
        start=int(ids[names["startoftranscript"]]),
        end=int(ids[names["endoftext"]]),
        languages=languages if multilingual else {},
        tasks={task: int(ids[names[task]]) for task in _TASKS} if multilingual else {},
        no_timestamps=int(ids[names["notimestamps"]]),
        timestamp_begin=begin if begin < vocabulary_size else None,
        no_speech=next((int(ids[spelling]) for spelling in _NO_SPEECH if spelling in ids), None),
        english_only=not multilingual,
    )


def _find_suppressed(tokenizer: SpeechTokenizer, ids: Mapping[str, int]) -> list[int]:
    """Return the tokens of OpenAI's ``non_speech_tokens``: annotations of speech that are not pronounced.

    whisper/tokenizer.py and whisper/decoding.py, https://github.com/openai/whisper (v20231117).
    """
    found = {tokens[0] for text in (" -", " '") if (tokens := tokenizer._encode_plainly(text))}
    for symbol in [*_ANNOTATIONS, *_NOTES]:
        for tokens in map(tokenizer._encode_plainly, (symbol, f" {symbol}")):
            # Notes share their first bytes.
            if len(tokens) == 1 or (tokens and symbol in _NOTES):
                found.add(tokens[0])
    return sorted(found | {int(ids[spelling]) for spelling in _NEVER if spelling in ids})


# Vocabularies.


def write_byte_pairs(vocabulary: Mapping[str, int], merges: Sequence[str]) -> bytes:
    """Write a ``tokenizer.json`` like Whisper's and GPT-2's; the most frequent merge comes first."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    pairs = [(first, second) for first, second in (merge.split(" ") for merge in merges)]
    tokenizer = Tokenizer(models.BPE(vocab=dict(vocabulary), merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return str(tokenizer.to_str()).encode()


def _strip_special(vocabulary: bytes) -> bytes:
    """Remove the special tokens, so that a text in which one is spelled out does not contain it."""
    content = json.loads(vocabulary)
    return json.dumps({**content, "added_tokens": [], "post_processor": None}).encode()


def _read_byte_pairs(content: bytes) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_str(content.decode())


def _read_sentence_piece(content: bytes) -> Any:
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_proto=content)


def _byte_pieces(model: Any, tokenizer: SpeechTokenizer) -> list[bytes]:
    spellings = {token: spelling for spelling, token in model.get_vocab().items()}
    special = tokenizer.special_ids

    def write(token: int) -> bytes:
        spelling = "" if token in special else spellings.get(token, "")
        # A token with other characters is a special one.
        return bytes(_LETTERS[x] for x in spelling) if all(x in _LETTERS for x in spelling) else b""

    return [write(token) for token in range(tokenizer.vocabulary_size)]


def _sentence_pieces(model: Any, tokenizer: SpeechTokenizer) -> list[bytes]:
    def write(token: int) -> bytes:
        if token >= model.get_piece_size() or model.is_control(token) or model.is_unknown(token):
            return b""
        piece = str(model.id_to_piece(token))
        return bytes([int(piece[3:5], 16)]) if model.is_byte(token) else piece.replace("\u2581", " ").encode()

    return [b"" if token in tokenizer.special_ids else write(token) for token in range(tokenizer.vocabulary_size)]
