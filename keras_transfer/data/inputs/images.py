"""Images that ``predict`` accepts: files, PIL images, arrays and encoded bytes."""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from keras_transfer.config.data import ImageDataConfig
from keras_transfer.data.checks.scan import Look, look_at, look_closely_at
from keras_transfer.data.examples.base import Examples
from keras_transfer.data.examples.images import GivenImages
from keras_transfer.data.formats.decoders import kind_of as kind_of_image
from keras_transfer.data.inputs.base import Broken
from keras_transfer.data.inputs.files import FileInputs, explain, take_bytes


class ImageInputs(FileInputs):
    """Images."""

    plural = "images"
    accepted = (
        "the path of an image file (str or pathlib.Path), a PIL image, an array uint8[height, width, channels] or "
        "uint8[height, width], or the bytes of an image file"
    )

    def __init__(self, config: ImageDataConfig) -> None:
        super().__init__(config)
        self._config = config

    def is_input(self, value: Any) -> bool:
        if isinstance(value, np.ndarray):
            return value.ndim in (2, 3) and value.dtype.kind in "uifb"
        return isinstance(value, (str, os.PathLike, bytes, bytearray, memoryview, Image.Image))

    def name(self, value: Any, number: int) -> str:
        return str(value) if isinstance(value, (str, os.PathLike)) else f"image {number}"

    def from_bytes(self, value: Any) -> Any:
        return take_bytes(value, "an image file")

    def read(self, values: Sequence[Any], names: Sequence[str]) -> tuple[Examples, Mapping[int, str]]:
        """Decode each image once, a few at a time, to find those that cannot be read."""
        images, looks, problems = self._look(values, names, look_closely_at)
        whole = images.select([row for row, look in enumerate(looks) if look.problem is None])
        return whole.with_kinds(frozenset(look.kind for look in looks if look.problem is None)), problems

    def find_broken(self, values: Sequence[Any], names: Sequence[str]) -> Mapping[int, str]:
        """Check images as the scan before training does, which decodes only those that may be incomplete."""
        return self._look(values, names, look_at)[2]

    def _look(
        self, values: Sequence[Any], names: Sequence[str], look: Callable[..., Look]
    ) -> tuple[GivenImages, Sequence[Look], dict[int, str]]:
        problems = {place: value.problem for place, value in enumerate(values) if isinstance(value, Broken)}
        places = [place for place in range(len(values)) if place not in problems]
        images = GivenImages(tuple(names[place] for place in places), tuple(values[place] for place in places))
        limits = {"max_pixels": self._config.max_pixels, "channels": self._config.channels}
        # Pillow warns about images that decode without an error.
        with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(os.cpu_count()) as pool:
            looks = list(pool.map(lambda row: look(images, row, **limits), range(len(images))))
        for place, value, found in zip(places, images.values, looks, strict=True):
            if found.problem is not None:
                problems[place] = explain(value, found.problem)
        return images, looks, problems

    def read_again(self, values: Sequence[Any], names: Sequence[str]) -> Examples:
        """Assume that values decoded earlier are images; only the format of each is looked up."""
        images = GivenImages(tuple(names), tuple(values))
        return images.with_kinds(frozenset(map(_find_kind, images.values)))


def _find_kind(value: Any) -> bytes:
    if not isinstance(value, (str, os.PathLike)):
        return kind_of_image(value if isinstance(value, bytes) else GivenImages(("",), (value,)).read(0))
    with open(value, "rb") as file:
        return kind_of_image(file.read(2))
