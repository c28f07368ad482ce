"""Exports of networks that transcribe: a SavedModel returns texts; formats without loops are refused at once."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from keras_transfer import ConfigError, ExportError, open_model
from keras_transfer.data.formats.recordings import encode_wav
from keras_transfer.export import EXPORTERS, SavedModelExporter
from keras_transfer.export.proof import compare_exactly
from keras_transfer.heads import TranscriptHead

RATE = 16_000


class Letters:
    """A token per letter, a being 1, and 0 for the end."""

    end = 0
    timestamp_begin = None
    pieces = (b"", *(bytes([letter]) for letter in range(97, 123)))


@pytest.mark.parametrize("name", ["onnx", "litert"])
def test_formats_without_loops_are_refused_with_what_to_use(name):
    try:
        exporter = EXPORTERS[name]()
    except ExportError as error:
        pytest.skip(str(error))
    with pytest.raises(ConfigError, match=f"{name} does not support networks that write transcripts.*saved_model"):
        exporter.check(SimpleNamespace(writes=True, tensor_inputs=()))


PREDICTED = np.array([[-0.5, 1, 2, 0], [-1.5, 3, 0, 0]], np.float32)
ANSWERS = {
    "names": ["text"],
    "outputs": {"text": ["ab", "c"], "score": [-0.5, -1.5], "ok": [True, True]},
    "unreadable": {"text": ["ab", "", "c"], "score": [-0.5, 0.0, -1.5], "ok": [True, False, True]},
}


@pytest.mark.parametrize(
    ("part", "changed", "message"),
    [
        pytest.param("outputs", {}, None, id="equal"),
        pytest.param("outputs", {"score": [-0.5, -1.5 + 1e-5]}, None, id="rounding"),
        pytest.param("outputs", {"text": ["ab", "C"]}, "text in 1 of 2 examples, such as 'C'.*'c'", id="other text"),
        pytest.param("outputs", {"score": [-0.5, -1.0]}, "score by up to 0.5", id="other score"),
        pytest.param("outputs", {"ok": [True, False]}, "must return ok", id="not read"),
        pytest.param("unreadable", {"ok": [True, True, True]}, "must return ok", id="unreadable as text"),
        pytest.param("unreadable", {"text": ["ab", "", ""]}, "must return ok", id="neighbour of an unreadable"),
    ],
)
def test_texts_must_be_equal(part, changed, message):
    answers = {**ANSWERS, part: {**ANSWERS[part], **changed}}
    head = TranscriptHead(("text",), Letters(), prompt=(), rule="words")

    def compare():
        return compare_exactly(SavedModelExporter(), answers, PREDICTED, head, 1e-4)

    if message is None:
        assert str(compare()).startswith("verified in a fresh process: 2 texts are equal, and scores match within")
    else:
        with pytest.raises(ExportError, match=message):
            compare()


@pytest.mark.slow
def test_a_saved_model_returns_the_texts_of_the_run(finished_speech_run):
    folder = finished_speech_run.folder / "export" / "saved_model" / "1"  # verified when the run ended
    random = np.random.default_rng(0)
    samples = [random.normal(0, 0.1, round(seconds * RATE)).astype(np.float32) for seconds in (0.4, 3.7, 1.0)]
    recordings = [encode_wav(each, RATE) for each in samples]
    expected = finished_speech_run.predict(recordings)
    found = open_model(folder).predict(recordings)
    assert [each.text for each in found] == [each.text for each in expected] and any(each.text for each in found)
    np.testing.assert_allclose([each.score for each in found], [each.score for each in expected], atol=1e-4)

    signatures = tf.saved_model.load(str(folder)).signatures
    served = signatures["serving_default"](wav_bytes=tf.constant([*recordings, b"no recording"]))
    assert [text.decode() for text in served["text"].numpy()] == [*(each.text for each in expected), ""]
    assert served["ok"].numpy().tolist() == [True, True, True, False]
    padded = np.stack([np.pad(each, (0, 4 * RATE - len(each))) for each in samples])
    served = signatures["serve_samples"](samples=tf.constant(padded))
    assert [text.decode() for text in served["text"].numpy()] == [each.text for each in expected]
    empty = signatures["serve_samples"](samples=tf.zeros((0, 16_000)))
    assert empty["text"].shape == (0,)
