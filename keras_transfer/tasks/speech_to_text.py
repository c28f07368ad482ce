"""Recordings of speech in, their transcripts out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, cast

import keras

from keras_transfer.audit.recordings import audit_transcripts
from keras_transfer.backbones.audio.decoding import DecodingRules
from keras_transfer.backbones.audio.speech_to_text import SpeechBackbone, load_speech_to_text
from keras_transfer.backbones.audio.speech_tokenizer import SpeechTokenizer
from keras_transfer.backbones.audio.transcriber import Transcriber
from keras_transfer.config.schema import SpeechToTextConfig
from keras_transfer.config.weights import Weights
from keras_transfer.data.checks.broken import Scan
from keras_transfer.data.checks.findings import Finding
from keras_transfer.data.checks.transcripts import scan_transcripts
from keras_transfer.data.examples.base import Examples
from keras_transfer.data.readers.base import Reader
from keras_transfer.data.readers.texts import TOKENIZER
from keras_transfer.data.readers.transcribed import SpeechReader
from keras_transfer.data.splits.splits import Split, Splits
from keras_transfer.data.targets.base import Target
from keras_transfer.explain import Shown
from keras_transfer.explain.recordings import show_recordings
from keras_transfer.heads import Prediction
from keras_transfer.heads.evaluation import Report
from keras_transfer.heads.token_loss import TokenFigures, evaluate_tokens
from keras_transfer.heads.transcripts import TranscriptHead, TranscriptReport
from keras_transfer.model import TransferModel, build_model
from keras_transfer.tasks.base import predict_examples
from keras_transfer.tasks.recordings import RecordingTask
from keras_transfer.tasks.records import Evaluation, FinishedRun, Floats, Given, TrainedModel
from keras_transfer.tasks.targets import LabelledTask

_EVALUATION_BATCH = 8


class SpeechToTextTask(RecordingTask, LabelledTask):
    """Predicts the transcript of each recording."""

    name = "speech_to_text"
    config_class = SpeechToTextConfig
    augmentation_off: ClassVar[Mapping[str, Any]] = {}

    def scan(self, config: Any, splits: Sequence[Split]) -> Scan:
        """Scan every recording and its transcript; results of earlier scans of recordings are cached."""
        data = config.data
        return scan_transcripts(splits, broken=data.broken, max_seconds=data.max_seconds, seconds=data.seconds)

    def audit(self, config: Any, splits: Splits) -> Sequence[Finding]:
        """Look for odd recordings, and for transcripts that probably do not belong to their recordings."""
        return audit_transcripts(splits)

    def load_backbone(self, config: Any, weights: Weights, given: Given) -> SpeechBackbone:
        return load_speech_to_text(config.backbone, weights=weights)

    def make_reader(
        self, config: Any, backbone: SpeechBackbone, splits: Sequence[Split]
    ) -> tuple[Reader, Sequence[Split]]:
        """Decode all recordings, tokenize their transcripts, and make a reader of as many samples as they need."""
        data = config.data
        return SpeechReader.fit_transcribed(
            splits,
            sample_rate=backbone.sample_rate,
            seconds=data.seconds,
            shortest=backbone.shortest,
            longest=backbone.longest,
            augmentation=config.augmentation,
            seed=config.seed,
            max_seconds=data.max_seconds,
            tokenizer=backbone.tokenizer,
            prompt=_find_prompt(config, backbone.tokenizer),
            longest_text=backbone.longest_text,
        )

    def describe_examples(
        self, reader: Any, loaded: Sequence[Split], prepared: Sequence[Split]
    ) -> tuple[Sequence[str], dict[str, Any]]:
        """Return how much audio the network hears at once, and how long transcripts are."""
        report = reader.report(prepared)
        most = ", ".join(f"{count} of {name}" for name, count in report["tokens"].items())
        line = f"Recordings: {report['seconds']:g} s at {report['sample_rate']:,} Hz at once; most tokens: {most}"
        return (line,), report

    def build_model(self, config: Any, backbone: Any, splits: Splits, reader: Reader) -> TransferModel:
        """Let the network's decoder predict the next token, and add decoding to both."""
        sized = cast(SpeechBackbone, backbone.for_samples(cast(SpeechReader, reader).samples))
        head = TranscriptHead(
            splits.target.names,
            tokenizer=sized.tokenizer,
            prompt=tuple(_find_prompt(config, sized.tokenizer)),
            rule=config.data.normalization,
            token_embedding=sized.token_embedding,
            timestamps=config.head.timestamps,
        )
        model = build_model(sized, head)
        return replace(model, predictor=_make_transcriber(config, sized), decodes=True)

    # From a trained model to a report.

    def predict_untrained(self, model: TrainedModel) -> Mapping[str, Sequence[str]]:
        """Transcribe test rows, or validation rows if there are none, by the network before training.

        It hears as much as in pretraining: a network that is cut to shorter recordings has to learn that first.
        """
        backbone, transcriber = cast(SpeechBackbone, model.model.backbone), None
        if backbone.longest is not None and backbone.samples < backbone.longest:
            # Loaded again: this one may already have adapters.
            whole = self.load_backbone(model.config, Weights.parse(model.config.backbone.weights), Given())
            transcriber = _make_transcriber(model.config, whole.for_samples(backbone.longest))
        head = cast(TranscriptHead, model.model.head)
        return {split.name: head.to_texts(model.predict(split, transcriber)) for split in model.evaluated[-1:]}

    def evaluate_trained(self, trained: TrainedModel) -> Evaluation:
        """Compare the texts of validation and test rows with their transcripts, and with those before training."""
        head = cast(TranscriptHead, trained.model.head)
        reports, predicted = [], {}
        for split in trained.evaluated:
            predicted[split.name] = trained.predict(split)
            tokens = _evaluate_tokens(head, trained.model.trainer, trained.reader, split)
            untrained = (trained.untrained or {}).get(split.name)
            reports.append(_report(head, split, predicted[split.name], tokens, untrained))
        return Evaluation(head, tuple(reports), predicted)

    # A finished run.

    def restore_reader(self, run: FinishedRun) -> Reader:
        """Make a reader of as many samples as the model was trained on."""
        tokenizer, record = SpeechTokenizer.load(run.folder / TOKENIZER), run.record
        return SpeechReader(
            sample_rate=record["sample_rate"],
            samples=round(record["seconds"] * record["sample_rate"]),
            augmentation=run.config.augmentation,
            seed=run.config.seed,
            max_seconds=run.config.data.max_seconds,
            tokenizer=tokenizer,
            prompt=_find_prompt(run.config, tokenizer),
            longest_text=record["longest_text"],
        )

    def restore_head(self, run: FinishedRun, facts: dict[str, Any]) -> TranscriptHead:
        """Restore the head, with the tokenizer of the run."""
        return TranscriptHead(
            run.target.names,
            tokenizer=cast(SpeechReader, run.reader).tokenizer,
            prompt=tuple(facts["prompt"]),
            rule=facts["normalization"],
            timestamps=facts["timestamps"],
        )

    def fits(self, model: keras.Model, target: Target) -> bool:
        return isinstance(model, Transcriber)

    def report_type(self, run: FinishedRun) -> type[Report]:
        return TranscriptReport

    def evaluate(self, run: FinishedRun, split: Split) -> Report:
        """Transcribe recordings, and compare the texts with their transcripts."""
        head, reader = cast(TranscriptHead, run.head), run.reader
        split = reader.prepare(split)
        tokens = _evaluate_tokens(head, run.model.make_trainer(), reader, split) if run.has_model else None
        return _report(head, split, predict_examples(run, split.examples), tokens)

    def show(self, run: FinishedRun, examples: Examples, outputs: Sequence[Sequence[int]]) -> Sequence[Shown]:
        """Encode recordings to be played, and draw spectrograms."""
        return show_recordings(examples, run.record["sample_rate"])

    def predict(self, run: FinishedRun, examples: Examples) -> Sequence[Prediction]:
        rows = predict_examples(run, examples)
        return [run.head.to_prediction(name, row) for name, row in zip(examples.names, rows, strict=True)]


