"""Recordings in; one class out of several, labels or numbers out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, cast

from keras_transfer.backbones import BACKBONES
from keras_transfer.backbones.audio.base import AudioBackbone
from keras_transfer.backbones.audio.load import load_audio_backbone, load_audio_copy
from keras_transfer.backbones.images.load import is_elsewhere
from keras_transfer.config.schema import AudioClassificationConfig
from keras_transfer.config.weights import Weights
from keras_transfer.data.examples.base import Examples
from keras_transfer.data.readers.base import Reader
from keras_transfer.data.readers.recordings import AudioReader
from keras_transfer.data.splits.splits import Split, Splits
from keras_transfer.explain import Explanation, Shown, open_model
from keras_transfer.explain.recordings import explain_recordings, to_shown
from keras_transfer.explain.records import Explained
from keras_transfer.model import TransferModel
from keras_transfer.tasks.recordings import RecordingTask
from keras_transfer.tasks.records import FinishedRun, Given
from keras_transfer.tasks.targets import TargetTask


class AudioClassificationTask(RecordingTask, TargetTask):
    """A class, labels or numbers for each recording."""

    name = "audio_classification"
    config_class = AudioClassificationConfig
    # Longer recordings are cropped in any case: at random positions, unless the section sets something else.
    augmentation_off: ClassVar[Mapping[str, Any]] = {}

    def known_names(self, values: Mapping[str, Any]) -> Mapping[str, Iterable[str]]:
        """Return the names of backbones, unless the recipe names a preset or a folder."""
        backbone = values.get("backbone")
        if isinstance(backbone, Mapping) and is_elsewhere(backbone.get("name")):
            return {}
        return {"backbone.name": BACKBONES}

    def load_backbone(self, config: Any, weights: Weights, given: Given) -> AudioBackbone:
        """Load a network for recordings, or one for images of spectrograms."""
        if given.backbone is not None:
            return load_audio_copy(given.backbone, weights, image_size=config.data.image_size)
        return load_audio_backbone(config.backbone, weights=weights, image_size=config.data.image_size)

    def make_reader(
        self, config: Any, backbone: AudioBackbone, splits: Sequence[Split]
    ) -> tuple[Reader, Sequence[Split]]:
        """Decode all recordings, and make a reader of as many samples as the training recordings need."""
        data = config.data
        return AudioReader.fit(
            splits,
            sample_rate=backbone.sample_rate,
            seconds=data.seconds,
            shortest=backbone.shortest,
            longest=backbone.longest,
            padding=data.padding,
            augmentation=config.augmentation,
            seed=config.seed,
            max_seconds=data.max_seconds,
        )

    def describe_examples(
        self, reader: Any, loaded: Sequence[Split], prepared: Sequence[Split]
    ) -> tuple[Sequence[str], dict[str, Any]]:
        """Return how much audio the network hears at once, and how many recordings are longer."""
        report = reader.report(prepared)
        cut = ", ".join(f"{share:.1%} of {name}" for name, share in report["cut"].items())
        line = f"Recordings: {report['seconds']:g} s at {report['sample_rate']:,} Hz at once; longer ones: {cut}"
        return (line,), report

    def build_model(self, config: Any, backbone: Any, splits: Splits, reader: Reader) -> TransferModel:
        """Put the head of ``data.target`` on the network for the number of samples that the reader returns."""
        sized = backbone.for_samples(cast(AudioReader, reader).samples, config.data.padding)
        return super().build_model(config, sized, splits, reader)

    def explain(self, run: FinishedRun, examples: Examples, outputs: Sequence[Sequence[int]]) -> Sequence[Explanation]:
        """Compute heat maps over time and frequency."""
        names, explained = _explain(run, examples, outputs)
        return [one.to_explanation(name, own) for name, own, one in zip(examples.names, names, explained, strict=True)]

    def show(self, run: FinishedRun, examples: Examples, outputs: Sequence[Sequence[int]]) -> Sequence[Shown]:
        """Encode recordings to be played, and draw spectrograms, alone and under heat maps."""
        names, explained = _explain(run, examples, outputs)
        rate = run.record["sample_rate"]
        return [to_shown(name, own, one, rate) for name, own, one in zip(examples.names, names, explained, strict=True)]

    def restore_reader(self, run: FinishedRun) -> Reader:
        """Make a reader of as many samples as the model was trained on."""
        data, record = run.config.data, run.record
        return AudioReader(
            sample_rate=record["sample_rate"],
            samples=round(record["seconds"] * record["sample_rate"]),
            padding=data.padding,
            augmentation=run.config.augmentation,
            seed=run.config.seed,
            max_seconds=data.max_seconds,
        )


def _explain(
    run: FinishedRun, examples: Examples, outputs: Sequence[Sequence[int]]
) -> tuple[list[tuple[str, ...]], list[Explained]]:
    """The names of the outputs of each recording, and their explanations."""
    every, signed = run.target.names, run.head.evidence_has_sign
    explained = explain_recordings(open_model(run.model), run.reader, examples, outputs, len(every), signed=signed)
    return [tuple(every[output] for output in row) for row in outputs], explained
