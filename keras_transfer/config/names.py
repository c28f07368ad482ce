"""Names of classes and labels: equivalent spellings, and their order."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

# Three digits of an exponent are more than floats have, and keep decimals small.
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
# Invisible, and neither format nor control characters: fillers, the blank of Braille, and variation selectors.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {chr(0xFE00 + n) for n in range(16)}


def order_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return names in numeric order if all of them are numbers, else in alphabetical order.

    Example:
        >>> order_names(["10", "9", "007"]), order_names(["10", "9", "b"])
        (('007', '9', '10'), ('10', '9', 'b'))
    """
    names = list(names)
    if all(map(_NUMBER.fullmatch, names)):
        return tuple(sorted(names, key=lambda name: (Decimal(name), name)))
    return tuple(sorted(names))


def reduce_name(name: str) -> str | Decimal:
    """Return a canonical form, which is equal for names that probably mean the same.

    It ignores case, blanks at the ends, the number and kind of blanks within, Unicode form and invisible characters;
    for a number, it is the value. It is empty for an invisible name.

    Example:
        >>> reduce_name(" Not\u00a0OK\u200b") == reduce_name("not  ok"), reduce_name("7.0") == reduce_name("07")
        (True, True)
    """
    for _ in range(2):  # folding case may leave a form that is not normalized
        name = unicodedata.normalize("NFKC", name).casefold()
    visible = "".join(" " if mark.isspace() else mark for mark in name if mark.isspace() or _is_visible(mark))
    text = " ".join(visible.split())
    return Decimal(text) if _NUMBER.fullmatch(text) else text


def _is_visible(mark: str) -> bool:
    return unicodedata.category(mark) not in ("Cf", "Cc") and mark not in _INVISIBLE


def find_twins(names: Iterable[str]) -> list[list[str]]:
    """Return the groups of two or more names that probably mean the same, each in order."""
    return [sorted(group) for group in _group(dict.fromkeys(names)).values() if len(group) > 1]


def _group(names: Iterable[str]) -> dict[str | Decimal, list[str]]:
    """The names by their canonical form."""
    groups: dict[str | Decimal, list[str]] = {}
    for name in names:
        groups.setdefault(reduce_name(name), []).append(name)
    return groups


def choose_spellings(counts: Mapping[str, int], preferred: Sequence[str] = ()) -> dict[str, str]:
    """Choose one spelling for names that probably mean the same.

    Args:
        counts: The names, and the number of rows with each.
        preferred: Spellings that are used for their equivalents; otherwise it is the most frequent spelling without
            blanks at its ends and invisible characters.

    Returns:
        A mapping from each name to its spelling.
    """
    exact, chosen = set(preferred), {reduce_name(name): name for name in reversed(preferred)}
    for key, group in _group(counts).items():
        chosen.setdefault(key, min(group, key=lambda name: (not _is_clean(name), -counts[name], len(name), name)))
    return {name: name if name in exact else chosen[reduce_name(name)] for name in counts}


def _is_clean(name: str) -> bool:
    return name == name.strip() and all(mark == " " or (_is_visible(mark) and not mark.isspace()) for mark in name)


def show_name(name: str) -> str:
    """Return a name in quotes; invisible and confusable characters are escaped."""
    is_clear = unicodedata.is_normalized("NFC", name) and all(map(_is_visible, name))
    return repr(name) if is_clear else ascii(name)
