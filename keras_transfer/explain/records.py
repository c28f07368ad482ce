"""Records of explanations, for programs and for the page."""

from dataclasses import dataclass, field

from keras_transfer.explain.pieces import Piece
from keras_transfer.networks.types import FloatArray


@dataclass(frozen=True)
class Explanation:
    """The evidence in an example for an output.

    Attributes:
        input: The file, or the text's name.
        outputs: The classes, labels or numbers that are explained. For a text, the first is compared with the second.
        heat_maps: For an image, ``float32[height, width]`` for each output, scaled so that the largest absolute value
            is 1: above 0 is evidence for the output. For classes and labels, evidence against it is 0. For a recording,
            ``float32[time, frequency]``, the lowest frequency first.
        pieces: For a text: the whole text in pieces, each with its attribution, in units of logits or standardized
            numbers. Above 0 is evidence for the first output; below 0 is evidence against it, or for the second one if
            there is one.
        note: Why there is no explanation, or what was left out.
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
        seen: Pixels, ``float32[size, size, channels]`` in 0..255, or samples, ``float32[samples]`` in -1..1; None if
            unreadable.
        maps: ``float32[outputs, ...]`` on the grid of ``seen``, with a largest absolute value of 1 each; None if there
            are none.
        problem: Why there are none.
    """

    seen: FloatArray | None = None
    maps: FloatArray | None = None
    problem: str = ""

    def to_explanation(self, name: str, outputs: tuple[str, ...]) -> Explanation:
        """Return the explanation for programs."""
        return Explanation(name, outputs, heat_maps=() if self.maps is None else tuple(self.maps), note=self.problem)


@dataclass(frozen=True)
class EncodedImage:
    """A small image in a page.

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
    """A recording in a page.

    Attributes:
        content: The bytes of a file.
        media_type: Of the file, as ``audio/mpeg``.
        seconds: Its duration.
    """

    content: bytes = field(repr=False)
    media_type: str
    seconds: float


@dataclass(frozen=True)
class Shown:
    """An example in a page.

    Attributes:
        name: The file, or the text's name.
        image: A thumbnail, as the network sees it; of a recording, its spectrogram.
        audio: A recording, as the network hears it.
        outputs: What is explained, as :class:`Explanation` has it.
        overlays: For each output, the thumbnail under its heat map.
        pieces: Of a text, as :class:`Explanation` has them.
        note: Why there is no explanation, or what it leaves out.
        problem: Why the example cannot be shown: it is missing, or is damaged.
    """

    name: str
    image: EncodedImage | None = None
    audio: EncodedAudio | None = None
    outputs: tuple[str, ...] = ()
    overlays: tuple[EncodedImage, ...] = ()
    pieces: tuple[Piece, ...] = ()
    note: str = ""
    problem: str = ""
