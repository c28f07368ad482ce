"""Heat maps of the evidence for outputs in images."""

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_transfer.data.examples.images import ImageExamples
from keras_transfer.data.formats.decoders import kind_of
from keras_transfer.data.readers.base import Reader
from keras_transfer.data.splits.splits import Split
from keras_transfer.explain.grad_cam import BATCH, GradCam, finish_maps
from keras_transfer.explain.opened import OpenedModel
from keras_transfer.explain.records import Explained, Shown
from keras_transfer.explain.thumbnails import draw_overlay, draw_thumbnail

_NO_MAP = "No heat map: no stage of the network has a spatial map."
_GONE, _BROKEN = "It can no longer be read", "It is not an image that can be read."


def explain_images(
    opened: OpenedModel | None,
    reader: Reader,
    images: ImageExamples,
    outputs: Sequence[Sequence[int]],
    count: int,
    *,
    signed: bool,
) -> list[Explained]:
    """Compute heat maps by Grad-CAM.

    Args:
        opened: The model; None if it could not be opened.
        signed: Whether a map includes evidence against an output: numbers become smaller, not less likely.

    Returns:
        One per image; it has pixels unless the image cannot be read, and maps if the network has any.
    """
    explained = [Explained(problem=_GONE)] * len(images)
    grad_cam = None if opened is None else opened.explainer(GradCam)
    for rows, pixels in _read(reader, images, explained):
        maps = None if grad_cam is None else grad_cam.explain(pixels, [outputs[row] for row in rows], count)
        for place, row in enumerate(rows):
            own = None
            if maps is not None:
                own = finish_maps(maps[: len(outputs[row]), place], pixels[place].shape[:2], signed=signed)
            explained[row] = Explained(pixels[place], own, _NO_MAP if own is None else "")
    return explained


def to_shown(name: str, outputs: tuple[str, ...], explained: Explained) -> Shown:
    """Return an explanation for the page."""
    pixels = explained.seen
    if pixels is None:
        return Shown(name, problem=explained.problem)
    maps = () if explained.maps is None else explained.maps
    overlays = tuple(draw_overlay(pixels, heat) for heat in maps)
    return Shown(name, image=draw_thumbnail(pixels), outputs=outputs, overlays=overlays, note=explained.problem)


def _read(
    reader: Reader, images: ImageExamples, explained: list[Explained]
) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
    """Rows and pixels of readable images, a few at a time; problems of the others are added to the list."""
    kinds: dict[int, bytes] = {}
    for row in range(len(images)):
        try:
            kinds[row] = kind_of(images.read(row))
        except (OSError, ValueError) as error:
            explained[row] = Explained(problem=f"{_GONE}: {getattr(error, 'strerror', None) or error}.")
    # Tracing the decoders of unused formats takes seconds.
    images = images.with_kinds(images.kinds or frozenset(kinds.values()))
    split = Split("images", images, np.zeros(len(images), np.int64), np.ones(len(images), np.float32))
    load, read = reader.load(split, reader.predictor_view), dict[int, NDArray[np.float32]]()
    for row in kinds:
        try:
            read[row] = np.asarray(load(tf.constant([row], tf.int64)), np.float32)[0]
        except tf.errors.OpError:
            explained[row] = Explained(problem=_BROKEN)
        if len(read) == BATCH or (read and row == max(kinds)):
            yield list(read), np.stack(list(read.values()))
            read = {}
