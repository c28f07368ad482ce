"""What predict accepts of recordings."""

import numpy as np
import pandas as pd
import pytest

from keras_transfer.config.data import AudioDataConfig
from keras_transfer.data.formats.recordings import encode_wav
from keras_transfer.data.inputs import AudioInputs, InputStream, collect_inputs, read_inputs
from keras_transfer.data.inputs.stream import fingerprint
from keras_transfer.data.tables.stream import PieceSize
from keras_transfer.errors import InputError

RATE = 8000
SAMPLES = np.random.default_rng(0).uniform(-0.5, 0.5, RATE).astype(np.float32)


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.wav").write_bytes(encode_wav(SAMPLES, RATE))
    return tmp_path / "a.wav"


def read(given, sample_rate=None, **options):
    kind = AudioInputs(AudioDataConfig(source="x", **options), sample_rate=sample_rate)
    return read_inputs([collect_inputs(given, kind)], kind)


@pytest.mark.parametrize(
    ("make", "options", "name"),
    [
        pytest.param(lambda file: "a.wav", {}, "a.wav", id="str"),
        pytest.param(lambda file: file, {}, None, id="path"),
        pytest.param(lambda file: file.parent, {}, None, id="folder"),
        pytest.param(lambda file: file.read_bytes(), {}, "recording 1", id="bytes"),
        pytest.param(lambda file: [SAMPLES], {"sample_rate": RATE}, "recording 1", id="array"),
        pytest.param(lambda file: SAMPLES.astype(np.float64), {"sample_rate": RATE}, "recording 1", id="one array"),
        pytest.param(lambda file: (SAMPLES, RATE), {}, "recording 1", id="pair"),
        pytest.param(lambda file: [(SAMPLES, np.int64(RATE))], {}, "recording 1", id="list of a pair"),
        pytest.param(lambda file: {"array": SAMPLES, "sampling_rate": RATE}, {}, "recording 1", id="Hugging Face"),
        pytest.param(lambda file: {"path": None, "bytes": file.read_bytes()}, {}, "recording 1", id="of bytes"),
        pytest.param(lambda file: {"path": str(file), "bytes": None}, {}, "recording 1", id="of a path"),
        pytest.param(lambda file: pd.DataFrame({"path": ["a.wav"]}), {}, "a.wav", id="frame"),
        pytest.param(
            lambda file: pd.DataFrame({"b": [file.read_bytes()]}), {"bytes": "b"}, "row 1", id="frame of bytes"
        ),
    ],
)
def test_every_form_has_the_same_samples(file, make, options, name):
    inputs = read(make(file), **options)
    assert inputs.problems == {}
    assert inputs.names == [name or str(file)]
    assert inputs.examples.names == tuple(inputs.names)
    np.testing.assert_array_equal(inputs.examples.decode(0, RATE), SAMPLES)


def test_rows_of_a_table_may_be_clips(file):
    table = pd.DataFrame({"path": ["a.wav", "a.wav", "a.wav", "gone.wav"], "from": ["0.5", None, "soon", 0.0]})
    table.assign(to=[0.75, None, 1.0, 9.0]).to_csv("t.csv", index=False)
    inputs = read(file.parent / "t.csv", start="from", end="to")
    assert inputs.names == ["a.wav 0.50-0.75 s", "a.wav", "a.wav", "gone.wav"]
    assert inputs.examples.names == ("a.wav 0.50-0.75 s", "a.wav")
    np.testing.assert_array_equal(inputs.examples.decode(0, RATE), SAMPLES[4000:6000])
    assert inputs.problems == {2: "its start is not a number of seconds", 3: f"no such file in {file.parent}"}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        pytest.param(SAMPLES, "an array without a sample rate. Pass (samples, sample_rate)", id="no rate"),
        pytest.param(np.zeros((100, 2), np.float32), "float32[samples]. Received an array of shape [100, 2]", id="2-D"),
        pytest.param((SAMPLES, 0), "a sample rate in Hz", id="no such rate"),
        pytest.param((SAMPLES * np.nan, RATE), "are NaN or infinite", id="NaN"),
        pytest.param((SAMPLES[:0], RATE), "0 samples", id="no samples"),
        pytest.param(b"text", "not a recording", id="text"),
        pytest.param("gone.wav", "No such file", id="gone"),
        pytest.param((np.zeros(RATE * 2, np.float32), RATE), "2.0 s, more than data.max_seconds=1.5", id="too long"),
        pytest.param({"text": "x"}, "expected a mapping with 'array'", id="another mapping"),
    ],
)
def test_an_input_that_is_not_a_recording_is_named(file, value, problem):
    inputs = read([(SAMPLES, RATE), value, "a.wav"], max_seconds=1.5)
    assert list(inputs.problems) == [1] and problem in inputs.problems[1]
    assert len(inputs.examples) == 2


@pytest.mark.parametrize("value", [1.5, None, [SAMPLES, RATE], []], ids=["number", "None", "list", "empty"])
def test_an_invalid_input_is_refused(value):
    with pytest.raises(InputError, match="predict accepts the path of an audio file"):
        read(value)


def test_inputs_of_the_same_name_are_read_separately(file):
    """Rows of two tables have the same names, and other bytes."""
    kind = AudioInputs(AudioDataConfig(source="x", bytes="b"))
    frames = [pd.DataFrame({"b": [encode_wav(SAMPLES[:n], RATE)]}) for n in (4000, 2000)]
    inputs = read_inputs([collect_inputs(frame, kind) for frame in frames], kind)
    assert inputs.names == ["row 1", "row 1"]
    assert [len(inputs.examples.decode(row, RATE)) for row in range(2)] == [4000, 2000]


def test_a_progress_file_distinguishes_samples_that_differ_in_one_place():
    kind = AudioInputs(AudioDataConfig(source="x"), sample_rate=RATE)
    other = SAMPLES.copy()
    other[5000] += 0.01
    marks = {
        fingerprint(next(InputStream([[value]], kind).pieces(PieceSize(10))))
        for one in (SAMPLES, other)
        for value in (one, (one, RATE), {"array": one, "sampling_rate": RATE})
    }
    assert len(marks) == 6
