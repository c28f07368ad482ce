"""KerasHub's networks for speech, from a preset or a folder.

Families are discovered in ``keras_hub`` itself. No code in a folder is run. Written for KerasHub 0.32.
"""

import functools
import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import keras_hub

from keras_transfer.backbones.audio.base import AudioBackbone
from keras_transfer.backbones.audio.speech_network import DECODER_LEAST, take_encoder
from keras_transfer.backbones.audio.speech_tokenizer import SpecialTokens, SpeechTokenizer, write_byte_pairs
from keras_transfer.backbones.audio.whisper import WhisperFrontEnd
from keras_transfer.backbones.base import digest_graph
from keras_transfer.backbones.keras_hub_catalog import PREFIX, load_part, preset_classes, public_classes
from keras_transfer.backbones.weights import copy_weights, load_weights
from keras_transfer.config.weights import Weights
from keras_transfer.errors import BackboneError
from keras_transfer.networks.stages import find_stages
from keras_transfer.networks.types import SymbolicTensor

_CONVERTER = "audio_converter.json"
# In seconds. Moonshine has no table of positions; its authors' code takes up to 64 s.
_SHORTEST, _USUAL, _LONGEST = 0.1, 30, 64


@dataclass(frozen=True)
class SampleFrontEnd:
    """Samples to ``float32[batch, samples, 1]``, for networks that take raw samples.

    Attributes:
        normalizes: Whether each recording is scaled to a mean of 0 and a variance of 1.
    """

    normalizes: bool

    def __call__(self, samples: SymbolicTensor) -> SymbolicTensor:
        """Add the front end to a graph."""
        layers = keras.layers
        values = layers.Reshape((samples.shape[1], 1), dtype="float32", name="one_channel")(samples)
        if not self.normalizes:
            return values
        # With one group of channels, normalization is over the whole recording.
        return layers.GroupNormalization(
            1, epsilon=1e-7, center=False, scale=False, dtype="float32", name="input_contract"
        )(values)


@functools.cache
def find_speech_families() -> dict[str, type[Any]]:
    """Find the families whose encoder takes only recordings: their backbone classes by name."""
    layers = [x for x in vars(keras_hub.layers).values() if inspect.isclass(x)]
    converters: list[Any] = [x for x in layers if issubclass(x, keras_hub.layers.AudioConverter)]
    found = {}
    for backbone in {converter.backbone_cls for converter in converters} - {None}:
        # Networks that also take images have an encoder for each.
        if not any("vision" in argument for argument in inspect.signature(backbone).parameters):
            found[backbone.__module__.split(".")[-2]] = backbone
    return dict(sorted(found.items()))


def list_speech_presets() -> dict[str, str]:
    """Return the names of KerasHub's presets for speech, and the family of each."""
    families = {backbone: name for name, backbone in find_speech_families().items()}
    return {preset: families[cls] for preset, cls in sorted(preset_classes().items()) if cls in families}


