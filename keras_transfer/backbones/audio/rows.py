"""The entries of backbones for recordings in ``BACKBONES``."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import keras

from keras_transfer.backbones.audio.base import AudioBackbone, check_samples
from keras_transfer.backbones.audio.speech_network import find_parts, find_speech_stages
from keras_transfer.backbones.audio.speech_tokenizer import SpeechTokenizer
from keras_transfer.backbones.rows import BackboneRow
from keras_transfer.backbones.weights import copy_weights, load_weights
from keras_transfer.config.weights import Weights
from keras_transfer.networks.types import SymbolicTensor


@dataclass(frozen=True)
class SpeechParts:
    """The parts that turn a backbone's encoder into a network that transcribes.

    Attributes:
        build: Builds the whole KerasHub network with random weights.
        read_tokenizer: Reads its tokenizer; raises BackboneError if it is not on this machine.
        hop: Number of samples per step of its input.
    """

    build: Callable[[], keras.Model]
    build_pretrained: Callable[[], keras.Model]
    read_tokenizer: Callable[[], SpeechTokenizer]
    hop: int


@dataclass(frozen=True, kw_only=True)
class AudioBackboneRow(BackboneRow):
    """The metadata of a backbone for recordings, available before it is built.

    Attributes:
        build: Builds the network with random weights for a number of samples.
        build_pretrained: Builds the network with its pretrained weights for a number of samples.
        front_end: From samples to the network's input; see :class:`AudioBackbone`.
        sample_rate: Sample rate of its input, in Hz.
        samples: Default number of samples.
        shortest: Minimum number of samples.
        longest: Maximum number of samples; None if there is no bound.
        stages: Number of stages.
        weights_file: Returns the path of the pretrained weights on this machine, or None.
        speech: The parts for ``speech_to_text``; None for a network that does not transcribe.
    """

    build: Callable[[int], keras.Model]
    build_pretrained: Callable[[int], keras.Model]
    front_end: Callable[[SymbolicTensor], SymbolicTensor]
    sample_rate: int = 16_000
    samples: int
    shortest: int
    longest: int | None = None
    stages: int
    weights_file: Callable[[], Path | None]
    speech: SpeechParts | None = None

    modality: ClassVar[str] = "audio"

    @property
    def available(self) -> bool:
        return self.weights_file() is not None

    @property
    def description(self) -> dict[str, Any]:
        longest = None if self.longest is None else self.longest / self.sample_rate
        seconds = {"minimum_seconds": self.shortest / self.sample_rate, "maximum_seconds": longest}
        return {
            **super().description,
            "sample_rate": self.sample_rate,
            **seconds,
            "stages": self.stages,
            "transcribes": self.speech is not None,
        }

    def load(self, *, weights: Weights | str | Path = Weights.PRETRAINED, samples: int | None = None) -> AudioBackbone:
        """Build the backbone.

        Args:
            weights: ``pretrained``, ``none`` for random ones, or the path of a file (``.weights.h5``, ``.h5``,
                ``.keras``) or of a run folder.
            samples: Number of samples of a recording; None for the default.

        Returns:
            The backbone.

        Raises:
            BackboneError: The length is not supported, or the weights are not available or do not fit.
        """
        weights = Weights.parse(weights)
        samples = self.samples if samples is None else samples
        check_samples(self.name, samples, self.shortest, self.longest, self.sample_rate)
        network = self.build_pretrained(samples) if weights == Weights.PRETRAINED else self.build(samples)
        if weights.path is not None:
            load_weights(network, weights.path, self.name)
        stages = find_speech_stages(network)
        return AudioBackbone(
            name=self.name,
            network=network,
            stages=stages,
            parts=find_parts(stages),
            weights=weights,
            sample_rate=self.sample_rate,
            samples=samples,
            shortest=self.shortest,
            longest=self.longest,
            front_end=self.front_end,
            resize=self._resize,
        )

    def _resize(self, network: keras.Model, samples: int) -> keras.Model:
        resized = self.build(samples)
        copy_weights(network, resized)
        return resized
