"""All networks of keras.applications, one entry each.

Figures: ``parameters`` (without a top), ``stages`` and ``file`` are checked against Keras by tests/contract.
Networks and weights: https://keras.io/api/applications/.
"""

import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np

from keras_transfer.backbones.base import CAFFE, RAW, SIGNED, TORCH, InputContract
from keras_transfer.backbones.images.rows import ImageBackboneRow
from keras_transfer.backbones.rows import BACKBONES, list_installs
from keras_transfer.backbones.weights import copy_weights
from keras_transfer.errors import BackboneError

# Where Keras puts what it downloads. Keras reads the variable once, when it is imported.
_KERAS_HOME = Path(os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras"))


@dataclass(frozen=True)
class Application:
    """A class of keras.applications."""

    class_name: str
    contract: InputContract
    image_size: int
    minimum_size: int
    parameters: int
    stages: int
    file: str  # {size} where Keras has weights for several sizes
    sizes: tuple[int, ...] = ()

    @property
    def is_efficientnet(self) -> bool:
        """Whether it is one of the original EfficientNets, B0 to B7."""
        return self.class_name.startswith("EfficientNetB")

    def build(self, size: int | None, weights: str | None = None) -> keras.Model:
        """Build the network for a size in pixels, or for any, with random weights or those of ImageNet."""
        make: Callable[..., keras.Model] = getattr(keras.applications, self.class_name)
        with warnings.catch_warnings():
            # MobileNet warns that its weights were trained at 224 pixels.
            warnings.filterwarnings("ignore", message="`input_shape` is undefined or non-square")
            return make(include_top=False, weights=weights, input_shape=(size, size, 3))

    def file_name(self, size: int) -> str:
        """Return the name of the weights file that Keras loads for images of a size in pixels."""
        return self.file.format(size=size if size in self.sizes else 224)


_TF_KERNELS = "_weights_tf_dim_ordering_tf_kernels_notop.h5"
_MOBILENET_V2 = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{size}_no_top.h5"

# name: class, contract, trained at, at least, parameters, stages, file
APPLICATIONS = {
    "convnext_tiny": Application("ConvNeXtTiny", RAW, 224, 32, 27_820_128, 22, "convnext_tiny_notop.h5"),
    "convnext_small": Application("ConvNeXtSmall", RAW, 224, 32, 49_454_688, 25, "convnext_small_notop.h5"),
    "convnext_base": Application("ConvNeXtBase", RAW, 224, 32, 87_566_464, 25, "convnext_base_notop.h5"),
    "convnext_large": Application("ConvNeXtLarge", RAW, 224, 32, 196_230_336, 25, "convnext_large_notop.h5"),
    "convnext_xlarge": Application("ConvNeXtXLarge", RAW, 224, 32, 348_147_968, 25, "convnext_xlarge_notop.h5"),
    "densenet121": Application("DenseNet121", TORCH, 224, 32, 7_037_504, 25, "densenet121" + _TF_KERNELS),
    "densenet169": Application("DenseNet169", TORCH, 224, 32, 12_642_880, 25, "densenet169" + _TF_KERNELS),
    "densenet201": Application("DenseNet201", TORCH, 224, 32, 18_321_984, 25, "densenet201" + _TF_KERNELS),
    "efficientnet_b0": Application("EfficientNetB0", RAW, 224, 32, 4_049_571, 18, "efficientnetb0_notop.h5"),
    "efficientnet_b1": Application("EfficientNetB1", RAW, 240, 32, 6_575_239, 25, "efficientnetb1_notop.h5"),
    "efficientnet_b2": Application("EfficientNetB2", RAW, 260, 32, 7_768_569, 25, "efficientnetb2_notop.h5"),
    "efficientnet_b3": Application("EfficientNetB3", RAW, 300, 32, 10_783_535, 25, "efficientnetb3_notop.h5"),
    "efficientnet_b4": Application("EfficientNetB4", RAW, 380, 32, 17_673_823, 25, "efficientnetb4_notop.h5"),
    "efficientnet_b5": Application("EfficientNetB5", RAW, 456, 32, 28_513_527, 25, "efficientnetb5_notop.h5"),
    "efficientnet_b6": Application("EfficientNetB6", RAW, 528, 32, 40_960_143, 25, "efficientnetb6_notop.h5"),
    "efficientnet_b7": Application("EfficientNetB7", RAW, 600, 32, 64_097_687, 25, "efficientnetb7_notop.h5"),
    "efficientnet_v2_b0": Application("EfficientNetV2B0", RAW, 224, 32, 5_919_312, 23, "efficientnetv2-b0_notop.h5"),
    "efficientnet_v2_b1": Application("EfficientNetV2B1", RAW, 240, 32, 6_931_124, 25, "efficientnetv2-b1_notop.h5"),
    "efficientnet_v2_b2": Application("EfficientNetV2B2", RAW, 260, 32, 8_769_374, 25, "efficientnetv2-b2_notop.h5"),
    "efficientnet_v2_b3": Application("EfficientNetV2B3", RAW, 300, 32, 12_930_622, 25, "efficientnetv2-b3_notop.h5"),
    "efficientnet_v2_s": Application("EfficientNetV2S", RAW, 384, 32, 20_331_360, 25, "efficientnetv2-s_notop.h5"),
    "efficientnet_v2_m": Application("EfficientNetV2M", RAW, 480, 32, 53_150_388, 25, "efficientnetv2-m_notop.h5"),
    "efficientnet_v2_l": Application("EfficientNetV2L", RAW, 480, 32, 117_746_848, 25, "efficientnetv2-l_notop.h5"),
    "inception_resnet_v2": Application(
        "InceptionResNetV2", SIGNED, 299, 75, 54_336_736, 25, "inception_resnet_v2" + _TF_KERNELS
    ),
    "inception_v3": Application("InceptionV3", SIGNED, 299, 75, 21_802_784, 16, "inception_v3" + _TF_KERNELS),
    "mobilenet": Application(
        "MobileNet", SIGNED, 224, 32, 3_228_864, 14, "mobilenet_1_0_{size}_tf_no_top.h5", (128, 160, 192)
    ),
    "mobilenet_v2": Application("MobileNetV2", SIGNED, 224, 32, 2_257_984, 19, _MOBILENET_V2, (96, 128, 160, 192)),
    "mobilenet_v3_large": Application(
        "MobileNetV3Large", RAW, 224, 32, 2_996_352, 17, "weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5"
    ),
    "mobilenet_v3_small": Application(
        "MobileNetV3Small", RAW, 224, 32, 939_120, 14, "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5"
    ),
    "nasnet_large": Application("NASNetLarge", SIGNED, 331, 32, 84_916_818, 23, "nasnet_large_no_top.h5"),
    "nasnet_mobile": Application("NASNetMobile", SIGNED, 224, 32, 4_269_716, 17, "nasnet_mobile_no_top.h5"),
    "resnet50": Application("ResNet50", CAFFE, 224, 32, 23_587_712, 17, "resnet50" + _TF_KERNELS),
    "resnet101": Application("ResNet101", CAFFE, 224, 32, 42_658_176, 25, "resnet101" + _TF_KERNELS),
    "resnet152": Application("ResNet152", CAFFE, 224, 32, 58_370_944, 25, "resnet152" + _TF_KERNELS),
    "resnet50_v2": Application("ResNet50V2", SIGNED, 224, 32, 23_564_800, 17, "resnet50v2" + _TF_KERNELS),
    "resnet101_v2": Application("ResNet101V2", SIGNED, 224, 32, 42_626_560, 25, "resnet101v2" + _TF_KERNELS),
    "resnet152_v2": Application("ResNet152V2", SIGNED, 224, 32, 58_331_648, 25, "resnet152v2" + _TF_KERNELS),
    "vgg16": Application("VGG16", CAFFE, 224, 32, 14_714_688, 13, "vgg16" + _TF_KERNELS),
    "vgg19": Application("VGG19", CAFFE, 224, 32, 20_024_384, 16, "vgg19" + _TF_KERNELS),
    "xception": Application("Xception", SIGNED, 299, 71, 20_861_480, 16, "xception" + _TF_KERNELS),
}


def _cache_folder() -> Path:
    """Return the folder in which ``keras.utils.get_file`` stores weights."""
    home = _KERAS_HOME.expanduser()
    if not os.access(home, os.W_OK):
        home = Path("/tmp" if os.path.isdir("/tmp") else tempfile.gettempdir()) / ".keras"
    return home / "models"


def _weights_file(application: Application) -> Path | None:
    file = _cache_folder() / application.file_name(application.image_size)
    return file if file.is_file() else None


def _build_pretrained(name: str, size: int) -> keras.Model:
    application = APPLICATIONS[name]
    try:
        network = application.build(size, "imagenet")
    except Exception as error:  # Keras raises a bare Exception where it cannot download
        reason = " ".join(str(error).split())[:300]
        others = ", ".join(f"{other} ({install})" for other, install in list_installs("image").items())
        raise BackboneError(
            f"The pretrained weights of {name} are not on this machine and cannot be downloaded: {reason}. "
            f"Put the file {application.file_name(size)} from another machine into {_cache_folder()}, "
            f"name a weights file of your own, or use a backbone that needs no download: {others}."
        ) from error
    if not application.is_efficientnet:
        return network
    # One graph for all weights: see complete_normalization.
    plain = application.build(size)
    copy_weights(network, plain)
    complete_normalization(plain)
    return plain


_IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], "float32")
_IMAGENET_STD = np.array([0.229, 0.224, 0.225], "float32")