def find_speech_source(name: str) -> str | None:
    """Return the source that KerasHub loads for a name, if it is a network for speech.

    Args:
        name: ``hub:`` and a preset of KerasHub, or a folder that holds one, with or without the prefix.

    Returns:
        An absolute path, the name of a preset, or None.

    Raises:
        BackboneError: The folder does not contain the settings of the network's audio converter.
    """
    folder = Path(name.removeprefix(PREFIX)).expanduser()
    if not folder.is_dir():
        preset = name.removeprefix(PREFIX)
        return preset if preset in list_speech_presets() else None
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        backbone = keras.saving.get_registered_object(str(config["registered_name"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if backbone not in find_speech_families().values():
        return None
    if not (folder / _CONVERTER).is_file():
        raise BackboneError(
            f"The KerasHub preset {folder} does not define its audio preprocessing: it has no {_CONVERTER}. "
            f"Received: backbone.name={name}. Save it with the preprocessor's or the audio converter's "
            "save_to_preset()."
        )
    return str(folder.absolute())


def load_speech_backbone(name: str, source: str, *, weights: Weights = Weights.PRETRAINED) -> AudioBackbone:
    """Load the encoder of a network for speech.

    Args:
        source: What :func:`find_speech_source` returned for it.
        weights: ``pretrained``, ``none`` for random ones, or the path of a file or of a run folder.

    Returns:
        The backbone, for recordings of 30 s; :meth:`AudioBackbone.for_samples` changes that.

    Raises:
        BackboneError: The backbone is not available, or the weights do not fit.
    """
    preset = load_speech_preset(name, source, weights=weights)
    samples = preset.usual
    network = take_encoder(preset.whole, samples // preset.hop, name=preset.family)
    if weights.path is not None:
        load_weights(network, weights.path, name)
    least = {key: value for key, value in DECODER_LEAST.items() if key in preset.config}

    def resize(network: keras.Model, samples: int) -> keras.Model:
        resized = take_encoder(preset.build(**least), samples // preset.hop, name=network.name)
        copy_weights(network, resized)
        return resized

    return AudioBackbone(
        name=name,
        network=network,
        stages=find_stages(network),
        weights=weights,
        sample_rate=preset.sample_rate,
        samples=samples,
        shortest=preset.shortest,
        longest=preset.longest,
        front_end=preset.front_end,
        resize=resize,
        graph=digest_graph(preset.whole),
    )


@dataclass(frozen=True)
class SpeechPreset:
    """A KerasHub network for speech.

    Attributes:
        sample_rate: Sample rate of its input, in Hz.
        hop: Number of samples per step of its input.
        longest: Maximum number of samples.
        front_end: The same preprocessing of samples as KerasHub's, without padding.
    """

    whole: keras.Model
    sample_rate: int
    hop: int
    longest: int
    front_end: WhisperFrontEnd | SampleFrontEnd

    @property
    def shortest(self) -> int:
        """Minimum number of samples."""
        return int(_SHORTEST * self.sample_rate)

    @property
    def usual(self) -> int:
        """Default number of samples."""
        return min(self.longest, _USUAL * self.sample_rate)

    @property
    def family(self) -> str:
        """Its name in KerasHub."""
        return type(self.whole).__module__.split(".")[-2]

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """The settings that it is built from."""
        return dict(self.whole.get_config())

    def build(self, **settings: int) -> keras.Model:
        """Build such a network with random weights."""
        return type(self.whole).from_config(self.config | settings)


def load_speech_preset(name: str, source: str, *, weights: Weights = Weights.PRETRAINED) -> SpeechPreset:
    """Load a KerasHub network for speech.

    Args:
        source: What :func:`find_speech_source` returned for it.
        weights: ``pretrained`` for its own weights; any other value leaves them random.

    Raises:
        BackboneError: The network is not available.
    """
    converter = load_part(name, lambda: keras_hub.layers.AudioConverter.from_preset(source))
    loads = weights == Weights.PRETRAINED
    backbone = load_part(name, lambda: keras_hub.models.Backbone.from_preset(source, load_weights=loads))
    rate, hop = int(converter.sampling_rate), int(getattr(converter, "stride", 1))
    positions = getattr(backbone, "max_encoder_sequence_length", None)
    longest = _LONGEST * rate if positions is None else positions * hop
    return SpeechPreset(backbone, rate, hop, longest, _read_front_end(converter))


def load_speech_tokenizer(name: str, source: str, whole: keras.Model) -> SpeechTokenizer:
    """Load the tokenizer of a network for speech.

    Args:
        source: What :func:`find_speech_source` returned for it.

    Raises:
        BackboneError: The tokenizer is not available, or is of an unsupported kind.
    """
    vocabulary_size = int(whole.vocabulary_size)
    found = load_part(name, lambda: _load_tokenizer(source, type(whole)))
    if isinstance(found, keras_hub.tokenizers.WhisperTokenizer):
        ids = dict(zip(found.special_tokens, found.special_token_ids, strict=True)) | (found.language_tokens or {})
        return SpeechTokenizer.of_whisper(
            write_byte_pairs(found.vocabulary, found.merges),
            ids,
            vocabulary_size,
            multilingual=found.language_tokens is not None,
        )
    if isinstance(found, keras_hub.tokenizers.SentencePieceTokenizer):
        special = SpecialTokens(start=int(found.start_token_id), end=int(found.end_token_id))
        return SpeechTokenizer(
            kind="sentence_piece", vocabulary=found.proto, special=special, vocabulary_size=vocabulary_size
        )
    raise BackboneError(
        f"Backbone {name} has a {type(found).__name__}, which is not supported. Received: "
        f"backbone.name={name}. Use a preset of Whisper or Moonshine."
    )


def _load_tokenizer(source: str, backbone: type[Any]) -> Any:
    # KerasHub (0.32) finds Moonshine's tokenizer only by its preprocessor: its config names another network.
    preprocessors = public_classes(keras_hub.models.Preprocessor).values()
    own = next((x for x in preprocessors if x.backbone_cls is backbone and x.tokenizer_cls is not None), None)
    if own is not None:
        converter = keras_hub.layers.AudioConverter.from_preset(source)
        return own.from_preset(source, audio_converter=converter).tokenizer
    return keras_hub.tokenizers.Tokenizer.from_preset(source)


def _read_front_end(converter: Any) -> WhisperFrontEnd | SampleFrontEnd:
    """Make a front end with the same preprocessing of samples as KerasHub's, without padding."""
    if hasattr(converter, "num_mels"):
        return WhisperFrontEnd(
            mels=int(converter.num_mels),
            rate=int(converter.sampling_rate),
            window=int(converter.num_fft_bins),
            hop=int(converter.stride),
        )
    return SampleFrontEnd(bool(getattr(converter, "do_normalize", False)))
