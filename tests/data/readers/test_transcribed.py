"""Recordings and their transcripts for networks that are trained to write the next token."""

from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from keras_transfer.config.augmentation import SpeechAugmentationConfig
from keras_transfer.data.examples.files import Files
from keras_transfer.data.examples.recordings import Recordings
from keras_transfer.data.readers.transcribed import SpeechReader
from keras_transfer.data.splits.splits import Split
from keras_transfer.data.targets.transcripts import TRANSCRIPTS
from keras_transfer.errors import DataError

RATE = 1000
TOKENIZER = SimpleNamespace(end=0, encode=lambda text: [ord(mark) for mark in text])


@pytest.fixture
def fit(tmp_path):
    def fit(**seconds):
        splits = []
        for name, lengths in seconds.items():
            files = tuple(f"{name}{number}.wav" for number in range(len(lengths)))
            for file, length in zip(files, lengths, strict=True):
                soundfile.write(tmp_path / file, np.full(round(length * RATE), 0.1), RATE)
            targets = TRANSCRIPTS.encode(["ab"] * len(files))
            recordings = Recordings(Files(tmp_path, files))
            splits.append(Split(name, recordings, targets, np.ones(len(files), np.float32)))
        reader, prepared = SpeechReader.fit_transcribed(
            splits,
            sample_rate=RATE,
            seconds="auto",
            shortest=100,
            longest=3000,
            augmentation=SpeechAugmentationConfig(),
            seed=0,
            max_seconds=60.0,
            tokenizer=TOKENIZER,
            prompt=[1],
            longest_text=8,
        )
        return reader.samples, prepared

    return fit


# Which split has the longest recording is by chance, and the loss on validation rows needs all of each.
@pytest.mark.parametrize(
    ("seconds", "samples"),
    [
        pytest.param({"train": [0.5, 1.25], "validation": [1.0], "test": [2.0]}, 1300, id="train"),
        pytest.param({"train": [0.5, 1.25], "validation": [2.5], "test": [9.0]}, 2500, id="validation"),
        pytest.param({"train": [0.5], "validation": [], "test": [9.0]}, 500, id="no validation"),
    ],
)
def test_training_and_validation_recordings_are_whole(fit, seconds, samples):
    found, prepared = fit(**seconds)
    assert found == samples
    assert [len(split) for split in prepared] == [len(each) for each in seconds.values()]


def test_recordings_longer_than_the_network_supports_are_named(fit):
    with pytest.raises(
        DataError, match=r"(?s)1 validation recordings are longer than the 3 s.*validation0\.wav: 3\.5 s"
    ):
        fit(train=[1.0], validation=[3.5])
