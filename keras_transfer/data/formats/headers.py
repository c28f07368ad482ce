"""Check that a JPEG or PNG is complete by its structure: several times as fast as decoding it.

PNG has a checksum in every chunk; its pixel stream is decompressed, too, since a program may have written a broken one
with a valid checksum. JPEG has no checksums: damage to its coded pixels shows as wrong pixels in every decoder, and a
truncated file lacks the end marker. Headers and tables are checked as libjpeg would.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHANNELS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
# Within a JPEG's coded pixels, 0xFF is followed by 0 or by the number of a restart marker.
_MARK = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_PNG_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# For an interlaced PNG with seven passes: where each starts and the distance of its pixels, by column and row.
_PASSES = ((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2))
_MOST_BYTES = 1 << 26
_FILTERS = bytes(range(5))


@dataclass(frozen=True)
class Header:
    """The header of an image that is complete.

    Attributes:
        width: In pixels, as stored in the file.
        height: In pixels.
        animated: Whether there is more than one frame.
        stream: The compressed pixels of a PNG.
        rows: The number of rows of each pass of a PNG, and the number of bytes of each row.
    """

    width: int
    height: int
    animated: bool = False
    stream: tuple[memoryview, ...] = field(default=(), compare=False, repr=False)
    rows: tuple[tuple[int, int], ...] = field(default=(), compare=False, repr=False)

    def has_whole_stream(self) -> bool:
        """Return whether the pixels are certainly complete; in other cases, a decoder has to check."""
        if not self.rows:
            return True
        expected = sum(count * size for count, size in self.rows)
        if expected > _MOST_BYTES:
            return False
        stream = zlib.decompressobj()
        try:
            pixels = stream.decompress(b"".join(self.stream), expected + 1)
        except zlib.error:
            return False
        if len(pixels) != expected or not stream.eof:
            return False
        filters, at = bytearray(), 0
        for count, size in self.rows:
            filters += pixels[at : at + count * size : size]
            at += count * size
        return not filters.translate(None, _FILTERS)


def read_header(content: bytes) -> Header | None:
    """Read the header of a complete JPEG or PNG.

    Returns:
        The header; None for other formats, damage, and rare kinds that only a decoder can check.
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
    stream: list[memoryview] = []
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
        if kind == b"IDAT":
            stream.append(view[at + 8 : end])
        at = end + 4
    if b"IDAT" not in seen or (header[9] == 3 and b"PLTE" not in seen) or header[12] > 1:
        return None
    width, height = int.from_bytes(header[:4]), int.from_bytes(header[4:8])
    rows = _rows_of_png(width, height, bits=_SAMPLES[header[9]] * header[8], is_interlaced=header[12] == 1)
    return Header(width, height, animated=b"acTL" in seen, stream=tuple(stream), rows=rows)


def _rows_of_png(width: int, height: int, *, bits: int, is_interlaced: bool) -> tuple[tuple[int, int], ...]:
    """For each pass, the number of rows and the bytes of each row: one for the filter, then the pixels."""
    passes = _PASSES if is_interlaced else ((0, 1, 0, 1),)
    sizes = [
        (-(-(height - top) // down), -(-(width - left) // across))
        for left, across, top, down in passes
        if height > top and width > left
    ]
    return tuple((rows, 1 + -(-columns * bits // 8)) for rows, columns in sizes)


def _read_jpeg(content: bytes) -> Header | None:
    frame: bytes | None = None
    progressive, tables = False, _Tables()
    for kind, segment in _segments(content):
        if kind == 0xDB:
            if not tables.add_quantization(segment):
                return None
        elif kind == 0xC4:
            if not tables.add_huffman(segment):
                return None
        elif kind in (0xC0, 0xC1, 0xC2):  # baseline, extended and progressive, all by Huffman
            if frame is not None or not _is_frame(segment):
                return None
            frame, progressive = segment, kind == 0xC2
        elif kind == 0xDA:
            if frame is None or not _is_scan(segment, frame, tables, progressive):
                return None
        elif kind == 0xD9:
            break
        elif not (0xE0 <= kind <= 0xEF or kind in (0xDD, 0xFE)):
            return None
    else:
        return None
    if frame is None or not {*frame[8::3]} <= tables.quantization:
        return None
    return Header(int.from_bytes(frame[3:5]), int.from_bytes(frame[1:3]))


def _segments(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and content of each segment of a JPEG up to its end, or up to a damaged segment."""
    at = 2
    while content[at] == 0xFF:
        kind = content[at + 1]
        if kind == 0xD9:
            yield kind, b""
            return
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4])
        if end < at + 4 or end > len(content):
            return
        yield kind, content[at + 4 : end]
        after = _MARK.search(content, end) if kind == 0xDA else None
        at = after.start() if after else end


class _Tables:
    """The tables for a JPEG's coded pixels."""

    def __init__(self) -> None:
        self.quantization: set[int] = set()
        self.huffman: set[int] = set()  # 0 to 3 for the means of blocks, 16 to 19 for the rest

    def add_quantization(self, segment: bytes) -> bool:
        at = 0
        while at < len(segment):
            precision, table = divmod(segment[at], 16)
            if precision > 1 or table > 3:
                return False
            self.quantization.add(table)
            at += 1 + 64 * (1 + precision)
        return at == len(segment)

    def add_huffman(self, segment: bytes) -> bool:
        at = 0
        while at < len(segment):
            kind, table = divmod(segment[at], 16)
            counts = segment[at + 1 : at + 17]
            end = at + 17 + sum(counts)
            free = 1
            for count in counts:
                free = 2 * free - count
                if free < (count > 0):  # the code with only ones must not be used
                    return False
            if (
                kind > 1
                or table > 3
                or sum(counts) > 256
                or (kind == 0 and max(segment[at + 17 : end], default=0) > 15)
            ):
                return False
            self.huffman.add(segment[at])
            at = end
        return at == len(segment)


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


def _is_scan(segment: bytes, frame: bytes, tables: _Tables, progressive: bool) -> bool:
    count, parts, used = segment[0], segment[1:-3:2], segment[2:-3:2]
    if len(segment) != 4 + 2 * count or len(set(parts)) != count or not {*parts} <= {*frame[6::3]}:
        return False
    first, last, (high, low) = segment[-3], segment[-2], divmod(segment[-1], 16)
    means = {table >> 4 for table in used} if not progressive or (first == 0 and high == 0) else set()
    others = {16 + (table & 15) for table in used} if not progressive or last > 0 else set()
    if not means | others <= tables.huffman:
        return False
    if not progressive:
        return count == frame[5]  # only a decoder can check several scans
    band = last == 0 if first == 0 else first <= last <= 63 and count == 1
    return count > 0 and band and low <= 13 and (high == 0 or low == high - 1)
