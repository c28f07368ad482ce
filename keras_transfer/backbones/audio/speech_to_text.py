"""Backbones that transcribe speech: encoder and decoder of a network for speech as one graph, teacher-forced."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from keras_transfer.backbones.audio.base import AudioBackbone
from keras_transfer.backbones.audio.hub import find_speech_source, load_speech_preset, load_speech_tokenizer
from keras_transfer.backbones.audio.rows import AudioBackboneRow, SpeechParts
from keras_transfer.backbones.audio.speech_network import (
    TOKENS,
    find_parts,
    find_speech_stages,
    find_token_embeddings,
    take_speech_network,
)
from keras_transfer.backbones.audio.speech_tokenizer import SpeechTokenizer
from keras_transfer.backbones.base import digest_graph
from keras_transfer.backbones.rows import BACKBONES, list_rows
from keras_transfer.backbones.weights import copy_weights, load_weights
from keras_transfer.config.backbones import BackboneConfig
from keras_transfer.config.weights import Weights
from keras_transfer.errors import BackboneError
from keras_transfer.networks.types import Layer, Tensor


@dataclass(frozen=True, kw_only=True)
class SpeechBackbone(AudioBackbone):
    """A network that predicts each token of a transcript from a recording and the tokens before it.

    Its network takes the output of :meth:`prepare` and returns the states of its decoder, ``[batch, tokens, width]``;
    ``token_embedding(states, reverse=True)`` turns these into logits.

    Attributes:
        longest_text: Maximum number of tokens, including those of the prompt.
    """

    tokenizer: SpeechTokenizer
    longest_text: int

    @property
    def token_embedding(self) -> Layer:
        """The network's embedding of tokens, whose weights are also those of its output."""
        return find_token_embeddings(self.network)[0]

    def inputs(self) -> Any:
        """Make inputs for ``samples``, ``float32[batch, samples]``, and ``token_ids``, ``int32[batch, tokens]``."""
        return {"samples": super().inputs(), TOKENS: keras.Input((None,), name=TOKENS, dtype="int32")}

    def prepare(self, inputs: Tensor) -> Tensor:
        prepared = self.front_end(inputs["samples"])
        return {name: inputs[TOKENS] if name == TOKENS else prepared for name in self.network.input}

    def over_whole(self, predictor: keras.Model) -> keras.Model:
        """Return it unchanged: transcripts cannot be averaged over windows."""
        return predictor

    def describe(self) -> list[Any]:
        """Return what recordings and transcripts are turned into, too."""
        return [*super().describe(), self.tokenizer.fingerprint]


@dataclass(frozen=True, kw_only=True)
class _Source:
    """The parts from which a network for recordings and transcripts is built.

    Attributes:
        whole: KerasHub's network, with the weights that a recipe sets.
        hop: Number of samples per step of its input.
    """

    name: str
    graph_name: str
    whole: keras.Model
    build: Callable[[], keras.Model]
    hop: int

    def make(self, samples: int) -> keras.Model:
        """Build the network for recordings of that many samples."""
        return take_speech_network(self.whole, samples // self.hop, name=self.graph_name)

    def resize(self, network: keras.Model, samples: int) -> keras.Model:
        """Build it with the weights of another network that this object built."""
        resized = take_speech_network(self.build(), samples // self.hop, name=network.name)
        copy_weights(network, resized)
        return resized

    @property
    def longest_text(self) -> int:
        """The number of positions of the decoder."""
        table = getattr(self.whole, "max_decoder_sequence_length", None)
        return int(self.whole.max_position_embeddings if table is None else table)


def load_speech_to_text(config: BackboneConfig, *, weights: Weights = Weights.PRETRAINED) -> SpeechBackbone:
    """Load the network that a recipe names, with its tokenizer.

    Args:
        config: ``name`` is one in ``BACKBONES`` of a network that writes transcripts, ``hub:`` and a preset of
            KerasHub for speech, or the folder of one.
        weights: ``pretrained``, ``none`` for random ones, or the path of a file or of a run folder.

    Returns:
        The backbone, for its default length of recordings; :meth:`SpeechBackbone.for_samples` changes that.

    Raises:
        BackboneError: The backbone is not available, does not transcribe, or the weights do not fit.
    """
    row = BACKBONES[config.name] if config.name in BACKBONES else None
    if isinstance(row, AudioBackboneRow) and row.speech is not None:
        return _load_row(row, row.speech, weights)
    source = find_speech_source(config.name) if row is None else None
    if source is None:
        names = list_transcribers()
        raise BackboneError(
            f"Backbone {config.name} cannot transcribe. Received: backbone.name={config.name}. "
            f"Use one of {', '.join(names)}, or a KerasHub preset of Whisper or Moonshine: hub:PRESET or its folder."
        )
    return _load_preset(config.name, source, weights)


def list_transcribers() -> list[str]:
    """Return the names of the backbones that transcribe; see also ``list_speech_presets``."""
    rows = list_rows("audio")
    return sorted(row.name for row in rows if isinstance(row, AudioBackboneRow) and row.speech is not None)


def _load_row(row: AudioBackboneRow, speech: SpeechParts, weights: Weights) -> SpeechBackbone:
    tokenizer = speech.read_tokenizer()
    whole = speech.build_pretrained() if weights == Weights.PRETRAINED else speech.build()
    source = _Source(name=row.name, graph_name=row.name, whole=whole, build=speech.build, hop=speech.hop)
    return _assemble(
        source,
        weights,
        row.samples,
        tokenizer=tokenizer,
        sample_rate=row.sample_rate,
        shortest=row.shortest,
        longest=row.longest,
        front_end=row.front_end,
    )


def _load_preset(name: str, found: str, weights: Weights) -> SpeechBackbone:
    preset = load_speech_preset(name, found, weights=weights)
    tokenizer = load_speech_tokenizer(name, found, preset.whole)
    source = _Source(name=name, graph_name=preset.family, whole=preset.whole, build=preset.build, hop=preset.hop)
    return _assemble(
        source,
        weights,
        preset.usual,
        tokenizer=tokenizer,
        sample_rate=preset.sample_rate,
        shortest=preset.shortest,
        longest=preset.longest,
        front_end=preset.front_end,
        graph=digest_graph(preset.whole),
    )


def _assemble(source: _Source, weights: Weights, samples: int, **others: Any) -> SpeechBackbone:
    network = source.make(samples)
    if weights.path is not None:
        load_weights(network, weights.path, source.name)
    stages = find_speech_stages(network)
    return SpeechBackbone(
        name=source.name,
        network=network,
        stages=stages,
        parts=find_parts(stages),
        weights=weights,
        samples=samples,
        resize=source.resize,
        longest_text=source.longest_text,
        **others,
    )
