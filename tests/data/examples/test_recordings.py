"""Recordings and clips of recordings as examples."""

import numpy as np
import pytest

from keras_transfer.data.examples.files import Files
from keras_transfer.data.examples.recordings import GivenRecordings, GivenSamples, Recordings
from keras_transfer.data.formats.recordings import encode_wav

NAMES = ("a.wav", "a.wav", "b.wav", "a.wav")
SPANS = np.array([[0.0, np.inf], [0.25, 0.5], [0.0, np.inf], [0.125, np.inf]])


@pytest.fixture
def clips(tmp_path):
    for name in "ab":
        samples = np.arange(8000, dtype=np.float32) / 8000 * (1 if name == "a" else -1)
        (tmp_path / f"{name}.wav").write_bytes(encode_wav(samples, 8000))
    return Recordings(Files(tmp_path, NAMES), SPANS)


def test_clips_are_named_by_their_position_in_the_file(clips):
    assert clips.names == ("a.wav", "a.wav 0.25-0.50 s", "b.wav", "a.wav 0.125-end")
    assert clips.rows_by_file() == [[0, 1, 3], [2]]
    close = Recordings(clips.files.select([0, 0]), np.array([[0.0, 1.0], [0.0, 1.0004]]))
    assert len(set(close.names)) == 2


def test_a_clip_is_that_part_of_the_file(clips):
    whole = clips.decode(0, 8000)
    assert len(whole) == 8000
    np.testing.assert_array_equal(clips.decode(1, 8000), whole[2000:4000])
    np.testing.assert_array_equal(clips.decode(3, 8000), whole[1000:])
    np.testing.assert_array_equal(clips.select([3, 2]).decode(1, 8000), -whole)


def test_clips_have_their_own_hashes_and_share_that_of_the_file(clips):
    assert len(set(clips.content_hashes)) == 4
    assert len(set(clips.file_hashes)) == 2
    assert clips.content_hashes[0] == clips.file_hashes[0]
    other = clips.select([1])
    assert other.content_hashes == [clips.content_hashes[1]]
    assert other.fingerprints == [clips.fingerprints[1]]


def test_arrays_are_encoded_when_they_are_read():
    samples = np.linspace(-1, 1, 100, dtype=np.float32)
    given = Recordings(GivenRecordings(("x",), (GivenSamples(samples, 8000),)))
    np.testing.assert_array_equal(given.decode(0, 8000), samples)
    assert len(given.decode(0, 16000)) == 200
