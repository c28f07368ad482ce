r"""Texts as examples: their names and fingerprints.

Sources decode bytes with ``errors="surrogateescape"``: a surrogate in a text represents a byte that is not UTF-8. The
lone surrogates that JSON can contain (``\ud800``) are treated in the same way.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Segments = tuple[str, ...]


@dataclass(frozen=True)
class Texts:
    """Texts, or pairs of texts.

    Attributes:
        names: The name of each: a file's path in its folder, or ``row 17`` of a table.
        segments: The text of each, or the two texts of a pair. Line ends, NUL and the like are unchanged.
    """

    names: tuple[str, ...]
    segments: tuple[Segments, ...]

    def __len__(self) -> int:
        return len(self.segments)

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> "Texts":
        """Return some, in this order."""
        return Texts(tuple(self.names[row] for row in rows), tuple(self.segments[row] for row in rows))

    @property
    def fingerprints(self) -> list[str]:
        """Name and content of each."""
        return [f"{name}\0{stamp}" for name, stamp in zip(self.names, self.stamps, strict=True)]

    @property
    def stamps(self) -> list[str]:
        """The SHA-256 of each one's content, whatever its name."""
        return [digest(segments).hex() for segments in self.segments]


def digest(segments: Segments) -> bytes:
    """Return a SHA-256 of a text or a pair of texts."""
    sha256 = hashlib.sha256()
    for segment in segments:
        data = segment.encode("utf-8", "surrogatepass")
        sha256.update(len(data).to_bytes(8, "little") + data)
    return sha256.digest()
