"""The entries of backbones for images in ``BACKBONES``."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import keras

from keras_transfer.backbones.base import ImageBackbone, InputContract
from keras_transfer.backbones.rows import BackboneRow
from keras_transfer.backbones.weights import load_weights
from keras_transfer.config.weights import Weights
from keras_transfer.errors import BackboneError
from keras_transfer.networks.stages import find_stages


@dataclass(frozen=True, kw_only=True)
class ImageBackboneRow(BackboneRow):
    """The metadata of a backbone for images, available before it is built.

    Attributes:
        build: Builds the network with random weights for a size in pixels, or for any size if that is None.
        build_pretrained: Builds the network with its pretrained weights for a size in pixels.
        contract: From raw pixels to the network's inputs.
        image_size: The size that it was trained at, in pixels.
        minimum_size: The smallest supported size, in pixels.
        stages: Number of stages.
        weights_file: Returns the path of the pretrained weights on this machine, or None.
        load_pth: Loads a ``.pth`` file into the network; None for backbones that do not support such files.
        after_loading: Restores what a file of weights does not contain.
    """

    build: Callable[[int | None], keras.Model]
    build_pretrained: Callable[[int], keras.Model]
    contract: InputContract
    image_size: int
    minimum_size: int
    stages: int
    weights_file: Callable[[], Path | None]
    load_pth: Callable[[keras.Model, Path], None] | None = None
    after_loading: Callable[[keras.Model], None] | None = None

    modality: ClassVar[str] = "image"

    @property
    def available(self) -> bool:
        return self.weights_file() is not None

    @property
    def description(self) -> dict[str, Any]:
        return {**super().description, "image_size": self.image_size, "stages": self.stages}

    def load(
        self, *, weights: Weights | str | Path = Weights.PRETRAINED, image_size: int | None = None
    ) -> ImageBackbone:
        """Build the backbone.

        Args:
            weights: ``pretrained``, ``none`` for random ones, or the path of a file (``.weights.h5``, ``.h5``,
                ``.keras``, for some backbones ``.pth``) or of a run folder.
            image_size: Height and width of the images in pixels; None for the size that it was trained at.

        Returns:
            The backbone.

        Raises:
            BackboneError: The size is too small, or the weights are not available or do not fit.
        """
        weights = Weights.parse(weights)
        size = self.image_size if image_size is None else image_size
        if size < self.minimum_size:
            raise BackboneError(
                f"Backbone {self.name} takes images of {self.minimum_size}x{self.minimum_size} pixels or more. "
                f"Received: image_size={size}. Use {self.minimum_size} or more; it was trained at {self.image_size}."
            )
        network = self.build_pretrained(size) if weights == Weights.PRETRAINED else self.build(size)
        if weights.path is not None:
            load_weights(network, weights.path, self.name, load_pth=self.load_pth)
            if self.after_loading is not None:
                self.after_loading(network)
        return ImageBackbone(
            name=self.name,
            network=network,
            stages=find_stages(network),
            weights=weights,
            contract=self.contract,
            image_size=size,
        )
