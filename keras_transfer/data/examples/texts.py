r"""Texts as examples: their names and fingerprints.

Sources decode bytes with ``errors="surrogateescape"``: a surrogate in a text represents a byte that is not UTF-8. The
lone surrogates that JSON can contain (``\ud800``) are treated in the same way.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keras_transfer.storage.content_hashes import hash_content

Segments = tuple[str, ...]

_NOT_UTF_8 = re.compile("[\ud800-\udfff\ufffd]+")


@dataclass(frozen=True)
class Texts:
    """Texts, or pairs of texts.

    Attributes:
        names: The name of each: the path of a file in its folder, or ``row 17`` of a table.
        segments: The text of each, or the two texts of a pair. Line ends, NUL and the like are unchanged.
    """

    names: tuple[str, ...]
    segments: tuple[Segments, ...]

    def __len__(self) -> int:
        return len(self.segments)

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> "Texts":
        return Texts(tuple(self.names[row] for row in rows), tuple(self.segments[row] for row in rows))

    @property
    def fingerprints(self) -> list[str]:
        return [f"{name}\0{content}" for name, content in zip(self.names, self.content_hashes, strict=True)]

    @property
    def content_hashes(self) -> list[str]:
        return [hash_text(segments) for segments in self.segments]

    @property
    def identities(self) -> list[str]:
        """The hash of each one's content, ignoring case, white space, Unicode form and bytes that are not UTF-8.

        A text has the same hash in a file, which may end with a line end, and in a table.
        """
        return [hash_text(normalize(segments)) for segments in self.segments]


def normalize(segments: Segments) -> Segments:
    """Return texts after Unicode NFKC, case folding, joining white space and replacing bytes that are not UTF-8."""
    whole = (_NOT_UTF_8.sub("\ufffd", segment) for segment in segments)
    return tuple(" ".join(unicodedata.normalize("NFKC", segment).casefold().split()) for segment in whole)


def hash_text(segments: Segments) -> str:
    """Return the hash of a text or a pair of texts."""
    return hash_content(*(segment.encode("utf-8", "surrogatepass") for segment in segments))
