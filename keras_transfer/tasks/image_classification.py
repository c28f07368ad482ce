"""Images in; one class out of several, labels or numbers out."""

from collections.abc import Sequence
from typing import Any

from keras_transfer.audit.images import audit_images
from keras_transfer.backbones import ImageBackbone
from keras_transfer.backbones.images.load import load_copy, load_image_backbone
from keras_transfer.config.schema import ImageClassificationConfig
from keras_transfer.config.weights import Weights
from keras_transfer.data.checks.broken import Scan
from keras_transfer.data.checks.findings import Finding
from keras_transfer.data.checks.leaks import Repeated, find_repeated_images
from keras_transfer.data.checks.scan import scan
from keras_transfer.data.examples.base import Examples
from keras_transfer.data.examples.images import ImageExamples
from keras_transfer.data.formats.pixels import make_thumbnail
from keras_transfer.data.inputs import ImageInputs
from keras_transfer.data.readers.base import Reader
from keras_transfer.data.readers.images import ImageReader
from keras_transfer.data.splits.splits import Split, Splits
from keras_transfer.explain import Shown
from keras_transfer.explain.images import explain_images, to_shown
from keras_transfer.storage.cache_store import cache_folder
from keras_transfer.tasks.records import FinishedRun, Given
from keras_transfer.tasks.targets import HeatMapTask


class ImageClassificationTask(HeatMapTask):
    """A class, labels or numbers for each image."""

    name = "image_classification"
    config_class = ImageClassificationConfig
    explain_examples = staticmethod(explain_images)

    def scan(self, config: Any, splits: Sequence[Split]) -> Scan:
        """Scan every image; results of earlier scans are cached."""
        data = config.data
        memory = cache_folder() / "scans"
        return scan(splits, broken=data.broken, max_pixels=data.max_pixels, channels=data.channels, memory=memory)

    def find_repeated(self, splits: Sequence[Split]) -> Repeated:
        """Find images that are in two splits, including re-encoded and resized ones."""
        return find_repeated_images(splits, memory=cache_folder() / "hashes")

    def audit(self, config: Any, splits: Splits) -> Sequence[Finding]:
        """Look for images that are blank, dark, blurred, of an odd size or duplicates."""
        return audit_images(splits, memory=cache_folder() / "hashes")

    def preview(self, examples: ImageExamples, row: int) -> bytes | str:
        return make_thumbnail(examples.read(row))

    def load_backbone(self, config: Any, weights: Weights, given: Given) -> ImageBackbone:
        size, channels = config.data.image_size, config.data.channels
        if isinstance(given.backbone, ImageBackbone):
            return load_copy(given.backbone, weights, image_size=size, channels=channels)
        return load_image_backbone(config.backbone, image_size=size, channels=channels, weights=weights)

    def make_reader(
        self, config: Any, backbone: ImageBackbone, splits: Sequence[Split]
    ) -> tuple[Reader, Sequence[Split]]:
        return _make_reader(config, backbone.image_size), splits

    def inputs(self, config: Any) -> ImageInputs:
        return ImageInputs(config.data)

    def show(self, run: FinishedRun, examples: Examples, outputs: Sequence[Sequence[int]]) -> Sequence[Shown]:
        """Draw thumbnails, alone and under heat maps."""
        return [to_shown(*explained) for explained in self.compute_maps(run, examples, outputs)]

    def restore_reader(self, run: FinishedRun) -> Reader:
        return _make_reader(run.config, int(run.input_shape[1]))


def _make_reader(config: ImageClassificationConfig, image_size: int) -> ImageReader:
    return ImageReader(
        image_size=image_size,
        channels=config.data.channels,
        resize=config.data.resize,
        augmentation=config.augmentation,
        seed=config.seed,
        max_pixels=config.data.max_pixels,
    )
