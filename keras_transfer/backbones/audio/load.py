"""Load the backbone that a recipe names for recordings: one for recordings, or one for images, on spectrograms."""

from dataclasses import replace

import keras

from keras_transfer.backbones.audio.base import AudioBackbone
from keras_transfer.backbones.audio.hub import find_speech_source, load_speech_backbone
from keras_transfer.backbones.audio.rows import AudioBackboneRow
from keras_transfer.backbones.audio.spectrogram import on_spectrograms
from keras_transfer.backbones.base import Backbone, ImageBackbone
from keras_transfer.backbones.images.load import load_copy, load_image_backbone
from keras_transfer.backbones.rows import BACKBONES
from keras_transfer.backbones.weights import copy_weights, load_weights
from keras_transfer.config.backbones import AudioBackboneConfig, ImageBackboneConfig
from keras_transfer.config.weights import Weights
from keras_transfer.errors import BackboneError
from keras_transfer.registry import nearest_names


def load_audio_backbone(
    config: AudioBackboneConfig, *, weights: Weights = Weights.PRETRAINED, image_size: int | None = None
) -> AudioBackbone:
    """Load the backbone that a recipe names.

    Args:
        config: ``name`` is one in ``BACKBONES`` of a network for recordings or for images, ``hub:`` and a preset of
            KerasHub for speech or for images, the folder of one, or a ``.keras`` file. A network for images sees
            log-mel spectrograms.
        weights: ``pretrained``, ``none`` for random ones, or the path of a file or of a run folder.
        image_size: For networks that take images: height and width of the spectrogram, in pixels.

    Returns:
        The backbone, for its default length of recordings; :meth:`AudioBackbone.for_samples` changes that.

    Raises:
        BackboneError: The backbone is not available, or does not accept such recordings or weights.
    """
    row = BACKBONES[config.name] if config.name in BACKBONES else None
    source = find_speech_source(config.name) if row is None else None
    if isinstance(row, AudioBackboneRow) or source is not None:
        _refuse_size(config.name, image_size)
        _refuse_range(config)
    if isinstance(row, AudioBackboneRow):
        return row.load(weights=weights)
    if source is not None:
        return load_speech_backbone(config.name, source, weights=weights)
    if row is not None and row.modality != "image":
        near = nearest_names(
            config.name, [name for name in BACKBONES if BACKBONES[name].modality in ("audio", "image")]
        )
        raise BackboneError(
            f"Backbone {config.name} is for {row.modality} input, and this recipe has audio input, for which networks "
            f"for audio and for images can be used. Received: backbone.name={config.name}. "
            + (f"Did you mean {' or '.join(near)}?" if near else "`keras-transfer backbones` lists what there is.")
        )
    images = ImageBackboneConfig(name=config.name, input_range=config.input_range)
    return on_spectrograms(load_image_backbone(images, image_size=image_size, weights=weights))


def load_audio_copy(backbone: Backbone, weights: Weights, *, image_size: int | None = None) -> AudioBackbone:
    """Copy a backbone that was given from Python, so that training does not change the user's model.

    Args:
        backbone: A backbone for recordings, or for images, which then takes spectrograms; it is not changed.
        weights: ``pretrained`` for its own, ``none`` for random ones, or the path of a file.
        image_size: For networks that take images: height and width of the spectrogram, in pixels.

    Raises:
        BackboneError: The backbone is for other inputs, does not accept such images, or the weights do not fit.
    """
    if isinstance(backbone, ImageBackbone):
        copied = load_copy(backbone, weights, image_size=image_size, channels=backbone.channels)
        return on_spectrograms(copied)
    if not isinstance(backbone, AudioBackbone):
        raise BackboneError(
            f"Backbone {backbone.name} takes neither recordings nor images. Received: a {type(backbone).__name__}. "
            "Use one for audio or for images."
        )
    _refuse_size(backbone.name, image_size)
    network = keras.models.clone_model(backbone.network)
    if weights == Weights.PRETRAINED:
        copy_weights(backbone.network, network)
    elif weights.path is not None:
        load_weights(network, weights.path, backbone.name)
    return replace(backbone.with_network(network), weights=weights)


def _refuse_size(name: str, image_size: int | None) -> None:
    if image_size is not None:
        raise BackboneError(
            f"data.image_size is the size of the spectrogram for backbones that take images; {name} takes recordings. "
            f"Received: {image_size}. Leave it out."
        )


def _refuse_range(config: AudioBackboneConfig) -> None:
    if config.input_range is not None:
        raise BackboneError(
            f"backbone.input_range is for models of images from .keras files; {config.name} takes recordings. "
            f"Received: {list(config.input_range)}. Leave it out."
        )
