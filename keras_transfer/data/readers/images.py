"""Images as tf.data: decoded in parallel, augmented, and in an order that depends only on (seed, epoch)."""

import copy
import functools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_transfer.config.augmentation import AugmentationConfig
from keras_transfer.data.augmentation.augment import augment, draw, is_identity
from keras_transfer.data.augmentation.from_python import ImageFunction, apply_function, draw_seed
from keras_transfer.data.augmentation.mixing import mix
from keras_transfer.data.checks.scan import find_problem
from keras_transfer.data.examples.images import ImageExamples, Images
from keras_transfer.data.formats.images import Resize, decode_image
from keras_transfer.data.formats.pixel_counts import count_pixels
from keras_transfer.data.readers.base import CLIENTS, INPUTS, PLAIN, Reader, Rows, View, divide_rows, shuffle_rows
from keras_transfer.data.splits.splits import Split, images_of
from keras_transfer.networks.types import Dataset, JsonObject, Tensor, Tensors


class ImageReader(Reader):
    """Reads image files, changes them at random for training, and makes batches of them.

    Inputs are ``float32[batch, size, size, channels]`` in 0..255.

    Args:
        image_size: Height and width in pixels.
    """

    tensor_endpoint = "serve_tensor"

    def __init__(
        self,
        *,
        image_size: int,
        channels: int,
        resize: Resize,
        augmentation: AugmentationConfig,
        seed: int,
        max_pixels: int,
    ) -> None:
        self._max_pixels, self._channels = max_pixels, channels
        self._size, self._resize, self._augmentation, self._seed = image_size, resize, augmentation, seed
        self._function: ImageFunction | None = None
        self._augments = not is_identity(augmentation)
        self.mixes = bool(augmentation.mixup or augmentation.cutmix)
        self.flips = _flip_axes(augmentation)
        self.raw_inputs = (tf.TensorSpec([None], tf.string, "image_bytes"),)
        self.tensor_inputs = (tf.TensorSpec([None, image_size, image_size, channels], tf.float32, "pixels"),)

    def with_function(self, function: ImageFunction) -> "ImageReader":
        """Return a reader that also changes training images by a user's function, after the other changes."""
        reader = copy.copy(self)
        reader._function = function
        # The name does not identify a function: features of its images are not cached.
        reader.mixes = True
        return reader

    def order(self, split: Split, *, batch_size: int, seed: int, epochs: range, skip: int = 0) -> Dataset:
        return shuffle_rows(len(split), batch_size=batch_size, seed=seed, epochs=epochs, skip=skip)

    def evaluation_order(self, split: Split, *, batch_size: int, view: View = PLAIN) -> list[Rows]:
        return divide_rows(np.arange(len(split)), batch_size)

    def load(self, split: Split, view: View) -> Callable[[Tensor], Tensor]:
        """Return a function from row numbers to images according to a view."""
        images = images_of(split)
        contents, kinds = images.contents(), images.kinds

        def load(rows: Tensor) -> Tensor:
            pixels = self._decode(contents(rows), kinds)
            if view.epoch is not None:
                epoch = tf.constant(view.epoch, tf.int64)
                pixels = self._augment(pixels, self._draw(epoch, rows), epoch, rows)
            return tf.reverse(pixels, view.flipped) if view.flipped else pixels

        return load

    def make_batch(self, split: Split) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensors]:
        """Return a function that augments images and mixes them."""
        load = self.load(split, PLAIN)

        def make(epoch: Tensor, rows: Tensor, targets: Tensor, weights: Tensor) -> Tensors:
            draws = self._draw(epoch, rows)
            return mix(self._augment(load(rows), draws, epoch, rows), targets, weights, draws, self._augmentation)

        return make

    def training_views(self, epochs: range, most: int) -> Sequence[View]:
        """Return the first epochs of a phase, or the plain image if nothing is augmented."""
        views = min(most, len(epochs))
        if most == 1 or not self._augments:
            return (PLAIN,)
        return [View(epoch=epoch) for epoch in epochs[:views]]

    def describe(self, split: Split, views: Sequence[View]) -> dict[str, Any]:
        """Return size, resizing and, if a view is augmented, the random changes."""
        augmented = any(view.epoch is not None for view in views)
        return {
            "size": self._size,
            "channels": self._channels,
            "resize": self._resize,
            "augmentation": self._augmentation.model_dump(exclude={"predict_flips"}) if augmented else None,
            "seed": self._seed if augmented else None,
        }

    def find_lost(self, split: Split) -> list[str]:
        """Check every file again."""
        return self._find_problems(images_of(split))

    def write_samples(self, split: Split, rows: Rows, folder: Path) -> None:
        """Write the bytes of the images, in files with the same suffixes."""
        images = images_of(split)
        for number, row in enumerate(rows):
            suffix = Path(images.names[row]).suffix.lower()
            name = f"{number:02}{suffix if suffix[1:].isalnum() else ''}"
            (folder / name).write_bytes(images.read(row))

    def read_samples(self, folder: Path) -> Images:
        """Read back these files."""
        return Images(folder, tuple(file.name for file in sorted(folder.glob("*"))))

    @property
    def preprocessing(self) -> JsonObject:
        """Size, resizing mode, and the meaning of the channels."""
        colours = {1: "grey", 3: "rgb"}
        return {
            "kind": "image",
            "size": self._size,
            "resize": self._resize,
            "channels": self._channels,
            "colour_order": colours.get(self._channels, "as in the file"),
            "value_range": [0.0, 255.0],
            "max_pixels": self._max_pixels,
        }

    def write_client(self, folder: Path) -> str | None:
        """Write ``inputs.py``, which decodes and resizes with Pillow and NumPy."""
        shutil.copyfile(CLIENTS / "images.py", folder / INPUTS)
        return None

    def decode(self, *raw: Tensor) -> Tensor:
        """Turn ``string[batch]``, the bytes of files, into pixels."""
        return self._decode(raw[0], None)

    def decode_checked(self, *raw: Tensor) -> tuple[Tensor, Tensor]:
        """Decode images that are valid and have at most ``max_pixels``, which is checked in the header first."""

        def decode(content: Tensor) -> Tensor:
            pixels = count_pixels(content)
            # Decoders fail for an empty file.
            allowed = tf.where((pixels > 0) & (pixels <= self._max_pixels), content, b"")
            return self._decode_one(allowed, None)

        return try_each(decode, raw[0], [self._size, self._size, self._channels])

    def arrange(self, *tensors: Tensor) -> Tensor:
        return tensors[0]

    def arrange_checked(self, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """Return pixels as they are, and black in place of images with values that are NaN or infinite."""
        ok = tf.reduce_all(tf.math.is_finite(tensors[0]), axis=[1, 2, 3])
        return tf.where(ok[:, None, None, None], tensors[0], 0.0), ok

    def _find_problems(self, images: ImageExamples) -> list[str]:
        problems = [find_problem(images, row, self._max_pixels, self._channels) for row in range(len(images))]
        return [f"{place}: {problem}" for place, problem in zip(images.places, problems, strict=True) if problem]

    def _decode(self, contents: Tensor, kinds: frozenset[bytes] | None) -> Tensor:
        decode = functools.partial(self._decode_one, kinds=kinds)
        spec = tf.TensorSpec([self._size, self._size, self._channels], tf.float32)
        return tf.map_fn(decode, contents, fn_output_signature=spec)

    def _decode_one(self, content: Tensor, kinds: frozenset[bytes] | None) -> Tensor:
        return decode_image(content, size=self._size, resize=self._resize, channels=self._channels, kinds=kinds)

    def _augment(self, pixels: Tensor, draws: Tensor, epoch: Tensor, rows: Tensor) -> Tensor:
        if self._augments:
            pixels = augment(pixels, draws, self._augmentation)
        if self._function is None:
            return pixels
        seeds = tf.map_fn(lambda row: draw_seed(self._seed, epoch, row), rows, fn_output_signature=tf.int32)
        return apply_function(self._function, pixels, seeds)

    def _draw(self, epoch: Tensor, rows: Tensor) -> Tensor:
        return tf.map_fn(lambda row: draw(self._seed, epoch, row), rows, fn_output_signature=tf.float32)


def _flip_axes(augmentation: AugmentationConfig) -> list[tuple[int, ...]]:
    """Axes of ``[batch, height, width, channels]`` to flip, for each view that predictions are averaged over."""
    axes: list[tuple[int, ...]] = [()]
    if augmentation.predict_flips:
        for axis, on in ((2, augmentation.horizontal_flip), (1, augmentation.vertical_flip)):
            axes += [(*flipped, axis) for flipped in axes] if on else []
    return axes


def try_each(function: Callable[[Tensor], Tensor], elements: Tensor, shape: list[int]) -> tuple[Tensor, Tensor]:
    """Apply a function to each element of a batch; a failure for one element does not affect the others.

    A graph has no ``try``: an operation that fails ends its whole call. Elements of a tf.data dataset are an exception,
    since ``ignore_errors`` drops those that fail.

    Args:
        function: From an element, ``[]``, to ``float32[*shape]``.
        elements: ``[batch]``.

    Returns:
        ``float32[batch, *shape]``, zeros for elements that failed, and ``bool[batch]``, whether each succeeded.
    """
    rows = tf.size(elements, tf.int64)
    options = tf.data.Options()
    options.autotune.enabled = False  # its thread outlives the call

    def apply(row: Tensor, element: Tensor) -> tuple[Tensor, Tensor]:
        return row, tf.ensure_shape(function(element), shape)

    apply = tf.autograph.experimental.do_not_convert(apply)
    # As many at a time as the machine that runs the graph has cores.
    found = tf.data.Dataset.from_tensor_slices((tf.range(rows), elements)).map(
        apply, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    # One more row than needed, so that there is a batch even if all fail.
    last = tf.data.Dataset.from_tensors((rows, tf.zeros(shape)))
    batch = found.ignore_errors().concatenate(last).batch(rows + 1).with_options(options)
    places, values = batch.get_single_element()
    places, values = tf.reshape(places, [-1, 1])[:-1], tf.ensure_shape(values, [None, *shape])[:-1]
    ok = tf.scatter_nd(places, tf.ones(tf.shape(places)[:1], tf.bool), tf.stack([rows]))
    whole = tf.cond(
        tf.reduce_all(ok),
        lambda: values,
        lambda: tf.scatter_nd(places, values, tf.concat([[rows], tf.constant(shape, tf.int64)], axis=0)),
    )
    return tf.ensure_shape(whole, [None, *shape]), ok
