"""Locate the tokens of a text in it."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

Span = tuple[int, int]
"""Start and end of a token in a text, in characters; the end is the first one behind it."""

# A tokenizer may drop some characters between two tokens, not whole sentences.
_LONGEST_GAP = 64
# A network only reads the beginning of a text of many megabytes.
_MOST_CHARACTERS = 256


@dataclass(frozen=True)
class Piece:
    """A part of a text.

    Attributes:
        text: The characters.
        attribution: How much they change the explained output: above 0 towards it, below 0 away from it.
    """

    text: str
    attribution: float


def divide_text(text: str, surfaces: Sequence[bytes | None], attributions: Sequence[float]) -> tuple[Piece, ...]:
    """Divide a text into pieces with the attributions of its tokens; joined, the pieces are the text.

    Tokens that share a character, such as the bytes of an emoji, are one piece, whose attribution is their sum.

    Args:
        surfaces: The spelling of each token; None for a word that is not in the vocabulary.
    """
    pieces: list[Piece] = []
    start = end = 0
    total = 0.0
    read = text[: _MOST_CHARACTERS * (len(surfaces) + 1)]
    for span, attribution in zip(find_spans(read, surfaces), attributions, strict=True):
        if start < end and (span[0] < end or span[0] == span[1]):
            end, total = max(end, span[1]), total + attribution
            continue
        pieces += _cut(text, start, end, total)
        # White space before a token is not evidence.
        pieces += _cut(text, end, span[0], 0.0)
        (start, end), total = span, attribution + (total if start == end else 0.0)
    pieces += _cut(text, start, end, total)
    return (*pieces, *_cut(text, end, len(text), 0.0))


def _cut(text: str, start: int, end: int, attribution: float) -> list[Piece]:
    return [Piece(text[start:end], attribution)] if start < end else []


def find_spans(text: str, surfaces: Sequence[bytes | None]) -> list[Span]:
    """Find the tokens of a text, in order.

    A tokenizer may fold case, strip accents and normalize Unicode. So tokens are searched twice, unchanged and folded,
    and the search that finds more of them is used.

    Args:
        surfaces: The spelling of each token in UTF-8, without markers for the start of a word; empty if unknown, and
            None for a word that is not in the vocabulary.

    Returns:
        A span for each; an empty one for a token that is not found.
    """
    ways = [_walk(_Stream.read(text, folded=folded), surfaces, folded=folded) for folded in (False, True)]
    spans = max(ways, key=lambda spans: sum(span is not None for span in spans))
    return _fill(text, spans, surfaces)


@dataclass(frozen=True)
class _Stream:
    """A text as bytes without white space.

    Attributes:
        content: The bytes.
        characters: The index of the character of each byte.
        word_ends: For each byte, the end of its word.
    """

    content: bytes
    characters: list[int]
    word_ends: list[int]

    @classmethod
    def read(cls, text: str, *, folded: bool) -> "_Stream":
        content, characters, words, word = bytearray(), [], [], 0
        for index, character in enumerate(text):
            if character.isspace():
                word += 1
                continue
            punctuation = unicodedata.category(character)[0] in "PS"
            word += punctuation
            encoded = _fold(character) if folded else character.encode("utf-8", "surrogatepass")
            content += encoded
            characters += [index] * len(encoded)
            words += [word] * len(encoded)
            word += punctuation
        ends = [len(words)] * len(words)
        for place in range(len(words) - 2, -1, -1):
            ends[place] = ends[place + 1] if words[place] == words[place + 1] else place + 1
        return cls(bytes(content), characters, ends)


def _fold(text: str) -> bytes:
    plain = unicodedata.normalize("NFKD", text.casefold())
    kept = (character for character in plain if unicodedata.category(character) != "Mn" and not character.isspace())
    return "".join(kept).encode("utf-8", "surrogatepass")


def _walk(stream: _Stream, surfaces: Sequence[bytes | None], *, folded: bool) -> list[Span | None]:
    spans: list[Span | None] = []
    at = 0
    for surface in surfaces:
        if surface is None:
            end = stream.word_ends[at] if at < len(stream.content) else at
            spans.append(_to_characters(stream, at, end))
            at = end
            continue
        token = b"".join(surface.split())
        token = _fold(token.decode("utf-8", "replace")) if folded else token
        found = stream.content.find(token, at, at + len(token) + _LONGEST_GAP) if token else -1
        if found < 0:
            spans.append(None)
            continue
        at = found + len(token)
        spans.append(_to_characters(stream, found, at))
    return spans


def _to_characters(stream: _Stream, start: int, end: int) -> Span | None:
    return (stream.characters[start], stream.characters[end - 1] + 1) if start < end else None


def _fill(text: str, spans: Sequence[Span | None], surfaces: Sequence[bytes | None]) -> list[Span]:
    """A token with an unknown spelling covers the text between its neighbours."""
    filled: list[Span] = []
    end = 0
    for index, span in enumerate(spans):
        if span is None:
            following = next((later[0] for later in spans[index + 1 :] if later is not None), len(text))
            gap = text[end:following]
            start = end + len(gap) - len(gap.lstrip())
            known = surfaces[index]
            span = (start, start + len(gap.strip())) if known is not None and not known else (end, end)
        filled.append(span)
        end = max(end, span[1])
    return filled
