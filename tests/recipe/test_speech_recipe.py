"""Recipes for transcripts from files to a finished run, on tones whose words are by their pitch."""

import csv
import json

import jiwer
import numpy as np
import pytest

from keras_transfer import ConfigError, DataError, SpeechToText
from keras_transfer.testing import check_task

RATE = 16_000
PITCHES = {"cat": 300.0, "the dog": 1500.0}


def write_words(folder):
    """``words.csv`` and thirty recordings of 0.5 to 0.8 s, by five speakers."""
    from scipy.io import wavfile

    rows = []
    for number in range(30):
        text = list(PITCHES)[number % 2]
        time = np.arange(int((0.5 + 0.01 * number) * RATE)) / RATE
        tone = 0.2 * np.sin(2 * np.pi * PITCHES[text] * (0.9 + 0.005 * number) * time)
        wavfile.write(folder / f"{number:02}.wav", RATE, (tone * 32767).astype(np.int16))
        rows.append((f"{number:02}.wav", f"  {text} ", f"speaker {number % 5}"))
    with (folder / "words.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "text", "speaker"), *rows])


@pytest.fixture(scope="module")
def folder(finished_speech_run):
    return finished_speech_run.folder.parent


@pytest.fixture(scope="module")
def truth(folder):
    with (folder / "words.csv").open() as file:
        return {row["path"]: row["text"].strip() for row in csv.DictReader(file)}


def rows_of(folder, split):
    record = json.loads((folder / "run" / "data.json").read_text())["splits"]
    return [name for name, _ in record[split]["rows"]]


def test_error_rates_match_the_predicted_texts(finished_speech_run, folder, truth):
    metrics = json.loads((folder / "run" / "metrics.json").read_text())["test"]
    names = rows_of(folder, "test")
    found = [prediction.text for prediction in finished_speech_run.predict([folder / name for name in names])]
    expected = [truth[name] for name in names]

    # jiwer has no rate of empty texts; the recipe's normalization rule does not change words.
    assert metrics["wer"] == pytest.approx(jiwer.wer(expected, found))
    assert metrics["cer"] == pytest.approx(jiwer.cer(expected, found))
    assert metrics["words"]["untrained"]["before"] == pytest.approx(
        metrics["wer"] - metrics["words"]["untrained"]["difference"]
    )
    assert metrics["wer_interval"][0] <= metrics["wer"] <= metrics["wer_interval"][1]


def test_evaluate_on_a_table_is_the_same(finished_speech_run, folder, truth, tmp_path):
    names = rows_of(folder, "test")
    with (tmp_path / "test.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "text"), *((str(folder / name), truth[name]) for name in names)])
    report, before = finished_speech_run.evaluate(str(tmp_path / "test.csv")), finished_speech_run.reports["test"]
    assert (report.wer, report.cer) == (before.wer, before.cer)
    assert report.loss == pytest.approx(before.loss, abs=1e-4)


def test_long_recordings_and_silence(finished_speech_run):
    """A recording of several windows has the words of all; silence has none."""
    time = np.arange(3 * RATE) / RATE
    long = (0.2 * np.sin(2 * np.pi * 300 * time)).astype(np.float32)
    one, several, silence = (
        prediction.text
        for prediction in finished_speech_run.predict([(x, RATE) for x in (long[:8000], long, 0 * long)])
    )
    assert len(several) > len(one)
    assert silence == ""


def test_rows_of_a_group_stay_together(folder):
    speakers = [{int(name[:2]) % 5 for name in rows_of(folder, part)} for part in ("train", "validation", "test")]
    assert sum(map(len, speakers)) == len(set().union(*speakers)) == 5


@pytest.mark.slow
def test_the_task_satisfies_its_contract(speech_preset, folder):
    recipe = SpeechToText(
        str(folder / "words.csv"),
        backbone=str(speech_preset("whisper")),
        head={"language": "en"},
        policy="full",
        training={"epochs": 1},
        export={"formats": []},
    )
    check_task(recipe, [folder / "00.wav", folder / "01.wav"])


def test_a_multilingual_network_requires_a_language(speech_preset, folder):
    recipe = SpeechToText(str(folder / "words.csv"), backbone=str(speech_preset("whisper")))
    with pytest.raises(ConfigError, match=r"head.language: expected the code of one of 3 languages"):
        recipe.prepare()


def test_a_transcript_longer_than_the_decoder_is_named(speech_preset, folder, tmp_path):
    with (tmp_path / "long.csv").open("w", newline="") as file:
        rows = [(str(folder / f"{number:02}.wav"), "cat " * (20 if number == 3 else 1)) for number in range(12)]
        csv.writer(file).writerows([("path", "text"), *rows])
    recipe = SpeechToText(str(tmp_path / "long.csv"), backbone=str(speech_preset("whisper")), head={"language": "en"})
    with pytest.raises(
        DataError, match=r"1 (train|validation|test) transcripts are longer than the 24 tokens.*\n.*03.wav"
    ):
        recipe.prepare()


def test_policies_without_a_head_to_train_are_refused(folder):
    with pytest.raises(ConfigError, match=r"policy.name"):
        SpeechToText(str(folder / "words.csv"), policy="head")
