"""Image backbones of KerasHub: the networks that can classify images, from a preset or a folder.

Families are discovered in ``keras_hub.models`` itself. No code in a folder is run. Written for KerasHub 0.32.
"""

import functools
import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import keras_hub

from keras_transfer.backbones.base import ImageBackbone, InputContract, digest_graph
from keras_transfer.backbones.images.hub_network import ImageNetwork, image_input
from keras_transfer.backbones.keras_hub_catalog import PREFIX, load_part, preset_classes, public_classes, shorten
from keras_transfer.backbones.weights import load_weights
from keras_transfer.config.weights import Weights
from keras_transfer.errors import BackboneError
from keras_transfer.networks.stages import find_stages
from keras_transfer.registry import did_you_mean, nearest_names

# The converter of a preset that accepts any size has the size that it was trained at; if there is none:
_USUAL_SIZE = 224


@dataclass(frozen=True, kw_only=True)
class ImageFamily:
    """A KerasHub family of networks for images.

    Attributes:
        name: The name of its module in KerasHub: ``vit``, ``resnet``.
        has_class_token: Whether the first token represents the whole image.
        is_tower: Whether the network is the image tower of a network for images and texts.
    """

    name: str
    backbone: type[Any]
    has_class_token: bool
    is_tower: bool

    @property
    def size_argument(self) -> str | None:
        """The name of its argument for height, width and channels of images."""
        parameters = inspect.signature(self.backbone).parameters
        return next((name for name in ("image_shape", "input_shape") if name in parameters), None)


@functools.cache
def find_image_families() -> dict[str, ImageFamily]:
    """Find the families that can classify images.

    They are those with a task ``ImageClassifier``, and of those without any task the ones whose output is features of
    an image: encoders such as DINOv2, and networks such as SigLIP that have an image tower and a text tower.

    Returns:
        The families by name.
    """
    tasks = [task for task in public_classes(keras_hub.models.Task).values() if getattr(task, "backbone_cls", None)]
    layers = [x for x in vars(keras_hub.layers).values() if inspect.isclass(x)]
    converters: list[Any] = [x for x in layers if issubclass(x, keras_hub.layers.ImageConverter)]
    found = {}
    for backbone in {converter.backbone_cls for converter in converters} - {None}:
        own = [task for task in tasks if task.backbone_cls is backbone]
        classifier = next((task for task in own if issubclass(task, keras_hub.models.ImageClassifier)), None)
        arguments = set(inspect.signature(backbone).parameters)
        is_tower = {"vision_encoder", "text_encoder"} <= arguments
        is_encoder = "image_shape" in arguments and "vocabulary_size" not in arguments
        if classifier is None and (own or not (is_tower or is_encoder)):
            continue
        pooling = inspect.signature(classifier).parameters.get("pooling") if classifier else None
        name = backbone.__module__.split(".")[-2]
        found[name] = ImageFamily(
            name=name,
            backbone=backbone,
            has_class_token=classifier is None or (pooling is not None and pooling.default == "token"),
            is_tower=is_tower,
        )
    return dict(sorted(found.items()))


def list_image_presets() -> dict[str, str]:
    """Return the names of KerasHub's presets that can classify images, and the family of each."""
    families = {family.backbone: family.name for family in find_image_families().values()}
    return {preset: families[cls] for preset, cls in sorted(preset_classes().items()) if cls in families}


def load_hub_backbone(
    name: str, *, image_size: int | None = None, weights: Weights = Weights.PRETRAINED
) -> ImageBackbone:
    """Load a network for images.

    Args:
        name: ``hub:`` and a preset of KerasHub (see :func:`list_image_presets`), which is downloaded; or a folder that
            contains one, with or without the prefix.
        image_size: Height and width of the images in pixels; None for those of the preset.
        weights: ``pretrained``, ``none`` for random ones, or the path of a file or of a run folder.

    Raises:
        BackboneError: The preset does not exist or cannot be downloaded, cannot classify images, does not accept images
            of that size, or weights do not fit.
    """
    source = _find_source(name)
    loads = weights == Weights.PRETRAINED
    converter = load_part(name, lambda: keras_hub.layers.ImageConverter.from_preset(source))
    family = next((f for f in find_image_families().values() if f.backbone is type(converter).backbone_cls), None)
    if family is None:
        raise BackboneError(_not_for_images(name, str(getattr(type(converter).backbone_cls, "__name__", None))))
    part = load_part(name, lambda: _load_part(family, source, load_weights=loads))
    size = _image_size(part, converter) if image_size is None else image_size
    if _shape(part) != (size, size):
        part = _resize(name, family, source, part, size, loads=loads)
    network = ImageNetwork(backbone=part, has_class_token=family.has_class_token, name=family.name)
    if weights.path is not None:
        load_weights(network, weights.path, name)
    return ImageBackbone(
        name=name,
        network=network,
        stages=find_stages(network),
        weights=weights,
        contract=_read_contract(name, converter),
        image_size=size,
        graph=digest_graph(network),
    )


