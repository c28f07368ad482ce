"""Recordings in; one class out of several, labels or numbers out."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

from keras_transfer.backbones.audio.base import AudioBackbone
from keras_transfer.backbones.audio.load import load_audio_backbone, load_audio_copy
from keras_transfer.config.schema import AudioClassificationConfig
from keras_transfer.config.weights import Weights
from keras_transfer.data.examples.base import Examples
from keras_transfer.data.readers.base import Reader
from keras_transfer.data.readers.recordings import AudioReader
from keras_transfer.data.splits.splits import Split, Splits
from keras_transfer.explain import Shown
from keras_transfer.explain.recordings import explain_recordings, to_shown
from keras_transfer.model import TransferModel
from keras_transfer.tasks.recordings import RecordingTask
from keras_transfer.tasks.records import FinishedRun, Given
from keras_transfer.tasks.targets import HeatMapTask


class AudioClassificationTask(RecordingTask, HeatMapTask):
    """A class, labels or numbers for each recording."""

    name = "audio_classification"
    config_class = AudioClassificationConfig
    explain_examples = staticmethod(explain_recordings)
    # Longer recordings are cropped in any case: at random positions, unless the section sets something else.
    augmentation_off: ClassVar[Mapping[str, Any]] = {}

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

    def show(self, run: FinishedRun, examples: Examples, outputs: Sequence[Sequence[int]]) -> Sequence[Shown]:
        """Encode recordings to be played, and draw spectrograms, alone and under heat maps."""
        rate = run.record["sample_rate"]
        return [to_shown(*explained, rate) for explained in self.compute_maps(run, examples, outputs)]

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
