"""Masked language modelling on texts without labels: a network for another recipe to start from."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from keras_transfer.backbones.texts.hub import TextBackbone
from keras_transfer.backbones.texts.network import MaskedLanguageModel, TextNetwork
from keras_transfer.backbones.texts.rows import load_text_backbone
from keras_transfer.backbones.texts.tokenizer import TextEncoder
from keras_transfer.config.schema import TextPretrainingConfig
from keras_transfer.config.weights import Weights
from keras_transfer.data.examples.base import Examples
from keras_transfer.data.readers.base import Reader
from keras_transfer.data.readers.masked import MaskedTextReader
from keras_transfer.data.readers.texts import TOKENIZER
from keras_transfer.data.splits.splits import Split, Splits
from keras_transfer.data.splits.unlabelled import load_unlabelled, read_unlabelled_split
from keras_transfer.data.targets.base import Target
from keras_transfer.data.targets.none import NoTarget
from keras_transfer.errors import CheckpointError
from keras_transfer.heads import MaskedLanguageHead, MaskedReport, Prediction, evaluate_masked
from keras_transfer.heads.evaluation import Report
from keras_transfer.model import TransferModel, build_model
from keras_transfer.tasks.earlier_runs import find_known
from keras_transfer.tasks.records import Evaluation, FinishedRun, Given, TrainedModel
from keras_transfer.tasks.text_classification import TextTask, reader_options

_EVALUATION_BATCH = 32


class TextPretrainingTask(TextTask):
    """Predict masked tokens of texts."""

    name = "text_pretraining"
    config_class = TextPretrainingConfig

    def load_splits(self, config: Any, given: Mapping[str, Any]) -> Splits:
        """Read texts and divide them as a classification recipe for the same source would."""
        return load_unlabelled(config.data, seed=config.seed, given=given, known=find_known(config))

    def reload_splits(self, config: Any, record: Mapping[str, Any]) -> Splits:
        splits = load_unlabelled(config.data, seed=config.seed, recorded=record)
        return self.fix(config, splits)

    def read_split(self, config: Any, name: str, target: Target, given: Mapping[str, Any]) -> Split:
        return read_unlabelled_split(name, name, config.data, given)

    def load_backbone(self, config: Any, weights: Weights, given: Given) -> TextBackbone:
        return load_text_backbone(config.backbone.name, weights=weights, pooling="masked")

    def make_reader(
        self, config: Any, backbone: TextBackbone, splits: Sequence[Split]
    ) -> tuple[Reader, Sequence[Split]]:
        """Make a reader that masks tokens, and tokenize all texts."""
        reader, prepared = MaskedTextReader.fit(
            backbone.encoder,
            splits,
            sequence_length=config.data.sequence_length,
            maximum_length=backbone.maximum_length,
            pads_to_longest=backbone.pads_to_longest,
            rate=config.head.mask_selection_rate,
            seed=config.seed,
        )
        reader.check(prepared)
        return reader, prepared

    def build_model(self, config: Any, backbone: TextBackbone, splits: Splits, reader: Reader) -> TransferModel:
        network = cast(TextNetwork, backbone.network)
        model = build_model(backbone, MaskedLanguageHead(splits.target.names, network.token_embedding))
        return replace(model, predictor=MaskedLanguageModel(network=network, top=model.top, name="predictor"))

    def evaluate_trained(self, trained: TrainedModel) -> Evaluation:
        """Mask tokens of validation and test rows, and count which ones are predicted."""
        batch_size = trained.config.training.most_per_step
        reports = [
            evaluate_masked(
                trained.model.predictor,
                trained.reader.evaluation_batches(split, batch_size=batch_size),
                split=split.name,
                n=len(split),
            )
            for split in trained.evaluated
        ]
        return Evaluation(trained.model.head, tuple(reports))

    def restore_target(self, config: Any, record: Mapping[str, Any]) -> Target:
        return NoTarget(tuple(record[NoTarget.names_key]))

    def restore_reader(self, run: FinishedRun) -> Reader:
        encoder = TextEncoder.load(run.folder / TOKENIZER)
        rate = run.config.head.mask_selection_rate
        return MaskedTextReader(encoder, rate=rate, seed=run.config.seed, **reader_options(run))

    def restore_head(self, run: FinishedRun, facts: dict[str, Any]) -> Any:
        """Raise an error: the model of a finished run returns logits of tokens, and has no head."""
        raise CheckpointError(str(self.refusal(run)))

    def report_type(self, run: FinishedRun) -> type[Report]:
        return MaskedReport

    def evaluate(self, run: FinishedRun, split: Split) -> Report:
        """Mask tokens, and count which ones are predicted."""
        batches = run.reader.evaluation_batches(run.reader.prepare(split), batch_size=_EVALUATION_BATCH)
        return evaluate_masked(run.model, batches, split=split.name, n=len(split))

    def refusal(self, run: FinishedRun) -> str | None:
        """Return why the run cannot predict, and what to do with it."""
        return (
            f"Run {run.folder} is one of pre-training (task {self.name}): it has no classes, and there is nothing to "
            f"serve. Train a classifier from it with backbone.weights={run.folder}."
        )

    def predict(self, run: FinishedRun, examples: Examples) -> Sequence[Prediction]:
        """Raise an error, as :meth:`refusal` explains."""
        raise CheckpointError(str(self.refusal(run)))
