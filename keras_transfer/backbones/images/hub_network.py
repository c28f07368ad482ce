"""From a KerasHub backbone to features of an image: the network that is split into stages, and saved."""

import json
from collections.abc import Mapping
from typing import Any, Self

import keras

from keras_transfer.networks.blank import to_zeros
from keras_transfer.networks.keras_internals import announce_output, save_own_variables_plainly
from keras_transfer.networks.types import JsonObject, Layer, Tensors


# Registered under the name that models saved by version 0.1 have.
@keras.saving.register_keras_serializable(package="keras_transfer", name="PictureNetwork")
class ImageNetwork(keras.Model):
    """A KerasHub backbone from pixels to a feature map, tokens or a vector: a functional model of its own layers.

    Encoders are expanded, so that each of their blocks can be a separate stage. The model is saved as the configuration
    of the backbone: not all layers of KerasHub can be saved one by one (0.32: those of ViT, DeiT, MiT and Swin cannot).

    Args:
        backbone: The KerasHub backbone. Its layers are used, not copied.
        has_class_token: Whether the first token represents the whole image.
    """

    def __init__(self, *, backbone: keras.Model, has_class_token: bool, name: str | None = None) -> None:
        outputs = backbone.output
        if isinstance(outputs, Mapping):
            # Maps of every scale, the finest first.
            outputs = outputs[backbone.stage_names[-1]]
        if len(outputs.shape) == 3 and has_class_token:
            outputs = outputs[:, 0]
        network = _open_encoders(keras.Model(image_input(backbone), outputs))
        super().__init__(network.input, network.output, name=name)
        for layer in self.layers:
            if hasattr(layer, "interpolated_position_embeddings"):
                # DINOv2's positions: KerasHub (0.32) resizes them to the size of the preset's images when they are
                # saved, if the sum of their changes is above 0, and resizes them back when they are loaded.
                save_own_variables_plainly(layer)
        config = keras.saving.serialize_keras_object(backbone)
        parts = {key: config[key] for key in ("module", "class_name", "config", "registered_name")}
        # Stored as a string: Keras wraps dictionaries that are attributes of a model.
        self._settings = json.dumps({"backbone": parts, "has_class_token": has_class_token})

    def get_config(self) -> JsonObject:
        return {**json.loads(self._settings), "name": self.name}

    def with_channels(self, channels: int) -> "ImageNetwork":
        """Build the model for images of another number of channels, with random weights."""
        config = self.get_config()
        inner = config["backbone"]["config"]
        key = next(name for name in ("image_shape", "input_shape") if name in inner)
        inner[key] = [*inner[key][:2], channels]
        return self.from_config(config)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        backbone = keras.saving.deserialize_keras_object(config["backbone"], custom_objects=custom_objects)
        return cls(**{**config, "backbone": backbone})


# Keras stores weights under the class name in snake case: files of version 0.1 have this one.
ImageNetwork.__name__ = "PictureNetwork"


def image_input(backbone: keras.Model) -> keras.KerasTensor:
    """Return the only input of a KerasHub backbone, to which some families give a name."""
    (tensor,) = keras.tree.flatten(backbone.input)
    return tensor


def _open_encoders(network: keras.Model) -> keras.Model:
    """Replace encoders by their blocks.

    If that is not possible (two blocks have the same name, or a block returns more than tensors), nothing is expanded.
    """
    try:
        return keras.models.clone_model(network, clone_function=lambda layer: layer, call_function=_call)
    except ValueError:
        return network


def _call(layer: Layer, *arguments: Any, **options: Any) -> Tensors:
    if _holds_blocks(layer):
        return layer.call(*arguments, **options)
    outputs = layer(*arguments, **options)
    shapes = [x.shape for x in keras.tree.flatten(outputs)]
    makes_tokens = len(shapes[0]) == 3 and len(arguments[0].shape) == 4
    if not makes_tokens and any(None in shape for shape in shapes):
        return outputs
    blank_arguments, blank_options = keras.tree.map_structure(to_zeros, (arguments, options))
    blank = layer(*blank_arguments, **blank_options)
    if not makes_tokens:
        # Tensors that are equal for every image, such as rotary positions, need no pixels passed on from stage to
        # stage.
        return blank
    if blank.shape[1:] == shapes[0][1:]:
        return outputs
    # SigLIP's layer reports one token more than it returns (KerasHub 0.32).
    announce_output(layer, keras.KerasTensor((None, *blank.shape[1:]), outputs.dtype))
    return layer(*arguments, **options)


def _holds_blocks(layer: Layer) -> bool:
    """Whether a layer only consists of a sequence of blocks of one kind, and what belongs to them."""
    if not isinstance(layer, keras.layers.Layer) or isinstance(layer, keras.Model) or not layer.weights:
        return False
    own = [value for name, value in vars(layer).items() if not name.startswith("_")]
    lists = [value for value in own if isinstance(value, list) and len({type(x) for x in value}) == 1]
    if not any(len(value) > 1 and isinstance(value[0], keras.layers.Layer) and value[0].weights for value in lists):
        return False
    parts = [x for value in [own, *lists] for x in value if isinstance(x, keras.layers.Layer)]
    return {id(weight) for weight in layer.weights} <= {id(weight) for part in parts for weight in part.weights}
