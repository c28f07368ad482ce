"""Text from data, file names and run folders, made safe for a terminal."""

import re
import reprlib
from typing import Any

# Control characters (C0, DEL, C1), line separators, the bidi embeddings, overrides and isolates that reorder what is
# read, and surrogates, which are bytes that are not UTF-8. Joiners and direction marks belong to names.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_UNSAFE_IN_LINE = re.compile(f"[\t\n{_UNSAFE.pattern[1:]}")


def printable(text: object) -> str:
    r"""Return a text in which characters that control a terminal are escaped, as in ``\u001b``.

    Tabs and line ends stay. In JSON, the escapes are those of JSON.

    Example:
        >>> print(printable("red \x1b[31m"))
        red \u001b[31m
    """
    return _UNSAFE.sub(_escape, str(text))


def one_line(text: object) -> str:
    r"""Return a text as :func:`printable` does, with tabs and line ends escaped too: one field of a line.

    Example:
        >>> print(one_line("two\nlines\tand a tab"))
        two\nlines\tand a tab
    """
    return _UNSAFE_IN_LINE.sub(_escape, str(text))


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character, f"\\u{ord(character):04x}")


class _Short(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:
        try:
            return super().repr_int(x, level)
        except ValueError:  # Python refuses to write that many digits; its bits give their number, or one more
            return f"<a whole number of about {int(abs(x).bit_length() * 0.30103) + 1:,} digits>"


def show_value(value: Any, **limits: int) -> str:
    """Return any value for a message, like ``reprlib.repr``; also supports integers with thousands of digits.

    Args:
        **limits: Attributes of ``reprlib.Repr``, such as ``maxstring``.

    Example:
        >>> show_value("a" * 100), show_value([10**5000])
        ("'aaaaaaaaaaaa...aaaaaaaaaaaaa'", '[<a whole number of about 5,001 digits>]')
    """
    short = _Short()
    for name, limit in limits.items():
        setattr(short, name, limit)
    return short.repr(value)


def with_interval(value: float, interval: tuple[float, float]) -> str:
    """Return a measured value and its interval.

    Example:
        >>> with_interval(0.878, (0.8508, 0.9009))
        '0.8780  (95 % interval 0.8508 to 0.9009)'
    """
    return f"{value:.4f}  (95 % interval {interval[0]:.4f} to {interval[1]:.4f})"
