"""Backbones for images as backbones for recordings: they take log-mel spectrograms.

Networks trained on photographs are a strong start for spectrograms: Palanisamy et al. 2020, Rethinking CNN Models for
Audio Classification, https://arxiv.org/abs/2007.11154.
"""

from dataclasses import dataclass

from keras import layers

from keras_transfer.backbones.audio.base import AudioBackbone
from keras_transfer.backbones.base import ImageBackbone, InputContract
from keras_transfer.networks.log_mel import LogMel, SpectrogramImage
from keras_transfer.networks.types import SymbolicTensor

SAMPLE_RATE = 16_000
_SECONDS = 5  # unless a recipe says otherwise
_WINDOW = 400  # 25 ms, the shortest
_SHORTEST_HOP = 16  # 1 ms: with less, neighbouring columns of an image would hardly differ
_LONGEST_HOP = 512  # above, windows and their kernels would be long; several frames are averaged then


@dataclass(frozen=True)
class SpectrogramFrontEnd:
    """Samples to a spectrogram as an image, followed by the image backbone's own preprocessing.

    There are as many mel bands, up to half the sample rate, as the image is high, the lowest at the bottom; and as many
    frames as it is wide, spread over the recording. The maximum is white, 80 dB below it is black. Channels are equal.

    Attributes:
        image_size: Height and width in pixels.
    """

    image_size: int
    channels: int
    contract: InputContract

    def __call__(self, samples: SymbolicTensor) -> SymbolicTensor:
        """Add the front end to a graph."""
        frames = plan_frames(samples.shape[1], self.image_size)
        first = (samples.shape[1] - frames.samples) // 2
        mel = LogMel(
            sample_rate=SAMPLE_RATE,
            mels=self.image_size,
            window=frames.window,
            hop=frames.hop,
            norm="mean",
            gain=4 / frames.window,  # a tone of full scale has a power of about 1
            floor=1e-14,
            decades=None,
            name="log_mel",
        )(samples[:, first : first + frames.samples])
        if frames.averaged > 1:
            mel = layers.AveragePooling1D(frames.averaged, dtype="float32", name="average_frames")(mel)
        return self.contract(SpectrogramImage(channels=self.channels, name="spectrogram")(mel))


@dataclass(frozen=True)
class Frames:
    """How a recording is divided into the columns of an image.

    Attributes:
        window: Length of a window, in samples: 25 ms, or two hops if that is more.
        averaged: Number of windows that are averaged in one column.
        samples: Number of samples that all of them cover.
    """

    window: int
    hop: int
    averaged: int
    samples: int


def plan_frames(samples: int, width: int) -> Frames:
    """Spread windows over a recording, using as few as possible for each column.

    Args:
        samples: Number of samples of the recording; at least those of :func:`fewest_samples`.
    """
    averaged = 1
    while (hop := _widest_hop(samples, width * averaged)) > _LONGEST_HOP:
        averaged += 1
    window = max(_WINDOW, 2 * hop)
    return Frames(window, hop, averaged, (width * averaged - 1) * hop + window)


def _widest_hop(samples: int, windows: int) -> int:
    hop = (samples - _WINDOW) // max(windows - 1, 1)
    return hop if 2 * hop <= _WINDOW else samples // (windows + 1)


def fewest_samples(width: int) -> int:
    """Return the shortest recording, in samples, that has an image of that many columns."""
    return _WINDOW + (width - 1) * _SHORTEST_HOP


def on_spectrograms(backbone: ImageBackbone) -> AudioBackbone:
    """Make a backbone for recordings from one for images.

    Args:
        backbone: Its network is used, not copied.

    Returns:
        The backbone, for recordings of 5 s unless :meth:`AudioBackbone.for_samples` changes that.
    """
    shortest = fewest_samples(backbone.image_size)
    return AudioBackbone(
        name=backbone.name,
        network=backbone.network,
        stages=backbone.stages,
        weights=backbone.weights,
        sample_rate=SAMPLE_RATE,
        samples=max(_SECONDS * SAMPLE_RATE, shortest),
        shortest=shortest,
        front_end=SpectrogramFrontEnd(backbone.image_size, backbone.channels, backbone.contract),
        graph=backbone.graph,
    )
