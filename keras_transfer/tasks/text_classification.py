"""Texts in; one class out of several, labels or numbers out."""

from abc import ABC
from collections.abc import Mapping, Sequence
from typing import Any, cast

from keras_transfer.audit.texts import audit_texts
from keras_transfer.backbones.texts import network  # noqa: F401 - saved models of texts are of its class
from keras_transfer.backbones.texts.hub import TextBackbone
from keras_transfer.backbones.texts.rows import load_text_backbone
from keras_transfer.backbones.texts.tokenizer import TextEncoder
from keras_transfer.config.schema import TextClassificationConfig
from keras_transfer.config.weights import Weights
from keras_transfer.data.checks.broken import Scan
from keras_transfer.data.checks.findings import Finding
from keras_transfer.data.checks.leaks import Repeated
from keras_transfer.data.checks.texts import check_texts, find_broken_texts, find_repeated, replace_wrong_bytes
from keras_transfer.data.examples.base import Examples
from keras_transfer.data.examples.texts import Texts
from keras_transfer.data.inputs import TextInputs
from keras_transfer.data.readers.base import Reader
from keras_transfer.data.readers.texts import TOKENIZER, TextReader
from keras_transfer.data.readers.tokens import Tokens
from keras_transfer.data.splits.label_texts import write_label_texts
from keras_transfer.data.splits.splits import Split, Splits
from keras_transfer.errors import ConfigError
from keras_transfer.explain import Explanation, Shown, open_model
from keras_transfer.explain.texts import explain_texts
from keras_transfer.tasks.base import Task
from keras_transfer.tasks.records import FinishedRun, Given
from keras_transfer.tasks.targets import TargetTask

_PREVIEW = 160
# Of integrated gradients: sums of attributions are off by about 5 % with 8 points, and by less than 0.5 % with 24.
_POINTS, _EXACT_POINTS = 8, 24
# Number of examples that a page explains: a second for each hundred on one core.
_MOST_TOKENS = 2000


class TextTask(Task, ABC):
    """What tasks on texts share."""

    def fix(self, config: Any, splits: Splits) -> Splits:
        """Replace invalid bytes of texts that are read again in the same way as the run did."""
        return splits.with_parts(check_texts(tuple(splits), broken=config.data.broken)[0])

    def scan(self, config: Any, splits: Sequence[Split]) -> Scan:
        whole, broken = check_texts(splits, broken=config.data.broken)
        return Scan(whole, broken, (), find_broken_texts(splits))

    def find_repeated(self, splits: Sequence[Split]) -> Repeated:
        return find_repeated(splits)

    def audit(self, config: Any, splits: Splits) -> Sequence[Finding]:
        """Look for texts that are very short, in another script, duplicates, or share passages with many others."""
        return audit_texts(splits)

    def preview(self, examples: Texts, row: int) -> bytes | str:
        return " | ".join(replace_wrong_bytes(text[:_PREVIEW]) for text in examples.segments[row])

    def inputs(self, config: Any) -> TextInputs:
        return TextInputs(config.data)

    def describe_examples(
        self, reader: TextReader, loaded: Sequence[Split], prepared: Sequence[Split]
    ) -> tuple[Sequence[str], dict[str, Any]]:
        """Return how long texts are, and how many are truncated."""
        tokens = reader.report(prepared)
        cut = ", ".join(f"{share:.1%} of {name}" for name, share in tokens["cut"].items())
        learned, predicted = tokens["sequence_length"], tokens["predict_length"]
        most = f"{learned}" if learned == predicted else f"{learned} in training, {predicted} otherwise"
        return (f"Tokens: at most {most}; texts that are cut: {cut}",), tokens


class TextClassificationTask(TextTask, TargetTask):
    """A class, labels or numbers for each text or pair of texts."""

    name = "text_classification"
    config_class = TextClassificationConfig

    def reload_splits(self, config: Any, record: Mapping[str, Any]) -> Splits:
        return self.fix(config, super().reload_splits(config, record))

    def load_backbone(self, config: Any, weights: Weights, given: Given) -> TextBackbone:
        return load_text_backbone(config.backbone.name, weights=weights, pooling=config.head.pooling)

    def make_reader(
        self, config: Any, backbone: TextBackbone, splits: Sequence[Split]
    ) -> tuple[Reader, Sequence[Split]]:
        """Make a reader for the lengths of the training texts, and tokenize all texts."""
        return TextReader.fit(
            backbone.encoder,
            splits,
            sequence_length=config.data.sequence_length,
            predict_length=config.data.predict_length,
            maximum_length=backbone.maximum_length,
            pads_to_longest=backbone.pads_to_longest,
        )

    def label_texts(self, config: Any, reader: TextReader, names: Sequence[str]) -> Split | None:
        """Return for each class or label a text with its name."""
        texts, target = config.head.label_texts, config.data.target
        if texts == "none":
            return None
        if target != "number" and len(reader.raw_inputs) == 1:
            return reader.prepare(write_label_texts(names, texts))
        if texts != "names":
            what = "numbers" if target == "number" else "pairs of texts"
            raise ConfigError(
                f"head.label_texts is for classes and labels of single texts. Received: {what}. Leave it out."
            )
        return None

    def explain(self, run: FinishedRun, examples: Examples, outputs: Sequence[Sequence[int]]) -> Sequence[Explanation]:
        return _explain(run, examples, outputs, points=_EXACT_POINTS, most_tokens=None)

    def show(self, run: FinishedRun, examples: Examples, outputs: Sequence[Sequence[int]]) -> Sequence[Shown]:
        """Attribute outputs to words less exactly, and for long texts only to the first words."""
        explained = _explain(run, examples, outputs, points=_POINTS, most_tokens=_MOST_TOKENS)
        return [Shown(one.input, outputs=one.outputs, pieces=one.pieces, note=one.note) for one in explained]

    def restore_reader(self, run: FinishedRun) -> Reader:
        """Make a reader with the tokenizer and lengths in the run folder."""
        return TextReader(TextEncoder.load(run.folder / TOKENIZER), **reader_options(run))


def _explain(
    run: FinishedRun,
    examples: Examples,
    outputs: Sequence[Sequence[int]],
    *,
    points: int,
    most_tokens: int | None,
) -> list[Explanation]:
    opened = open_model(run.model)
    if opened is None:
        return [Explanation(name, (), note="The model has no stages.") for name in examples.names]
    texts, reader = cast(Texts | Tokens, examples), cast(TextReader, run.reader)
    names = run.target.names
    return explain_texts(opened, reader, texts, outputs, names, points=points, most_tokens=most_tokens)


def reader_options(run: FinishedRun) -> Mapping[str, Any]:
    """Return the options of a run's text reader that are stored in its folder."""
    return {
        "segments": 1 if run.config.data.text_pair is None else 2,
        "limit": run.record["predict_length"],
        "pads_to_longest": run.record["pads_to_longest"],
    }
