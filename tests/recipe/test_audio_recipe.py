"""Recipes for recordings from files to a finished run, on tones that differ only in pitch."""

import io
import json
import wave

import numpy as np
import pytest

from keras_transfer import AudioClassification, ConfigError
from keras_transfer.testing import check_task

RATE = 16_000
PITCHES = {"low": 220.0, "middle": 700.0, "high": 2200.0}
SECONDS = 1.0


def tone(pitch, seconds, *, rate=RATE, seed=0):
    """A tone with overtones, at a random level and with some noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    wave_form = sum(np.sin(2 * np.pi * pitch * k * time + rng.uniform(0, 6)) / k for k in (1, 2, 3))
    return (rng.uniform(0.05, 0.3) * wave_form + 0.005 * rng.normal(size=len(time))).astype(np.float32)


def write_wav(file, samples, rate=RATE, channels=1):
    with wave.open(str(file) if not isinstance(file, io.BytesIO) else file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(rate)
        pcm = np.clip(np.rint(samples * 32767), -32768, 32767).astype("<i2")
        out.writeframes(np.repeat(pcm[:, None], channels, axis=1).tobytes())


def make_tones(root):
    """Forty-two recordings of 0.6 to 1 s in a folder per pitch, some stereo, at two rates."""
    for place, (name, pitch) in enumerate(PITCHES.items()):
        (root / name).mkdir(parents=True)
        for number in range(14):
            rate = RATE if number % 3 else 44_100
            seconds = 0.6 + 0.4 * (number % 5) / 4
            seed = 100 * place + number
            samples = tone(pitch * (0.9 + 0.015 * number), seconds, rate=rate, seed=seed)
            write_wav(root / name / f"{number:02}.wav", samples, rate, 1 + number % 2)


@pytest.fixture(scope="module")
def folder(finished_audio_run):
    return finished_audio_run.folder.parent / "tones"


@pytest.fixture(scope="module")
def run(finished_audio_run):
    return finished_audio_run


def test_pitches_are_classified(run):
    assert run.reports["test"].accuracy > 0.8
    record = json.loads((run.folder / "data.json").read_text())
    assert (record["sample_rate"], record["seconds"]) == (RATE, SECONDS)


def test_inputs_of_every_kind_have_the_same_prediction(run, tmp_path):
    samples = tone(700.0, 0.9, seed=7)
    file = tmp_path / "one.wav"
    write_wav(file, samples)
    pcm = (np.rint(samples * 32767) / 32768).astype(np.float32)
    of_file, of_path, of_bytes, of_samples = (
        run.predict(value)[0] for value in (str(file), file, file.read_bytes(), (pcm, RATE))
    )
    for other in (of_path, of_bytes, of_samples):
        assert other.label == of_file.label == "middle"
        assert other.probabilities == pytest.approx(of_file.probabilities, abs=2e-6)


def test_a_long_recording_is_predicted_as_the_mean_over_evenly_spaced_windows(run):
    length = int(2.5 * SECONDS * RATE)
    samples = np.concatenate([tone(220.0, 1.25, seed=1), tone(2200.0, 1.25, seed=2)])
    starts = [0, round(0.5 * (length - RATE)), length - RATE]
    windows = np.stack([samples[start : start + RATE] for start in starts])
    # The mean is over probabilities before the temperature, which belongs to the prediction of the whole.
    temperature = json.loads((run.folder / "head.json").read_text())["temperature"]
    each = np.asarray(run.model(windows), np.float64) ** temperature
    mean = (each / each.sum(axis=1, keepdims=True)).mean(axis=0)
    expected = mean ** (1 / temperature) / (mean ** (1 / temperature)).sum()
    found = run.predict((samples, RATE))[0].probabilities
    np.testing.assert_allclose([found[name] for name in run.target.names], expected, atol=2e-6)


def test_the_page_plays_recordings_and_shows_spectrograms(run):
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert page.count("<audio controls") >= 8  # the test rows
    assert 'src="data:audio/mpeg;base64,' in page and "media-src data:" in page
    assert "spectrogram" in page and "Where the recording speaks" not in page
    assert "image speaks" not in page


def test_evidence_is_where_the_sound_is(run):
    sound, silence = tone(2200.0, 0.4, seed=3), np.zeros(int(0.6 * RATE), np.float32)
    first, last = (
        np.sum(run.explain((np.concatenate(parts), RATE))[0].heat_maps, axis=(0, 2))
        for parts in ((sound, silence + 1e-6), (silence, sound))
    )
    middle = len(first) // 2
    shares = [times[:middle].sum() / times.sum() for times in (first, last)]
    assert shares[0] > shares[1]


def test_the_exported_model_decodes_and_resamples(run, tmp_path):
    import tensorflow as tf

    exported, _ = run.export(tmp_path / "export")
    loaded = tf.saved_model.load(str(exported))
    contents, expected = [], []
    for seed, rate in enumerate((RATE, 44_100, 8_000)):
        file = io.BytesIO()
        write_wav(file, tone(700.0, 0.8, rate=rate, seed=seed), rate)
        contents.append(file.getvalue())
        expected.append([run.predict(file.getvalue())[0].probabilities[name] for name in run.target.names])
    answers = loaded.signatures["serving_default"](wav_bytes=tf.constant([*contents, b"no recording"]))
    assert answers["ok"].numpy().tolist() == [True, True, True, False]
    # The first needs no resampling; for the others, the graph's filter differs from soxr's.
    np.testing.assert_allclose(answers["probabilities"].numpy()[0], expected[0], atol=2e-6)
    np.testing.assert_allclose(answers["probabilities"].numpy()[1:3], expected[1:], atol=0.02)


def test_clips_of_one_file_in_two_splits_are_named(folder, tmp_path, capsys):
    rows = ["path,label,start,end"]
    for name in PITCHES:
        for number in range(12):
            rows += [f"{name}/{number:02}.wav,{name},0,0.3", f"{name}/{number:02}.wav,{name},0.3,0.6"]
    table = tmp_path / "clips.csv"
    table.write_text("\n".join(rows))
    sections = {"root": str(folder), "start": "start", "end": "end", "leaks": "error"}
    recipe = AudioClassification({"source": str(table), **sections})
    with pytest.raises(Exception, match=r"(?s)two splits.*data\.group"):
        recipe.check()
    grouped = AudioClassification({"source": str(table), **sections, "group": "path"})
    grouped.check()


@pytest.mark.slow
def test_numbers_and_labels(folder, tmp_path):
    rows = ["path,pitch,sounds"]
    for name, pitch in PITCHES.items():
        rows += [
            f"{name}/{number:02}.wav,{pitch * (0.9 + 0.015 * number)},{name}{';odd' * (number % 2)}"
            for number in range(14)
        ]
    table = tmp_path / "tones.csv"
    table.write_text("\n".join(rows))
    options = {"policy": "head", "report": False, "export": {"formats": []}}
    data = {"source": str(table), "root": str(folder), "seconds": SECONDS}
    numbers = AudioClassification({**data, "target": "number", "label": "pitch"}, **options).fit(tmp_path / "numbers")
    assert numbers.reports["test"].mae < 400.0
    labels = AudioClassification({**data, "target": "multilabel", "label": "sounds", "separator": ";"}, **options)
    (answer,) = labels.fit(tmp_path / "labels").predict(str(folder / "low" / "01.wav"))
    assert "low" in answer.labels


@pytest.mark.slow
def test_the_contract_of_tasks(folder):
    recipe = AudioClassification(
        str(folder), seconds=SECONDS, policy="full", training={"epochs": 1}, export={"formats": []}
    )
    check_task(recipe, inputs=sorted(map(str, folder.glob("*/*.wav")))[::9])


@pytest.mark.slow
def test_a_run_is_reproduced_exactly(folder, tmp_path):
    options = {
        "seconds": SECONDS, "policy": "lp_ft", "training": {"epochs": 2}, "export": {"formats": []}, "report": False,
        "augmentation": {"noise": 20.0, "speed": 0.1, "mixup": 0.2},
    }  # fmt: skip
    whole = AudioClassification(str(folder), **options).fit(tmp_path / "whole")
    again = AudioClassification(str(folder), **options).fit(tmp_path / "again")
    for first, second in zip(whole.model.weights, again.model.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(first), np.asarray(second))


def test_a_function_from_python_changes_recordings():
    def invert(samples, seed):
        return -samples

    recipe = AudioClassification("sounds/", augmentation=invert)
    assert "invert" in recipe.config.augmentation.function and recipe.config.augmentation.crop
    with pytest.raises(ConfigError, match="changed the shape of a recording"):
        AudioClassification("sounds/", augmentation={"gain": 6.0, "function": lambda samples, seed: samples[1:]})
