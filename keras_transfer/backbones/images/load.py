"""Load the image backbone that a recipe names: an entry of ``BACKBONES``, a KerasHub preset, or a user's model."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from keras_transfer.backbones.base import Backbone, ImageBackbone, find_image_size
from keras_transfer.backbones.images.channels import with_channels
from keras_transfer.backbones.images.hub import load_hub_backbone
from keras_transfer.backbones.images.rows import ImageBackboneRow
from keras_transfer.backbones.keras_hub_catalog import PREFIX
from keras_transfer.backbones.rows import BACKBONES, find_row
from keras_transfer.backbones.weights import copy_weights, load_weights, read_run_recipe
from keras_transfer.config.backbones import ImageBackboneConfig
from keras_transfer.config.data import ImageDataConfig
from keras_transfer.config.from_python import mark_object, read_mark
from keras_transfer.config.weights import Weights
from keras_transfer.errors import BackboneError
from keras_transfer.networks.keras_file import read_keras_file
from keras_transfer.networks.stages import find_stages

_SUFFIX = ".keras"


def name_backbone(value: Any) -> tuple[Any, Backbone | None]:
    """Name a backbone that was given from Python, so that the ``backbone`` section of a recipe can hold it.

    Args:
        value: A name or a section; a :class:`Backbone`; a ``keras.Model`` of images; or a section whose ``name`` is one
            of the latter two.

    Returns:
        The section, and the backbone if ``value`` contains one.

    Raises:
        BackboneError: The model cannot be a backbone.
    """
    given = value.get("name") if isinstance(value, Mapping) else value
    rest = dict(value) if isinstance(value, Mapping) else {}
    if isinstance(given, keras.Model):
        input_range = rest.pop("input_range", None)
        given = Backbone.from_keras(given, input_range=input_range and tuple(input_range))
    if not isinstance(given, Backbone):
        return value, None
    return {**rest, "name": mark_object(given.name)}, given


def is_elsewhere(name: object) -> bool:
    """Return whether the name of a backbone is not one of ``BACKBONES``, but a preset, a folder or a file."""
    if not isinstance(name, str):
        return False
    return (
        name.startswith(PREFIX)
        or read_mark(name) is not None
        or name.endswith(_SUFFIX)
        or Path(name).expanduser().is_dir()
    )


def load_image_backbone(
    config: ImageBackboneConfig,
    *,
    image_size: int | None = None,
    channels: int = 3,
    weights: Weights = Weights.PRETRAINED,
) -> ImageBackbone:
    """Load the backbone that a recipe names.

    Args:
        config: ``name`` is one in ``BACKBONES``, ``hub:`` and a preset of KerasHub, the folder of one, or a ``.keras``
            file; for the latter ``input_range`` has its values for black and white.
        image_size: Height and width of the images in pixels; None for the backbone's own.
        channels: Number of channels of the images; the first convolution is adapted to other than three.
        weights: ``pretrained``, ``none`` for random ones, or the path of a file or of a run folder.

    Raises:
        BackboneError: The backbone is not available, or does not accept such images or weights.
    """
    return _adapt(lambda own: _load(config, image_size, own), weights, channels)


def _adapt(load: Callable[[Weights], ImageBackbone], weights: Weights, channels: int) -> ImageBackbone:
    """Load a backbone, and adapt it before or after its weights are loaded."""
    if weights.run is None or not _is_run_of(weights.run, channels):
        return with_channels(load(weights), channels)
    adapted = with_channels(load(Weights.RANDOM), channels)
    load_weights(adapted.network, weights.run, adapted.name)
    return replace(adapted, weights=weights)


def _is_run_of(folder: Path, channels: int) -> bool:
    """Return whether a run was on images of this number of channels, other than three."""
    if channels == 3:
        return False
    data = read_run_recipe(folder).data
    return isinstance(data, ImageDataConfig) and data.channels == channels


def _load(config: ImageBackboneConfig, image_size: int | None, weights: Weights) -> ImageBackbone:
    name = config.name
    given = read_mark(name)
    if given is not None:
        raise BackboneError(
            f"Backbone {given} was passed from Python and is not stored in the recipe file. "
            "Pass it again: backbone=Backbone.from_keras(...)."
        )
    if name.endswith(_SUFFIX):
        file = Path(name).expanduser()
        return _load_file(file, input_range=config.input_range, image_size=image_size, weights=weights)
    if config.input_range is not None:
        raise BackboneError(
            f"backbone.input_range is for models from .keras files; {name} has an input range of its own. "
            f"Received: {list(config.input_range)}. Leave it out."
        )
    if name in BACKBONES:
        return find_row(name, ImageBackboneRow).load(image_size=image_size, weights=weights)
    return load_hub_backbone(name, image_size=image_size, weights=weights)


def load_copy(
    backbone: ImageBackbone, weights: Weights, *, image_size: int | None = None, channels: int = 3
) -> ImageBackbone:
    """Copy a backbone, so that training does not change the user's model.

    Args:
        weights: ``pretrained`` for its own, ``none`` for random ones, or the path of a file.
        image_size: Height and width of the images in pixels; None for the backbone's own.
        channels: Number of channels of the images; the first convolution is adapted to other than three.

    Raises:
        BackboneError: The model does not accept such images, or the weights do not fit.
    """
    return _adapt(lambda own: _copy(backbone, own, image_size), weights, channels)


def _copy(backbone: ImageBackbone, weights: Weights, image_size: int | None = None) -> ImageBackbone:
    network = keras.models.clone_model(backbone.network)
    if weights == Weights.PRETRAINED:
        copy_weights(backbone.network, network)
    elif weights.path is not None:
        load_weights(network, weights.path, backbone.name)
    return replace(
        backbone,
        network=network,
        stages=find_stages(network),
        weights=weights,
        image_size=find_image_size(backbone.name, network, image_size or backbone.image_size),
    )


def _load_file(
    file: Path, *, input_range: tuple[float, float] | None, image_size: int | None, weights: Weights
) -> ImageBackbone:
    """A model from a file that contains only Keras classes; no code in it is run."""
    if not file.is_file():
        raise BackboneError(f"There is no model file {file}. Received: backbone.name={file}. Name a file that exists.")
    model = read_keras_file(file, BackboneError)
    backbone = Backbone.from_keras(model, input_range=input_range, image_size=image_size, name=str(file))
    return _copy(backbone, weights)