def _shape(network: keras.Model) -> tuple[int | None, int | None]:
    height, width = image_input(network).shape[1:3]
    return height, width


def _load_part(family: ImageFamily, source: str, **options: Any) -> keras.Model:
    """The network, or its image tower."""
    network = keras_hub.models.Backbone.from_preset(source, **options)
    return network.vision_encoder if family.is_tower else network


def _image_size(network: keras.Model, converter: Any) -> int:
    """The size that a preset was made for."""
    size = _shape(network)[0] or (converter.image_size or (None,))[0]
    return _USUAL_SIZE if size is None else int(size)


def _resize(
    name: str, family: ImageFamily, source: str, network: keras.Model, size: int, *, loads: bool
) -> keras.Model:
    """Load a network again for images of another size."""
    own, reason = _shape(network)[0], ""
    if family.size_argument is not None:
        shape = (size, size, image_input(network).shape[-1])
        try:
            return _load_part(family, source, load_weights=loads, **{family.size_argument: shape})
        except Exception as error:  # KerasHub raises nearly every kind for weights that do not fit
            reason = f" KerasHub says: {shorten(error)}"
    raise BackboneError(
        f"Backbone {name} does not take images of {size}x{size} pixels.{reason} Received: image_size={size}. "
        f"Leave data.image_size out{f', or set it to {own}' if own else ''}."
    )


def _read_contract(name: str, converter: Any) -> InputContract:
    """The input contract of KerasHub's own preprocessing, apart from resizing."""

    def value(setting: Any, neutral: float) -> Any:
        if setting is None:
            return neutral
        return float(setting) if isinstance(setting, int | float) else tuple(map(float, setting))

    return InputContract(value(converter.scale, 1.0), value(converter.offset, 0.0))


def _find_source(name: str) -> str:
    """Return the source that KerasHub loads: an absolute path, or the name of a preset."""
    folder = Path(name.removeprefix(PREFIX)).expanduser()
    if folder.is_dir():
        _check_folder(name, folder)
        return str(folder.absolute())
    preset, known = name.removeprefix(PREFIX), list_image_presets()
    if preset in known:
        return preset
    if preset in preset_classes():
        raise BackboneError(_not_for_images(name, preset_classes()[preset].__name__))
    near = did_you_mean(preset, known) if nearest_names(preset, known) else "`keras-transfer backbones` lists them."
    raise BackboneError(f"There is no preset of KerasHub or folder named {preset!r}. Received: {name}. {near}")


def _not_for_images(name: str, class_name: str) -> str:
    return (
        f"Backbone {name} cannot classify images: it is a {class_name} of KerasHub. Use one of the families "
        f"{', '.join(find_image_families())}."
    )


def _check_folder(name: str, folder: Path) -> None:
    """Refuse a folder that KerasHub cannot load, with a clearer message than its own."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        backbone = keras.saving.get_registered_object(str(config["registered_name"]))
    except (OSError, ValueError, KeyError, TypeError):
        hint = " It is a run folder: set backbone.weights to it." if (folder / "model.keras").is_file() else ""
        raise BackboneError(
            f"Folder {folder} is not a KerasHub preset: it has no config.json of one.{hint} "
            f"Received: backbone.name={name}. Use a folder that save_to_preset() wrote."
        ) from None
    if backbone not in {family.backbone for family in find_image_families().values()}:
        raise BackboneError(_not_for_images(name, getattr(backbone, "__name__", str(config["registered_name"]))))
    if not (folder / "image_converter.json").is_file():
        raise BackboneError(
            f"The KerasHub preset {folder} does not define its image preprocessing: it has no image_converter.json. "
            f"Received: backbone.name={name}. Save it with the task's or the preprocessor's save_to_preset()."
        )