def complete_normalization(network: keras.Model) -> None:
    """Make an EfficientNet B0 to B7 that was built without weights compute what ImageNet's weights were trained with.

    For ``weights="imagenet"`` Keras builds another graph: after the Normalization layer it divides by the square root
    of ImageNet's standard deviation once more (https://github.com/tensorflow/tensorflow/issues/49930). A network built
    without weights lacks that, so the same weights would compute another function. Here the factor is folded into the
    variance of the Normalization layer: one graph for all weights.

    Args:
        network: Built with ``weights=None``. It is not changed if its Normalization layer does not have ImageNet's mean
            and variance: after training from scratch, or if the factor has already been folded in.
    """
    layer = next(layer for layer in network.layers if isinstance(layer, keras.layers.Normalization))
    mean, variance, count = layer.get_weights()
    if np.allclose(mean, _IMAGENET_MEAN, atol=1e-3) and np.allclose(variance, _IMAGENET_STD**2, atol=1e-3):
        layer.set_weights([mean, variance * _IMAGENET_STD, count])
        layer.finalize_state()


def _add_row(name: str, application: Application) -> None:
    row = ImageBackboneRow(
        name=name,
        build=application.build,
        build_pretrained=partial(_build_pretrained, name),
        contract=application.contract,
        image_size=application.image_size,
        minimum_size=application.minimum_size,
        parameters=application.parameters,
        stages=application.stages,
        weights_source="ImageNet, by keras.applications",
        weights_file=partial(_weights_file, application),
        after_loading=complete_normalization if application.is_efficientnet else None,
    )
    BACKBONES.add(name, row)


for _name, _application in APPLICATIONS.items():
    _add_row(_name, _application)
