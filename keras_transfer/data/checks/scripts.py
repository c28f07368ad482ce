"""The scripts that texts are written in: Latin, Cyrillic, ..."""

import functools
import unicodedata
from collections import Counter
from collections.abc import Sequence

_FIRST_LETTERS = 300
_COMMON_SCRIPT = 0.05
_JAPANESE = {"HIRAGANA": "CJK", "KATAKANA": "CJK"}


def find_script(text: str) -> str:
    """Return the script of most letters of a text's start, such as ``LATIN``; empty without letters."""
    counts = Counter(script for mark in text[: 4 * _FIRST_LETTERS] if (script := _script_of(mark)))
    return counts.most_common(1)[0][0] if counts else ""


@functools.lru_cache(maxsize=2**16)
def _script_of(mark: str) -> str:
    """The first word of a letter's Unicode name is its script."""
    if not mark.isalpha():
        return ""
    script = unicodedata.name(mark, "").partition(" ")[0]
    return _JAPANESE.get(script, script)


def find_common(scripts: Sequence[str]) -> dict[str, float]:
    """Return the scripts that are not rare among those of texts, with their shares, the most frequent one first."""
    counts = Counter(script for script in scripts if script)
    total = sum(counts.values())
    return {script: count / total for script, count in counts.most_common() if count >= _COMMON_SCRIPT * total}
