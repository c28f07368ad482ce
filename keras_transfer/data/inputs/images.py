"""Images that ``predict`` accepts: files, PIL images, arrays and encoded bytes."""

import copy
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from keras_transfer.config import ImageDataConfig
from keras_transfer.data.checks.scan import Look, look_at, look_closely_at
from keras_transfer.data.examples.base import Examples
from keras_transfer.data.examples.given_images import GivenImages
from keras_transfer.data.formats.decoders import kind_of as kind_of_image
from keras_transfer.data.inputs.base import Broken, InputKind, InputRows
from keras_transfer.data.sources.paths import PathRule, find_elsewhere, find_path_rule
from keras_transfer.data.tables.tables import TABLE_SUFFIXES, kind_of


class ImageInputs(InputKind):
    """Images.

    Args:
        config: The recipe's data section.
    """

    plural = "images"
    accepted = (
        "the path of an image file (str or pathlib.Path), a PIL image, an array uint8[height, width, channels] or "
        "uint8[height, width], or the bytes of an image file"
    )

    def __init__(self, config: ImageDataConfig) -> None:
        self._config = config
        self._rule = PathRule(Path())

    def is_input(self, value: Any) -> bool:
        """Return whether it is a path, an image, or the bytes of one."""
        if isinstance(value, np.ndarray):
            return value.ndim in (2, 3) and value.dtype.kind in "uifb"
        return isinstance(value, (str, os.PathLike, bytes, bytearray, memoryview, Image.Image))

    def name(self, value: Any, number: int) -> str:
        """Return the path, or its number."""
        return str(value) if isinstance(value, (str, os.PathLike)) else f"image {number}"

    def as_path(self, value: Any) -> Path | None:
        """Return the path; "" is none: it would be the working folder."""
        return Path(value) if isinstance(value, (str, os.PathLike)) and str(value) else None

    def for_table(
        self, frames: Callable[[], Iterable[pd.DataFrame]], where: str, folder: Path
    ) -> tuple["ImageInputs", Sequence[str]]:
        """Find how paths are read: one rule holds for all rows."""
        encoded, column = self._config.bytes, self._config.path

        def paths() -> Iterator[list[str]]:
            for frame in frames():
                if (encoded is not None and encoded in frame.columns) or column not in frame.columns:
                    return  # there are no paths
                yield [path for path in _take_paths(frame[column], column) if isinstance(path, str)]

        kind = copy.copy(self)
        kind._rule = find_path_rule(Path(where), paths, self._config, folder=folder)
        return kind, kind._rule.notes

    def read_table(self, table: pd.DataFrame, where: str, folder: Path) -> InputRows:
        """Take the bytes of an image from each row, or its path."""
        encoded, column = self._config.bytes, self._config.path
        names = [f"row {position + 1}" for position in table.index]
        if encoded is not None and encoded in table.columns:
            # A table of predictions has no images in it.
            return InputRows(
                [_take_bytes(value) for value in table[encoded].tolist()], names, table.drop(columns=encoded)
            )
        if column not in table.columns:
            key, wanted = ("path", column) if encoded is None else ("bytes", encoded)
            raise self.missing_column(table, where, key, wanted)
        values: list[Any] = [*_take_paths(table[column], column)]
        for row, path in enumerate(values):
            if isinstance(path, str):
                names[row] = self._rule.resolve(path)
                values[row] = self._find_file(names[row], self._rule.root)
        return InputRows(values, names, table)

    def _find_file(self, path: str, root: Path) -> Path | Broken:
        if os.path.exists(root / path):
            return root / path
        other = find_elsewhere(path, self._config)
        hint = "" if other is None else f", but in {other}; if that is meant, set {self._config.key_of('root')} to it"
        return Broken(f"no such file in {root}{hint}")

    def read(self, values: Sequence[Any], names: Sequence[str]) -> tuple[Examples, Mapping[int, str]]:
        """Decode each image once, a few at a time, to find those that cannot be read."""
        images, looks, problems = self._look(values, names, look_closely_at)
        whole = images.select([row for row, look in enumerate(looks) if look.problem is None])
        return whole.with_kinds(frozenset(look.kind for look in looks if look.problem is None)), problems

    def find_broken(self, values: Sequence[Any], names: Sequence[str]) -> Mapping[int, str]:
        """Look for problems as the scan before training does, which decodes only images that may be incomplete."""
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
                problems[place] = _explain(value, found.problem)
        return images, looks, problems

    def read_again(self, values: Sequence[Any], names: Sequence[str]) -> Examples:
        """Take what was decoded before for images; of each, only the format is looked up."""
        images = GivenImages(tuple(names), tuple(values))
        return images.with_kinds(frozenset(map(_find_kind, images.values)))


def _find_kind(value: Any) -> bytes:
    if not isinstance(value, (str, os.PathLike)):
        return kind_of_image(value if isinstance(value, bytes) else GivenImages(("",), (value,)).read(0))
    with open(value, "rb") as file:
        return kind_of_image(file.read(2))


def _explain(value: Any, problem: str) -> str:
    """A better reason for a path that is not that of an image."""
    if not isinstance(value, (str, os.PathLike)):
        return problem
    if os.path.isdir(value) and str(value):
        return "a folder; predict for it alone, as a pathlib.Path, since each of its files is an input"
    if Path(value).suffix.lower() in TABLE_SUFFIXES and os.path.isfile(value):
        return "a table; predict for it alone, since each of its rows is an input"
    return problem


def _take_bytes(value: Any) -> Any:
    if isinstance(value, dict):  # as Hugging Face's datasets have images
        value = value.get("bytes")
    if isinstance(value, str):  # as tables are read, bytes that are not UTF-8 are surrogates
        value = value.encode("utf-8", "surrogateescape")
    return value if isinstance(value, bytes) else Broken(f"expected the bytes of an image file: {kind_of(value)}")


def _take_paths(column: "pd.Series[Any]", name: str) -> list[str | Broken]:
    absent = column.isna().tolist()
    return [
        Broken(f"column {name!r} is empty")
        if no or not str(value).strip()
        else str(value)
        if isinstance(value, (str, os.PathLike, int))
        else Broken(f"column {name!r} has {kind_of(value)}; expected a path")
        for value, no in zip(column.tolist(), absent, strict=True)
    ]
