"""Transcripts as they are learned and scored: one rule for both, which the recipe names."""

import unicodedata
from collections.abc import Callable, Mapping

from keras_transfer.errors import ConfigError

# As typed, and as typeset: Whisper writes the first of each.
_INNER_MARKS = {"'": "'", "\u2019": "'", "\u02bc": "'", "-": "-", "\u2010": "-", "\u2011": "-"}
# Invisible, but part of the spelling of Persian and of Indic words.
_JOINERS = "\u200c\u200d"


def normalize(text: str, rule: str) -> str:
    r"""Return a transcript as a rule has it. To apply a rule twice changes nothing more.

    Args:
        text: Any text.
        rule: ``whitespace``: Unicode NFC, and one space for each run of white space, with none at the ends; ``lower``:
            also in lower case; ``words``: also without punctuation and symbols, other than apostrophes and hyphens
            between letters.

    Raises:
        ConfigError: There is no such rule.

    Example:
        >>> normalize(" Don't  panic!\n", "whitespace"), normalize("Don\u2019t panic - it's OK.", "words")
        ("Don't panic!", "don't panic it's ok")
    """
    if rule not in _RULES:
        raise ConfigError(f"data.normalization: there is no rule {rule!r}. Use {', '.join(_RULES)}.")
    return _RULES[rule](text)


def _join(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _lower(text: str) -> str:
    return _join(_join(text).lower())


def _keep_words(text: str) -> str:
    # Soft hyphens and direction marks are inside of words, and must not divide them.
    text = "".join(mark for mark in _lower(text) if mark in _JOINERS or unicodedata.category(mark) != "Cf")
    padded = f" {text} "
    triples = zip(padded, text, padded[2:], strict=False)
    kept = "".join(_keep(mark, _is_of_word(before) and _is_of_word(after)) for before, mark, after in triples)
    return _join(kept)


def _keep(mark: str, is_within: bool) -> str:
    if _is_of_word(mark):
        return mark
    return _INNER_MARKS[mark] if is_within and mark in _INNER_MARKS else " "


def _is_of_word(mark: str) -> bool:
    """Whether it is a letter, a digit, or a mark on one: vowels of many scripts are marks."""
    # For Unicode, one of the apostrophes is a letter.
    return mark not in _INNER_MARKS and (mark in _JOINERS or unicodedata.category(mark)[0] in "LNM")


_RULES: Mapping[str, Callable[[str], str]] = {"whitespace": _join, "lower": _lower, "words": _keep_words}
