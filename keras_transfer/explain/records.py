"""What explaining an example returns, for programs and for the page."""

from dataclasses import dataclass, field

from keras_transfer.explain.pieces import Piece
from keras_transfer.networks.types import FloatArray


@dataclass(frozen=True)
class Explanation:
    """What in an example speaks for an output.

    Attributes:
        input: The file, or the text's name.
        outputs: The classes, labels or numbers that are explained. Of a text, a second one is what the first is
            compared with.
        heat_maps: Of an image, ``float32[height, width]`` for each output, scaled so that the largest size is 1: above
            0 where the image speaks for the output. Of classes and labels, what speaks against it is 0. Of a recording,
            ``float32[time, frequency]``, the lowest frequency first.
        pieces: Of a text: the whole text in pieces, each with its attribution, in units of logits or standardized
            numbers. Above 0 speaks for the first output; below 0 speaks against it, for the second one if there is one.
        note: Why there is nothing, or what was left out.
    """

    input: str
    outputs: tuple[str, ...]
    heat_maps: tuple[FloatArray, ...] = ()
    pieces: tuple[Piece, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Explained:
    """An example as the network sees it, and its heat maps.

    Attributes:
        seen: Pixels, ``float32[size, size, channels]`` in 0..255, or samples, ``float32[samples]`` in -1..1; None if it
            cannot be read.
        maps: ``float32[outputs, ...]`` over what is seen, the largest size of each being 1; None if there are none.
        problem: Why there are none.
    """

    seen: FloatArray | None = None
    maps: FloatArray | None = None
    problem: str = ""

    def to_explanation(self, name: str, outputs: tuple[str, ...]) -> Explanation:
        """Return it for programs."""
        return Explanation(name, outputs, heat_maps=() if self.maps is None else tuple(self.maps), note=self.problem)


@dataclass(frozen=True)
class EncodedImage:
    """A small image as a page holds it.

    Attributes:
        content: The bytes of a file.
        media_type: Of the file, as ``image/jpeg``.
        size: Width and height in pixels.
    """

    content: bytes = field(repr=False)
    media_type: str
    size: tuple[int, int]


@dataclass(frozen=True)
class EncodedAudio:
    """A recording as a page plays it.

    Attributes:
        content: The bytes of a file.
        media_type: Of the file, as ``audio/mpeg``.
        seconds: How long it is.
    """

    content: bytes = field(repr=False)
    media_type: str
    seconds: float


@dataclass(frozen=True)
class Shown:
    """An example as a page shows it.

    Attributes:
        name: The file, or the text's name.
        image: A thumbnail, as the network sees it; of a recording, its spectrogram.
        audio: A recording, as the network hears it.
        outputs: What is explained, as :class:`Explanation` has it.
        overlays: For each output, the thumbnail under its heat map.
        pieces: Of a text, as :class:`Explanation` has them.
        note: Why there is no explanation, or what it leaves out.
        problem: Why the example cannot be shown: it is gone, or is damaged.
    """

    name: str
    image: EncodedImage | None = None
    audio: EncodedAudio | None = None
    outputs: tuple[str, ...] = ()
    overlays: tuple[EncodedImage, ...] = ()
    pieces: tuple[Piece, ...] = ()
    note: str = ""
    problem: str = ""
