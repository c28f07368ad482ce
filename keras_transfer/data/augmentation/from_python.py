"""Augmentations from Python: a function, or a Keras layer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_transfer.config.from_python import mark_object
from keras_transfer.errors import ConfigError
from keras_transfer.networks.types import Tensor

ImageFunction = Callable[[Tensor, Tensor], Tensor]
"""From an image, ``float32[size, size, channels]`` in 0..255, and a seed, ``int32[2]``, to an image of that shape."""

SampleFunction = Callable[[Tensor, Tensor], Tensor]
"""From a recording, ``float32[samples]``, and a seed, ``int32[2]``, to a recording of as many samples."""


@dataclass(frozen=True)
class _Form:
    """The inputs of a function.

    Attributes:
        trial: The shape of the example with which a function is tested.
        least: Its minimum value.
    """

    example: str
    argument: str
    dimensions: str
    trial: tuple[int, ...]
    least: float
    most: float


def _images(channels: int) -> _Form:
    return _Form("an image", "pixels", "size, size, channels", (32, 32, channels), 0.0, 255.0)


_RECORDING = _Form("a recording", "samples", "samples", (4000,), -1.0, 1.0)


def take_function(value: Any, channels: int = 3) -> ImageFunction:
    """Turn a function or a layer into a function of an image and a seed, and test it.

    Args:
        value: A function of TensorFlow's operations that takes an image, ``float32[size, size, channels]`` in 0..255,
            and a seed, ``int32[2]``, for ``tf.image.stateless_*`` and ``tf.random.stateless_*``; or a layer of Keras,
            such as ``keras.layers.RandomRotation(0.1)``, that takes a batch of images.

    Returns:
        The function. The test shows that its result depends only on the image and the seed.

    Raises:
        ConfigError: It is neither, it fails, its result has another shape, or its result does not depend only on the
            image and the seed, because it draws from its own generator.
    """
    return _take(value, _images(channels))


def take_sample_function(value: Any) -> SampleFunction:
    """Turn a function or a layer into a function of a recording and a seed, and test it, as :func:`take_function` does.

    Args:
        value: A function of TensorFlow's operations that takes a recording, ``float32[samples]``, and a seed,
            ``int32[2]``; or a layer of Keras that takes a batch of recordings.
    """
    return _take(value, _RECORDING)


def _take(value: Any, form: _Form) -> Callable[[Tensor, Tensor], Tensor]:
    name = name_function(value)
    if isinstance(value, keras.layers.Layer):
        function = _from_layer(value, name, form)
    elif callable(value):
        function = value
    else:
        raise ConfigError(
            f"augmentation is a section, a function of ({form.argument}, seed) or a Keras layer. "
            f"Received: {value!r:.80}."
        )
    _try(function, name, form)
    return function


def name_augmentation(value: Any, off: Mapping[str, Any]) -> tuple[Any, Any]:
    """Name an augmentation from Python, so that the ``augmentation`` section of a recipe can hold it.

    Args:
        value: A section; a function or a layer, which is then the only augmentation; or a section whose ``function`` is
            one, which is then applied after the changes of that section.
        off: The section with all default changes turned off.

    Returns:
        The section, and the function or layer if ``value`` contains one.
    """
    if isinstance(value, Mapping):
        given = value.get("function")
        if given is None or isinstance(given, str):
            return value, None
        return {**value, "function": mark_object(name_function(given))}, given
    if isinstance(value, keras.layers.Layer) or callable(value):
        return {**off, "function": mark_object(name_function(value))}, value
    return value, None


def name_function(value: Any) -> str:
    """Return the name of a function or a layer in messages and recipe.yaml."""
    if isinstance(value, keras.layers.Layer):
        return type(value).__name__
    return str(getattr(value, "__name__", None) or type(value).__name__)


def apply_function(function: ImageFunction, pixels: Tensor, seeds: Tensor) -> Tensor:
    """Change the images of a batch, each independently.

    Args:
        pixels: ``float32[batch, size, size, channels]`` in 0..255.
        seeds: ``int32[batch, 2]``.

    Returns:
        Images of the same shape, clipped to 0..255.
    """
    return tf.clip_by_value(apply_to_each(function, pixels, seeds), 0.0, 255.0)


def apply_to_each(function: Callable[[Tensor, Tensor], Tensor], examples: Tensor, seeds: Tensor) -> Tensor:
    """Change the examples of a batch, each independently.

    Args:
        examples: ``float32[batch, ...]``.
        seeds: ``int32[batch, 2]``.

    Returns:
        Examples of the same shape.
    """
    spec = tf.TensorSpec(examples.shape[1:], tf.float32)

    def change(one: tuple[Tensor, Tensor]) -> Tensor:
        return tf.ensure_shape(tf.cast(function(one[0], one[1]), tf.float32), examples.shape[1:])

    return tf.map_fn(change, (examples, seeds), fn_output_signature=spec)


def draw_seed(seed: int, epoch: Tensor, example: Tensor) -> Tensor:
    """Draw the seed of an example for an epoch.

    Args:
        epoch: ``int64[]``.
        example: ``int64[]``, its index among the training rows.

    Returns:
        ``int32[2]``, deterministic for the three arguments, and independent of the draws of built-in changes.
    """
    high = tf.bitwise.left_shift(epoch, tf.constant(32, tf.int64)) + example
    key = tf.stack([tf.constant(seed, tf.int64), tf.bitwise.invert(high)])
    return tf.random.stateless_uniform([2], seed=key, minval=0, maxval=2**31 - 1, dtype=tf.int32)


class _GivenSeed(keras.random.SeedGenerator):
    """A generator whose seeds are derived from a given one, for layers that ask for the next seed."""

    def __init__(self) -> None:
        super().__init__(seed=0, name="given_seed")
        self.start(tf.zeros([2], tf.int32))

    def start(self, seed: Tensor) -> None:
        """Start from a seed, ``int32[2]``."""
        self._given, self._count = seed, 0

    def next(self, ordered: bool = True) -> Tensor:
        """Return the next seed, ``uint32[2]``."""
        self._count += 1
        return tf.cast(self._given + tf.constant([0, self._count], tf.int32), tf.uint32)


def _from_layer(layer: keras.layers.Layer, name: str, form: _Form) -> Callable[[Tensor, Tensor], Tensor]:
    if keras.backend.backend() != "tensorflow":
        raise ConfigError(
            f"augmentation: a Keras layer changes {form.example} with TensorFlow only. Received: {name}, and the "
            f"backend {keras.backend.backend()}. Give a function of ({form.argument}, seed)."
        )
    if not hasattr(layer, "get_random_transformation"):
        return lambda example, seed: layer(example[None], training=True)[0]

    generator = _GivenSeed()

    def change(pixels: Tensor, seed: Tensor) -> Tensor:
        generator.start(seed)
        batch = pixels[None]
        drawn = layer.get_random_transformation(batch, training=True, seed=generator)
        return layer.transform_images(batch, drawn, training=True)[0]

    return change


def _try(function: Callable[[Tensor, Tensor], Tensor], name: str, form: _Form) -> None:
    """Refuse functions that are not deterministic: a resumed run has to see the same examples."""
    shape = form.trial
    example = tf.constant(np.random.default_rng(0).uniform(form.least, form.most, shape), tf.float32)
    traced = tf.function(lambda example, seed: tf.cast(function(example, seed), tf.float32), autograph=False)
    seed = tf.constant([3, 5], tf.int32)
    try:
        results = [traced(example, seed).numpy() for _ in range(3)]
        results += [tf.cast(function(example, seed), tf.float32).numpy()]
    except Exception as error:  # whatever a user's function raises
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"augmentation: {name} failed on {form.example} of shape {list(shape)}: {type(error).__name__}: {reason} "
            f"It takes ({form.argument}, seed), float32[{form.dimensions}] and int32[2], and returns {form.argument}."
        ) from error
    if results[0].shape != shape:
        raise ConfigError(
            f"augmentation: {name} changed the shape of {form.example}. Received: {list(results[0].shape)} from "
            f"{list(shape)}. Return {form.example} of the same shape."
        )
    if any(not np.array_equal(results[0], other) for other in results[1:]):
        raise ConfigError(
            f"augmentation: {name} gave different results for the same {form.example.split()[-1]} and seed, so that no "
            "run could be repeated or resumed. Use the seed, in tf.image.stateless_* or tf.random.stateless_*; some "
            "layers of Keras ignore it."
        )
