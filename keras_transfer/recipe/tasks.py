"""The tasks: thin leaves of the one recipe."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, cast

from keras_transfer.backbones import BACKBONES, ImageBackbone
from keras_transfer.backbones.images.load import load_copy, load_image_backbone
from keras_transfer.backbones.texts.hub import TextBackbone
from keras_transfer.backbones.texts.load import load_text_backbone
from keras_transfer.backbones.texts.network import MaskedLanguageModel, TextNetwork
from keras_transfer.config import (
    ImageClassificationConfig,
    TextClassificationConfig,
    TextDataConfig,
    TextPretrainingConfig,
)
from keras_transfer.config.weights import Weights
from keras_transfer.data.checks.leaks import Repeated, find_repeated_images
from keras_transfer.data.checks.scan import Scan, scan
from keras_transfer.data.checks.texts import check_texts, find_repeated
from keras_transfer.data.readers.base import Reader
from keras_transfer.data.readers.images import ImageReader
from keras_transfer.data.readers.masked import MaskedTextReader
from keras_transfer.data.readers.texts import TextReader
from keras_transfer.data.splits.label_texts import write_label_texts
from keras_transfer.data.splits.splits import Split, Splits
from keras_transfer.data.splits.unlabelled import load_unlabelled
from keras_transfer.errors import ConfigError
from keras_transfer.heads import MaskedLanguageHead
from keras_transfer.job.pretraining import PretrainingJob
from keras_transfer.model import TransferModel, build_model
from keras_transfer.recipe.base import TASKS, Recipe
from keras_transfer.storage.cache_store import cache_folder


class ImageClassification(Recipe):
    """Images in; a class, labels or numbers out: ``ImageClassification("images/").fit()``."""

    task = "image_classification"
    known: ClassVar = {**Recipe.known, "backbone.name": BACKBONES}
    config: ImageClassificationConfig

    def _scan(self, splits: Sequence[Split]) -> Scan:
        data = self.config.data
        memory = cache_folder() / "scans"
        return scan(splits, broken=data.broken, max_pixels=data.max_pixels, channels=data.channels, memory=memory)

    def _compare(self, splits: Sequence[Split]) -> Repeated:
        return find_repeated_images(splits, memory=cache_folder() / "hashes")

    def _load_backbone(self, weights: Weights) -> ImageBackbone:
        size, channels = self.config.data.image_size, self.config.data.channels
        if isinstance(self.backbone, ImageBackbone):
            return load_copy(self.backbone, weights, image_size=size, channels=channels)
        return load_image_backbone(self.config.backbone, image_size=size, channels=channels, weights=weights)

    def _make_reader(self, backbone: ImageBackbone, splits: Sequence[Split]) -> tuple[Reader, Sequence[Split]]:
        config = self.config
        reader = ImageReader(
            image_size=backbone.image_size,
            channels=config.data.channels,
            resize=config.data.resize,
            augmentation=config.augmentation,
            seed=config.seed,
            max_pixels=config.data.max_pixels,
        )
        return reader, splits


class _TextRecipe(Recipe):
    """What recipes on texts share."""

    def _scan(self, splits: Sequence[Split]) -> Scan:
        whole, broken = check_texts(splits, broken=cast(TextDataConfig, self.config.data).broken)
        return Scan(whole, broken, ())

    def _compare(self, splits: Sequence[Split]) -> Repeated:
        return find_repeated(splits)

    def _look_at(
        self, reader: TextReader, loaded: Sequence[Split], prepared: Sequence[Split]
    ) -> tuple[Sequence[str], dict[str, Any]]:
        tokens = reader.report(prepared)
        cut = ", ".join(f"{share:.1%} of {name}" for name, share in tokens["cut"].items())
        learned, predicted = tokens["sequence_length"], tokens["predict_length"]
        most = f"{learned}" if learned == predicted else f"{learned} in training, {predicted} otherwise"
        line = f"Tokens: at most {most}; texts that are cut: {cut}"
        return (line,), tokens


class TextClassification(_TextRecipe):
    """Texts in; a class, labels or numbers out.

    ``TextClassification("reviews.csv", text="review", label="stars").fit()``; ``target="number"`` makes stars a number.
    """

    task = "text_classification"
    config: TextClassificationConfig

    def _load_backbone(self, weights: Weights) -> TextBackbone:
        return load_text_backbone(self.config.backbone.name, weights=weights, pooling=self.config.head.pooling)

    def _make_reader(self, backbone: TextBackbone, splits: Sequence[Split]) -> tuple[Reader, Sequence[Split]]:
        return TextReader.fit(
            backbone.encoder,
            splits,
            sequence_length=self.config.data.sequence_length,
            predict_length=self.config.data.predict_length,
            maximum_length=backbone.maximum_length,
            pads_to_longest=backbone.pads_to_longest,
        )

    def _write_label_texts(self, reader: TextReader, names: Sequence[str]) -> Split | None:
        texts, target = self.config.head.label_texts, self.config.data.target
        if texts == "none":
            return None
        if target != "number" and len(reader.raw_inputs) == 1:
            return reader.prepare(write_label_texts(names, texts))
        if texts != "names":
            what = "numbers" if target == "number" else "pairs of texts"
            raise ConfigError(
                f"head.label_texts is for classes and labels of single texts. These are {what}. Leave it out."
            )
        return None


class TextPretraining(_TextRecipe):
    """Texts in, masked tokens out: ``run = TextPretraining("texts/").fit()`` trains the network further.

    The next recipe starts from it: ``backbone={"weights": str(run.folder)}``.
    """

    task = "text_pretraining"
    config: TextPretrainingConfig
    _job = PretrainingJob

    def _load_splits(self) -> Splits:
        return load_unlabelled(self.config.data, seed=self.config.seed, given=self._given)

    def _load_backbone(self, weights: Weights) -> TextBackbone:
        return load_text_backbone(self.config.backbone.name, weights=weights, pooling="masked")

    def _make_reader(self, backbone: TextBackbone, splits: Sequence[Split]) -> tuple[Reader, Sequence[Split]]:
        reader, prepared = MaskedTextReader.fit(
            backbone.encoder,
            splits,
            sequence_length=self.config.data.sequence_length,
            maximum_length=backbone.maximum_length,
            pads_to_longest=backbone.pads_to_longest,
            rate=self.config.head.mask_selection_rate,
            seed=self.config.seed,
        )
        reader.check(prepared)
        return reader, prepared

    def _build_model(self, backbone: TextBackbone, splits: Splits, reader: Reader) -> TransferModel:
        network = cast(TextNetwork, backbone.network)
        model = build_model(backbone, MaskedLanguageHead(splits.target.names, network.token_embedding))
        return replace(model, predictor=MaskedLanguageModel(network=network, top=model.top, name="predictor"))


for _task in (ImageClassification, TextClassification, TextPretraining):
    TASKS.add(_task.task, _task)
