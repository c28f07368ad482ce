"""Files of text as they are written: their encoding, and the delimiter of a CSV."""

import codecs
import contextlib
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

AUTO = "auto"
DELIMITERS = {",": "','", ";": "';'", "\t": "a tab", "|": "'|'"}
"""Those that are tried, and what messages call them."""

# The mark of UTF-32 starts with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True)
class Decoded:
    """The text of a file.

    Attributes:
        text: Without a byte order mark. A byte that is not UTF-8 is a surrogate.
        note: How it was decoded, if that is not as UTF-8.
    """

    text: str
    note: str | None = None


def decode_text(data: bytes, encoding: str = AUTO) -> Decoded:
    """Decode the content of a file.

    Args:
        data: The content.
        encoding: ``auto``: by its byte order mark, else UTF-8; or the name of an encoding.

    Raises:
        UnicodeDecodeError: It is not text in this encoding.
        ValueError: Its byte order mark is that of another encoding.
    """
    marked = next((name for mark, name in _MARKS.items() if data.startswith(mark)), None)
    if encoding == AUTO:
        if marked in (None, "utf-8"):
            return Decoded(data.decode("utf-8-sig", "surrogateescape"))
        return Decoded(data.decode(str(marked)), f"{str(marked).upper()}, by its byte order mark")
    name = codecs.lookup(encoding).name
    if marked is not None and not name.startswith(marked):
        raise ValueError(f"it has the byte order mark of {marked.upper()}, and data.encoding is {encoding}")
    if name in ("utf-8", "utf-8-sig"):
        return Decoded(data.decode("utf-8-sig", "surrogateescape"))
    text = data.decode(name).removeprefix("\ufeff")
    return Decoded(text, f"valid UTF-8, too, and read as {encoding}" if _is_utf8_beyond_ascii(data) else None)


def _is_utf8_beyond_ascii(data: bytes) -> bool:
    """Whether bytes are probably UTF-8: in other encodings, letters with accents hardly form valid sequences."""
    if data.isascii():
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def describe_undecodable(error: UnicodeDecodeError) -> str:
    """Return which byte of a file is not text in its encoding, and in which line."""
    line = error.object.count(b"\n", 0, error.start) + 1
    return f"byte 0x{error.object[error.start]:02x} in line {line} is not {error.encoding}"


@dataclass(frozen=True)
class Dialect:
    """How the fields of a CSV are separated.

    Attributes:
        delimiter: Between two fields.
        start: Where the header starts: spreadsheets may write a line ``sep=;`` before it.
        note: Its name, if it is not the comma of a .csv or the tab of a .tsv.
    """

    delimiter: str
    start: int = 0
    note: str | None = None


def choose_dialect(text: str, delimiter: str = AUTO, *, preferred: str = ",") -> Dialect:
    """Find the delimiter of a CSV.

    Args:
        text: The content of the file.
        delimiter: ``auto``, ``tab`` or one character. Auto is the one that separates the names of the first line; if
            several do, the one by which every row has as many fields as the first line.
        preferred: The delimiter of such files: it needs no note.

    Raises:
        ValueError: Several delimiters are possible.
    """
    declared = re.match(r"sep=(.)\r?\n", text)
    start = declared.end() if declared else 0
    if delimiter != AUTO:
        return Dialect("\t" if delimiter in ("tab", "\\t") else delimiter, start)
    if declared:
        return Dialect(declared[1], start)
    possible = [one for one in DELIMITERS if _count_fields(text, one) > 1]
    if len(possible) > 1:
        # The header of a table may have a comma in a name.
        possible = [one for one in possible if _is_regular(text, one)] or [preferred]
    if len(possible) > 1:
        names = " or ".join(DELIMITERS[one] for one in possible)
        raise ValueError(f"the fields could be separated by {names}. Set data.delimiter to one of them")
    chosen = possible[0] if possible else preferred
    return Dialect(chosen, 0, None if chosen == preferred else f"fields are separated by {DELIMITERS[chosen]}")


def read_records(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Iterate over the records of a CSV, and the line that each starts in; blank lines are left out.

    Raises:
        ValueError: Quotes are not closed, or follow a field.
    """
    starts = 1
    with _unlimited_fields():
        try:
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
            for fields in reader:
                if fields:
                    yield starts, fields
                starts = reader.line_num + 1
        except csv.Error as error:
            raise ValueError(f"invalid quoting in the row that starts in line {starts}: {error}") from error


@contextlib.contextmanager
def _unlimited_fields() -> Iterator[None]:
    limit = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _count_fields(text: str, delimiter: str) -> int:
    try:
        return len(next(read_records(text, delimiter), (0, []))[1])
    except ValueError:
        return 0


def _is_regular(text: str, delimiter: str) -> bool:
    try:
        return len({len(fields) for _, fields in read_records(text, delimiter)}) == 1
    except ValueError:
        return False
