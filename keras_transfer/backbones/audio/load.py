"""What a recipe names as its backbone for recordings."""

from keras_transfer.backbones.audio.base import AudioBackbone
from keras_transfer.backbones.audio.rows import AudioBackboneRow
from keras_transfer.backbones.rows import find_row
from keras_transfer.config import AudioBackboneConfig
from keras_transfer.config.weights import Weights


def load_audio_backbone(
    config: AudioBackboneConfig, *, weights: Weights = Weights.PRETRAINED, image_size: int | None = None
) -> AudioBackbone:
    """Load the backbone that a recipe names.

    Args:
        config: ``name`` is one in ``BACKBONES``.
        weights: ``pretrained``, ``none`` for random ones, or the path of a file or of a run folder.
        image_size: For backbones that take images: height and width of the spectrogram, in pixels.

    Returns:
        The backbone, for recordings of its own length; :meth:`AudioBackbone.for_samples` changes that.

    Raises:
        BackboneError: It is not available, or does not take such weights.
    """
    return find_row(config.name, AudioBackboneRow).load(weights=weights)
