"""Text files: their encoding, and the delimiter of a CSV."""

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

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
_MARK_BYTES = max(map(len, _MARKS))
_UTF8 = "utf-8-sig"
_PIECE = 1 << 20
_DECLARATION = len("sep=;\r\n")


@dataclass(frozen=True)
class Decoded:
    """The text of a file.

    Attributes:
        text: Without a byte order mark. A byte that is not UTF-8 is a surrogate.
        note: How it was decoded, if not as UTF-8.
    """

    text: str
    note: str | None = None


def decode_text(data: bytes, encoding: str) -> Decoded:
    """Decode the content of a file.

    Args:
        encoding: ``auto``: according to its byte order mark, else UTF-8; or the name of an encoding.

    Raises:
        UnicodeDecodeError: It is not text in this encoding.
        ValueError: Its byte order mark is that of another encoding.
    """
    codec, note = _find_codec(data[:_MARK_BYTES], encoding)
    if codec == _UTF8:
        return Decoded(data.decode(codec, "surrogateescape"))
    text = data.decode(codec).removeprefix("\ufeff")
    return Decoded(text, note or _note_utf8(io.BytesIO(data), encoding))


def open_decoded(file: Path, encoding: str, *, newline: str | None = "") -> TextIO:
    """Open a file like :func:`decode_text` decodes its content, without reading it as a whole.

    Args:
        newline: As ``open`` takes it.

    Raises:
        ValueError: Its byte order mark is that of another encoding.
        OSError: It cannot be opened.
    """
    codec, _ = _find_codec(_read_start(file), encoding)
    stream = file.open("r", encoding=codec, errors="surrogateescape" if codec == _UTF8 else "strict", newline=newline)
    # Codecs with a byte order in their name treat a mark as text.
    if codec != _UTF8 and stream.read(1) != "\ufeff":
        stream.seek(0)
    return stream


def note_decoding(file: Path, encoding: str) -> str | None:
    """Return what :attr:`Decoded.note` would be, without reading the file as a whole.

    Raises:
        ValueError: As above.
        OSError: As above.
    """
    codec, note = _find_codec(_read_start(file), encoding)
    if codec == _UTF8:
        return None
    with file.open("rb") as stream:
        return note or _note_utf8(stream, encoding)


def _read_start(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(_MARK_BYTES)


def _find_codec(start: bytes, encoding: str) -> tuple[str, str | None]:
    """The codec of a file with the given first bytes, and a line for the user if a mark determines it."""
    marked = next((name for mark, name in _MARKS.items() if start.startswith(mark)), None)
    if encoding == AUTO:
        if marked is None or marked == "utf-8":
            return _UTF8, None
        return marked, f"{marked.upper()}, by its byte order mark"
    name = codecs.lookup(encoding).name
    if marked is not None and not name.startswith(marked):
        raise ValueError(f"it has the byte order mark of {marked.upper()}, and data.encoding is {encoding}")
    return (_UTF8 if name in ("utf-8", _UTF8) else name), None


def _note_utf8(data: BinaryIO, encoding: str) -> str | None:
    """A line if bytes are probably UTF-8: in other encodings, accented letters rarely form valid sequences."""
    decoder, is_ascii = codecs.getincrementaldecoder("utf-8")(), True
    try:
        while piece := data.read(_PIECE):
            is_ascii = is_ascii and piece.isascii()
            decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return None
    return None if is_ascii else f"valid UTF-8, too, and read as {encoding}"


def describe_undecodable(error: UnicodeDecodeError) -> str:
    """Return the byte of a file that is not text in its encoding, and its line."""
    line = error.object.count(b"\n", 0, error.start) + 1
    return f"byte 0x{error.object[error.start]:02x} in line {line} is not {error.encoding}"


@dataclass(frozen=True)
class Dialect:
    """How the fields of a CSV are separated.

    Attributes:
        start: Where the header starts: spreadsheets may write a line ``sep=;`` before it.
        note: The name of the delimiter, if it is not the comma of a .csv or the tab of a .tsv.
    """

    delimiter: str
    start: int = 0
    note: str | None = None


def choose_dialect(open_text: Callable[[], TextIO], delimiter: str, *, preferred: str) -> Dialect:
    """Find the delimiter of a CSV.

    Args:
        open_text: Opens the content of the file, without translating line ends; may be called several times.
        delimiter: ``auto``, ``tab`` or one character. With ``auto``, the delimiter that separates the names of the
            first line; if several do, the one with which every row has as many fields as the first line.

    Raises:
        ValueError: Several delimiters are possible.
    """
    with open_text() as text:
        declared = re.match(r"sep=(.)\r?\n", text.read(_DECLARATION))
    start = declared.end() if declared else 0
    if delimiter != AUTO:
        return Dialect("\t" if delimiter in ("tab", "\\t") else delimiter, start)
    if declared:
        return Dialect(declared[1], start)
    possible = [one for one in DELIMITERS if _count_fields(open_text, one) > 1]
    if len(possible) > 1:
        # The header of a table may have a comma in a name.
        possible = [one for one in possible if _is_regular(open_text, one)] or [preferred]
    if len(possible) > 1:
        names = " or ".join(DELIMITERS[one] for one in possible)
        raise ValueError(f"the fields could be separated by {names}. Set data.delimiter to one of them")
    chosen = possible[0] if possible else preferred
    return Dialect(chosen, 0, None if chosen == preferred else f"fields are separated by {DELIMITERS[chosen]}")


def read_records(text: TextIO, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Iterate over the records of a CSV, and the line in which each starts; blank lines are skipped.

    Raises:
        ValueError: Quotes are not closed, or follow a field.
    """
    starts, limit = 1, csv.field_size_limit(2**31 - 1)
    try:
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        for fields in reader:
            if fields:
                yield starts, fields
            starts = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"invalid quoting in the row that starts in line {starts}: {error}") from error
    finally:
        csv.field_size_limit(limit)


def _count_fields(open_text: Callable[[], TextIO], delimiter: str) -> int:
    try:
        with open_text() as text:
            return len(next(read_records(text, delimiter), (0, []))[1])
    except ValueError:
        return 0


def _is_regular(open_text: Callable[[], TextIO], delimiter: str) -> bool:
    try:
        with open_text() as text:
            return len({len(fields) for _, fields in read_records(text, delimiter)}) == 1
    except ValueError:
        return False
