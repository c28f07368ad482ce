"""A backbone for recordings: from samples, through a front end, to the network's features."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import keras

from keras_transfer.backbones.audio.speech_network import find_parts, find_speech_stages
from keras_transfer.backbones.base import Backbone
from keras_transfer.errors import BackboneError
from keras_transfer.networks.types import SymbolicTensor, Tensor
from keras_transfer.networks.windows import over_windows

Padding = Literal["silence", "repeat"]


@dataclass(frozen=True, kw_only=True)
class AudioBackbone(Backbone):
    """A network for recordings of a given length.

    Attributes:
        sample_rate: Sample rate of its input, in Hz.
        samples: Number of samples that it is built for.
        shortest: Fewest samples that it can be built for.
        longest: Most samples that it can be built for; None if there is no bound.
        front_end: From samples, ``float32[batch, samples]`` in -1..1, to the network's input: layers that are not
            trained, in float32. A frozen dataclass, whose ``repr`` has all of its settings.
        resize: From the network and a number of samples to a network for that many, with the same weights; None for a
            network that does not depend on the number.
        padding: How shorter recordings are padded: with ``silence`` after them, or by repeating them.
        graph: A digest of the network's graph, if its name does not determine it.
    """

    sample_rate: int
    samples: int
    shortest: int
    longest: int | None = None
    front_end: Callable[[SymbolicTensor], SymbolicTensor]
    resize: Callable[[keras.Model, int], keras.Model] | None = None
    padding: Padding = "silence"
    graph: str = ""

    def inputs(self) -> keras.KerasTensor:
        """Make an input for samples, ``float32[batch, samples]`` in -1..1."""
        return keras.Input((self.samples,), name="samples", dtype="float32")

    def prepare(self, inputs: Tensor) -> Tensor:
        """Apply the front end."""
        return self.front_end(inputs)

    def over_whole(self, predictor: keras.Model) -> keras.Model:
        """Return a predictor for ``samples``, ``float32[batch, time]``, of any length: the mean over windows."""
        return over_windows(predictor, self.samples, self.padding)

    def for_samples(self, samples: int, padding: Padding = "silence") -> Self:
        """Return the backbone for recordings of another length, with the same weights.

        Raises:
            BackboneError: The network does not accept recordings of that length.
        """
        check_samples(self.name, samples, self.shortest, self.longest, self.sample_rate)
        if samples == self.samples or self.resize is None:
            return replace(self, samples=samples, padding=padding)
        resized = self.with_network(self.resize(self.network, samples))
        return replace(resized, samples=samples, padding=padding)

    def with_network(self, network: keras.Model) -> Self:
        """Return the backbone with its network replaced by another one of the same architecture."""
        stages = find_speech_stages(network)
        return replace(self, network=network, stages=stages, parts=find_parts(stages))

    def describe(self) -> list[Any]:
        """Return name, graph, sample rate, length and front end."""
        return [self.name, self.graph, self.sample_rate, self.samples, repr(self.front_end)]


def check_samples(name: str, samples: int, shortest: int, longest: int | None, sample_rate: int) -> None:
    """Check the length of recordings.

    Raises:
        BackboneError: They are too short or too long.
    """
    if samples < shortest or (longest is not None and samples > longest):
        upper = "or more" if longest is None else f"to {longest / sample_rate:g} s"
        raise BackboneError(
            f"Backbone {name} takes recordings of {shortest / sample_rate:g} s {upper}. "
            f"Received: {samples / sample_rate:g} s (samples={samples} at {sample_rate} Hz). "
            "Set data.seconds to a length that it takes; shorter recordings are padded to it, longer ones cut."
        )
