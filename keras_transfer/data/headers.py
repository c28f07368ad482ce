"""Whether a JPEG or PNG is whole, by its structure alone: some twenty times as fast as to decode it.

PNG has a checksum in every chunk. JPEG has none: damage to its coded pixels shows as wrong pixels in every decoder, and
what tells that a file was cut off is the mark at its end. Headers and tables are checked as libjpeg would.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHANNELS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PNG_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")


@dataclass(frozen=True)
class Header:
    """What a whole picture says of itself.

    Attributes:
        width: In pixels, as they lie in the file.
        height: In pixels.
        animated: Whether there is more than one frame.
    """

    width: int
    height: int
    animated: bool = False


def read_header(content: bytes) -> Header | None:
    """Read the header of a JPEG or PNG that is whole.

    Args:
        content: The bytes of a file.

    Returns:
        The header; None for other formats, damage, and kinds so rare that only a decoder can tell.
    """
    try:
        if content.startswith(b"\xff\xd8"):
            return _read_jpeg(content)
        return _read_png(content) if content.startswith(_PNG) else None
    except IndexError:
        return None  # it ends too early


def _read_png(content: bytes) -> Header | None:
    header: memoryview | None = None
    seen: set[bytes] = set()
    at, view = len(_PNG), memoryview(content)
    while True:
        length, kind = int.from_bytes(view[at : at + 4]), bytes(view[at + 4 : at + 8])
        end = at + 8 + length
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4]) or end + 4 > len(content):
            return None
        if (header is None) != (kind == b"IHDR") or not (kind[0] & 0x20 or kind in _PNG_CRITICAL):
            return None
        if header is None:
            header = view[at + 8 : end]
            if length != 13 or header[8] not in _PNG_CHANNELS.get(header[9], ()) or any(header[10:12]):
                return None
        if kind == b"IEND":
            break
        seen.add(kind)
        at = end + 4
    if b"IDAT" not in seen or (header[9] == 3 and b"PLTE" not in seen) or header[12] > 1:
        return None
    return Header(int.from_bytes(header[:4]), int.from_bytes(header[4:8]), animated=b"acTL" in seen)


def _read_jpeg(content: bytes) -> Header | None:
    frame: bytes | None = None
    tables: set[int] = set()
    for kind, segment, end in _segments(content):
        if kind == 0xDB:
            if not _is_quantization(segment, tables):
                return None
        elif kind == 0xC4:
            if not _is_huffman(segment):
                return None
        elif kind in (0xC0, 0xC1, 0xC2):  # baseline, extended and progressive, all by Huffman
            if frame is not None or not _is_frame(segment):
                return None
            frame = segment
        elif kind == 0xDA:
            if frame is None or not _is_scan(segment, frame) or content.find(b"\xff\xd9", end) < 0:
                return None
            if not {frame[place] for place in range(8, len(frame), 3)} <= tables:
                return None
            return Header(int.from_bytes(frame[3:5]), int.from_bytes(frame[1:3]))
        elif not (0xE0 <= kind <= 0xEF or kind in (0xDD, 0xFE)):
            return None
    return None


def _segments(content: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Kind and content of each segment of a JPEG, and where it ends."""
    at = 2
    while content[at] == 0xFF:
        kind, end = content[at + 1], at + 2 + int.from_bytes(content[at + 2 : at + 4])
        if end < at + 4 or end > len(content):
            return
        yield kind, content[at + 4 : end], end
        at = end


def _is_frame(segment: bytes) -> bool:
    precision, components = segment[0], segment[5]
    factors = [divmod(factor, 16) for factor in segment[7::3]]
    most = [max(pair[axis] for pair in factors) for axis in (0, 1)] if factors else [0, 0]
    return (
        precision == 8
        and components in (1, 3, 4)
        and len(segment) == 6 + 3 * components
        and any(segment[1:3])
        and any(segment[3:5])
        and all(1 <= factor <= 4 and most[axis] % factor == 0 for pair in factors for axis, factor in enumerate(pair))
    )


def _is_scan(segment: bytes, frame: bytes) -> bool:
    count = segment[0]
    known = set(frame[6::3])
    return (
        len(segment) == 4 + 2 * count
        and 1 <= count <= 4
        and len(set(segment[1:-3:2])) == count
        and set(segment[1:-3:2]) <= known
        and all(tables >> 4 < 4 and tables & 15 < 4 for tables in segment[2:-3:2])
    )


def _is_quantization(segment: bytes, tables: set[int]) -> bool:
    at = 0
    while at < len(segment):
        precision, table = divmod(segment[at], 16)
        if precision > 1 or table > 3:
            return False
        tables.add(table)
        at += 1 + 64 * (1 + precision)
    return at == len(segment)


def _is_huffman(segment: bytes) -> bool:
    at = 0
    while at < len(segment):
        kind, table = divmod(segment[at], 16)
        counts = segment[at + 1 : at + 17]
        free = 1
        for count in counts:
            free = 2 * free - count
            if free < 0:
                return False
        if kind > 1 or table > 3 or sum(counts) > 256:
            return False
        at += 17 + sum(counts)
    return at == len(segment)