def _find_prompt(config: Any, tokenizer: SpeechTokenizer) -> list[int]:
    head = config.head
    return tokenizer.prompt(language=head.language, task=head.task, timestamps=False)


def _make_transcriber(config: Any, backbone: SpeechBackbone) -> Transcriber:
    """The predictor: the network and the decoding that the head section describes."""
    head, tokenizer = config.head, backbone.tokenizer
    prompt = tokenizer.prompt(language=head.language, task=head.task, timestamps=head.timestamps)
    room = backbone.longest_text - len(prompt)
    rules = DecodingRules(
        prompt=prompt,
        end=tokenizer.end,
        suppressed=tokenizer.suppressed,
        suppressed_first=tokenizer.suppressed_first,
        longest=min(backbone.longest_text // 2, room) if head.longest == "auto" else min(head.longest, room),
        beams=head.beams,
        timestamp_begin=tokenizer.timestamp_begin if head.timestamps else None,
        no_speech=tokenizer.special.no_speech,
        no_speech_threshold=head.no_speech_threshold,
    )
    return Transcriber(
        network=backbone.network,
        front_end=backbone.front_end,
        rules=rules,
        samples=backbone.samples,
        sample_rate=backbone.sample_rate,
        name="predictor",
    )


def _report(
    head: TranscriptHead,
    split: Split,
    predicted: Floats,
    tokens: TokenFigures | None,
    untrained: Sequence[str] | None = None,
) -> Report:
    groups = None if split.groups is None else split.groups.tolist()
    return head.report(split.name, predicted, split.targets, tokens=tokens, untrained=untrained, groups=groups)


def _evaluate_tokens(head: TranscriptHead, trainer: keras.Model, reader: Reader, split: Split) -> TokenFigures:
    batches = reader.evaluation_batches(split, head.encode(split.targets), batch_size=_EVALUATION_BATCH)
    return evaluate_tokens(trainer, batches)
