"""Recordings as batches: decoded once, of one length for the network, whole for the predictor."""

import contextlib
import io
import runpy
import sys
import wave

import numpy as np
import pytest
import soundfile
import soxr
import tensorflow as tf

from keras_transfer.config.augmentation import AudioAugmentationConfig
from keras_transfer.data.augmentation.from_python import take_sample_function
from keras_transfer.data.examples.files import Files
from keras_transfer.data.examples.recordings import GivenRecordings, GivenSamples, Recordings
from keras_transfer.data.readers import decoding
from keras_transfer.data.readers.base import CLIENTS, PLAIN, View
from keras_transfer.data.readers.recordings import AudioReader, choose_samples
from keras_transfer.data.splits.splits import Split
from keras_transfer.errors import ConfigError, DataError

RATE = 8000
WHOLE = View(whole=True)
OFF = AudioAugmentationConfig(crop=False)


def split_of(recordings, name="train"):
    n = len(recordings)
    return Split(name, recordings, np.arange(n) % 2, np.linspace(0.5, 1.5, n).astype(np.float32))


def given(*arrays, rate=RATE):
    names = tuple(f"recording {row}" for row in range(len(arrays)))
    return split_of(Recordings(GivenRecordings(names, tuple(GivenSamples(np.float32(x), rate) for x in arrays))))


def counting(length, start=1):
    """Samples that encode their position."""
    return np.arange(start, start + length, dtype=np.float32) / 1000


def make_reader(samples=100, *, padding="silence", augmentation=OFF, seed=0):
    return AudioReader(
        sample_rate=RATE, samples=samples, padding=padding, augmentation=augmentation, seed=seed, max_seconds=60.0
    )


def fit(*splits, seconds="auto", shortest=50, longest=None, augmentation=OFF):
    return AudioReader.fit(
        splits,
        sample_rate=RATE,
        seconds=seconds,
        shortest=shortest,
        longest=longest,
        padding="silence",
        augmentation=augmentation,
        seed=0,
        max_seconds=60.0,
    )


def shown(reader, split, view=PLAIN, batch_size=32):
    return [np.array(batch) for batch in reader.evaluation_batches(split, batch_size=batch_size, view=view)]


def train(reader, split, *, epochs=range(1), batch_size=4, skip=0):
    targets = np.eye(2, dtype=np.float32)[split.targets]
    batches = reader.training_batches(
        split, targets, split.weights, batch_size=batch_size, seed=0, epochs=epochs, skip=skip
    )
    return [tuple(np.array(part) for part in batch) for batch in batches]


@pytest.fixture
def files(tmp_path):
    """A FLAC file at another rate with two channels, and clips of a WAV file."""
    random = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.flac", random.uniform(-0.5, 0.5, (4000, 2)), 16_000)
    soundfile.write(tmp_path / "b.wav", random.uniform(-0.5, 0.5, 9000), RATE)
    return Recordings(
        Files(tmp_path, ("a.flac", "b.wav", "b.wav")), np.array([[0, np.inf], [0.25, 0.5], [1.0, np.inf]])
    )


def test_a_network_receives_one_length_and_a_predictor_all():
    split = given(counting(250), counting(60), counting(100))
    reader = make_reader()
    prepared = reader.prepare(split)
    (plain,) = shown(reader, prepared)
    np.testing.assert_array_equal(plain[0], counting(100, 76))
    np.testing.assert_array_equal(plain[1], np.append(counting(60), np.zeros(40)))
    np.testing.assert_array_equal(plain[2], counting(100))
    (repeated,) = shown(make_reader(padding="repeat"), prepared)
    np.testing.assert_array_equal(repeated[1], np.append(counting(60), counting(40)))
    # From the shortest to the longest, with zeros up to a multiple of the network's length.
    assert reader.predictor_view == WHOLE
    (whole,) = shown(reader, prepared, reader.predictor_view)
    for row, length in enumerate((60, 100, 250)):
        np.testing.assert_array_equal(whole[row], np.append(counting(length), np.zeros(300 - length)))
    assert reader.cuts(prepared) and not make_reader(250).cuts(prepared)
    assert make_reader(500)._gather_whole(prepared.examples, np.array([0])).shape == (1, 500)


def test_batches_of_whole_recordings_have_few_windows():
    lengths = [100, 350, 90, 2000, 110, 80, 320, 900]
    reader = make_reader()
    prepared = reader.prepare(given(*map(counting, lengths)))
    order = reader.evaluation_order(prepared, batch_size=8, view=WHOLE)
    assert [row for batch in order for row in batch] == [5, 2, 0, 4, 6, 1, 7, 3]
    assert [batch.shape for batch in shown(reader, prepared, WHOLE, batch_size=8)] == [
        (4, 200),
        (2, 400),
        (1, 900),
        (1, 2000),
    ]
    assert [rows.tolist() for rows in reader.evaluation_order(prepared, batch_size=5)] == [[0, 1, 2, 3, 4], [5, 6, 7]]


def test_zeros_at_the_end_are_padding():
    sound, silence = counting(50), np.zeros(70)
    prepared = make_reader().prepare(given(np.append(sound, silence), silence))
    assert prepared.examples.lengths.tolist() == [50, 1]


def test_files_are_decoded_once_and_cached(files, monkeypatch):
    reader, (first,) = fit(split_of(files), seconds=0.1)
    samples = first.examples
    stereo, _ = soundfile.read(files.places[0].split(" ")[0], dtype="float32")
    np.testing.assert_allclose(samples.read(0), soxr.resample(stereo.mean(axis=1), 16_000, RATE), atol=1e-6)
    whole, _ = soundfile.read(str(files.files.root / "b.wav"), dtype="float32")
    np.testing.assert_array_equal(samples.read(1), whole[2000:4000])
    np.testing.assert_array_equal(samples.select([2]).read(0, start=500, count=9999), whole[8500:])
    assert samples.names == files.names and samples.content_hashes == files.content_hashes
    monkeypatch.setattr(decoding, "_decode_file", None)
    for again in (fit(split_of(files))[1][0], reader.prepare(split_of(files)), reader.prepare(first)):
        np.testing.assert_array_equal(again.examples.read(2), samples.read(2))


@pytest.mark.parametrize("largest", [pytest.param(1 << 26, id="in memory"), pytest.param(1000, id="in a file")])
def test_recordings_are_read_without_a_writable_cache(files, tmp_path, monkeypatch, largest):
    monkeypatch.setenv("KERAS_TRANSFER_CACHE", str(tmp_path / "b.wav" / "cache"))
    monkeypatch.setattr(decoding, "_MOST_HELD_BYTES", largest)
    _, (prepared,) = fit(split_of(files))
    whole, _ = soundfile.read(str(files.files.root / "b.wav"), dtype="float32")
    np.testing.assert_array_equal(prepared.examples.read(1), whole[2000:4000])
    assert not list(tmp_path.glob("**/samples.npy"))


def test_all_recordings_that_cannot_be_decoded_are_named(files):
    (files.files.root / "a.flac").write_bytes(b"no sound")
    bad = Recordings(Files(files.files.root, ("a.flac", "b.wav", "gone.wav")))
    with pytest.raises(DataError, match=r"2 recordings cannot be decoded:\n.*a\.flac: .*\n.*gone\.wav: No such file"):
        make_reader().prepare(split_of(bad))
    with pytest.raises(DataError, match="NaN or infinite"):
        make_reader().prepare(given([0.1, np.nan, 0.2]))


def test_auto_keeps_95_percent_of_the_training_recordings_whole():
    lengths = np.array([160] * 90 + [801] * 5 + [5000] * 5)
    assert choose_samples(lengths, RATE, 50, None) == 880  # in hundredths of a second
    assert choose_samples(lengths, RATE, 50, 500) == 500
    assert choose_samples(lengths, RATE, 1000, None) == 1000
    assert choose_samples(lengths * 1000, RATE, 50, None) == 30 * RATE
    train, test = given(counting(400), counting(500)), given(counting(2000), counting(300))
    reader, prepared = fit(train, Split("test", test.examples, test.targets, test.weights))
    assert reader.samples == 560 and reader.report(prepared) == {
        "sample_rate": RATE,
        "seconds": 0.07,
        "cut": {"train": 0.0, "test": 0.5},
    }
    assert fit(train, seconds=0.05)[0].samples == 400
    for seconds, message in ((0.001, "0.00625 s at least"), (2.0, "1 s at most")):
        with pytest.raises(ConfigError, match=f"data.seconds: this backbone takes {message}. Received: {seconds:g}"):
            fit(train, seconds=seconds, longest=RATE)


def test_training_is_a_function_of_the_epoch():
    cropping = AudioAugmentationConfig(crop=True, noise=30.0)
    reader, (split,) = fit(
        given(*(counting(300 + row, 1000 * row) for row in range(6))), seconds=0.02, augmentation=cropping
    )
    both = train(reader, split, epochs=range(2))
    assert [len(batch) for batch, _, _ in both] == [3, 3, 3, 3]
    for batch, later in zip(both[3:], train(reader, split, epochs=range(2), skip=3), strict=True):
        np.testing.assert_array_equal(batch[0], later[0])
    views = reader.training_views(range(3, 8), 2)
    assert views == [View(epoch=3), View(epoch=4)] and reader.training_views(range(3), 1) == (PLAIN,)
    (second,) = shown(reader, split, View(epoch=1))
    by_first = {tuple(row) for batch, _, _ in both[2:] for row in batch}
    assert by_first == {tuple(row) for row in second}
    assert reader.describe(split, views) != reader.describe(split, [PLAIN]) != make_reader(161).describe(split, [PLAIN])


def test_without_longer_recordings_there_is_nothing_to_crop():
    reader, _ = fit(given(counting(300), counting(400)), seconds=0.05, augmentation=AudioAugmentationConfig())
    assert reader.training_views(range(3), 3) == (PLAIN,)


def test_mixup_mixes_recordings_targets_and_weights():
    reader = make_reader(augmentation=AudioAugmentationConfig(crop=False, mixup=0.4))
    split = reader.prepare(given(*(np.full(100, 2.0**-row) for row in range(4))))
    assert reader.mixes
    ((samples, targets, weights),) = train(reader, split)
    ((own, own_targets, own_weights),) = train(make_reader(), split)
    other = np.roll(own[:, 0], 1)
    share = (samples[:, 0] - own[:, 0]) / (other - own[:, 0])
    assert ((share >= 0) & (share <= 1)).all() and (share > 0).any()
    own_part, other_part = (1 - share) * own_weights, share * np.roll(own_weights, 1)
    np.testing.assert_allclose(weights, own_part + other_part, atol=1e-5)
    sums = own_part[:, None] * own_targets + other_part[:, None] * np.roll(own_targets, 1, axis=0)
    np.testing.assert_allclose(targets, sums / (own_part + other_part)[:, None], atol=1e-5)


def test_a_function_changes_training_examples_last():
    def invert(samples, seed):
        return -samples + 0.0 * tf.random.stateless_normal(tf.shape(samples), seed)

    reader = make_reader(augmentation=AudioAugmentationConfig(crop=False, gain=6.0))
    split = reader.prepare(given(counting(120), counting(80)))
    changed = reader.with_function(take_sample_function(invert))
    assert changed.mixes and not reader.mixes
    np.testing.assert_array_equal(train(changed, split)[0][0], -train(reader, split)[0][0])
    np.testing.assert_array_equal(shown(changed, split)[0], shown(reader, split)[0])
    with pytest.raises(ConfigError, match="failed on a recording"):
        take_sample_function(lambda samples: samples)
    with pytest.raises(ConfigError, match="changed the shape of a recording"):
        take_sample_function(lambda samples, seed: samples[1:])


def test_samples_that_verify_an_export_are_exact(files, tmp_path):
    reader = make_reader(500)  # up to four windows of each are written
    split = reader.prepare(split_of(files))
    folder = tmp_path / "samples"
    folder.mkdir()
    reader.write_samples(split, np.array([2, 0]), folder)
    again = reader.prepare(split_of(reader.read_samples(folder)))
    assert split.examples.lengths.tolist() == [2000, 2000, 1000]
    np.testing.assert_array_equal(again.examples.read(0), split.examples.read(2))
    decoded, ok = reader.decode_checked(tf.constant([file.read_bytes() for file in sorted(folder.iterdir())] + [b"no"]))
    assert ok.numpy().tolist() == [True, True, False] and not decoded[2].numpy().any()
    np.testing.assert_array_equal(decoded[1, : split.examples.lengths[0]], split.examples.read(0))
    inputs = reader.name_tensors(decoded)
    assert list(inputs) == ["samples"]
    make_reader(100).write_samples(split, np.array([2]), folder)
    short = reader.prepare(split_of(reader.read_samples(folder)))
    np.testing.assert_array_equal(short.examples.read(0), split.examples.read(2)[:400])


def test_tensors_of_clients_are_checked():
    reader = make_reader()
    samples = np.ones((3, 5), np.float32)
    samples[1, 3] = np.nan
    arranged, ok = reader.arrange_checked(tf.constant(samples))
    assert ok.numpy().tolist() == [True, False, True]
    np.testing.assert_array_equal(arranged, np.pad([[1.0] * 5, [0.0] * 5, [1.0] * 5], [(0, 0), (0, 95)]))
    assert reader.arrange(tf.zeros([2, 0])).shape == (2, 100)
    assert reader.arrange(tf.zeros([2, 130])).shape == (2, 130)


def encode(samples, rate=RATE, **options):
    with io.BytesIO() as file:
        soundfile.write(file, samples, rate, **{"format": "WAV", **options})
        return file.getvalue()


def test_a_client_reads_what_the_reader_reads(monkeypatch):
    read = runpy.run_path(str(CLIENTS / "audio.py"))["read"]
    rule = {"sample_rate": RATE, "samples": 100, "max_seconds": 60.0}
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (1000, 2))
    contents = {
        "FLAC": encode(sound, 44_100, format="FLAC"),
        "Vorbis": encode(sound, format="OGG"),
        **{kind: encode(sound, subtype=kind) for kind in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT")},
    }
    for name, content in contents.items():
        split = make_reader().prepare(split_of(Recordings(GivenRecordings((name,), (content,)))))
        expected = split.examples.read(0)
        found = read(content, rule)
        assert found.dtype == np.float32 and len(found) % 100 == 0
        np.testing.assert_allclose(found[: len(expected)], expected, atol=1e-6, err_msg=name)
        assert not found[len(expected) :].any()
        if name.startswith("PCM"):
            with monkeypatch.context() as patch:
                patch.setitem(sys.modules, "soundfile", None)
                patch.setitem(sys.modules, "soxr", None)
                np.testing.assert_allclose(read(content, rule), found, atol=1e-7)
    assert len(read(encode(np.zeros(30)), rule)) == 100
    refused = {
        "zero bytes": b"",
        "text": b"no sound",
        "truncated": contents["PCM_16"][:-1000],
        "no samples": encode(np.zeros(0)),
        "too long": encode(np.zeros(RATE * 61)),
        "NaN": encode(np.float32([0.5, np.nan]), subtype="FLOAT"),
    }
    read_anyway = []
    for missing in ((), ("soundfile",)):
        for name, content in refused.items():
            with monkeypatch.context() as patch:
                for module in missing:
                    patch.setitem(sys.modules, module, None)
                with contextlib.suppress(ValueError, RuntimeError, EOFError, wave.Error):
                    read(content, rule)
                    read_anyway.append((name, *missing))
    assert read_anyway == []
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(ValueError, match="44100 Hz; without soxr, only 8000 Hz"):
        read(contents["FLAC"], rule)


def test_a_server_accepts_what_the_reader_can_convert_to_wav():
    reader, sound = make_reader(), np.random.default_rng(0).uniform(-0.5, 0.5, 500)
    wav = encode(sound)
    kept = [wav, b"", b"no sound", encode(np.zeros(RATE * 61), format="FLAC"), encode(sound, 44_100)]
    assert [reader.to_raw(content) for content in kept] == kept
    turned = [encode(sound, format="FLAC"), encode(sound, 12_345), encode(sound, RATE, format="RF64")]
    decoded, ok = reader.decode_checked(tf.constant([reader.to_raw(content) for content in turned]))
    assert ok.numpy().all()
    np.testing.assert_allclose(decoded[0, :500], sound, atol=1e-4)
    assert decoded.shape[1] == 500 and abs(np.flatnonzero(decoded[1])[-1] - 500 * RATE / 12_345) < 2


def test_a_long_recording_that_a_client_sends_does_not_lengthen_the_others():
    reader, lengths = make_reader(), [120, 20_000, 0, 90, 130, 7000]
    samples = np.zeros((6, 20_100), np.float32)
    for row, length in enumerate(lengths):
        samples[row, :length] = counting(length)
    parts = reader.divide_tensors({"samples": samples})
    assert [rows.tolist() for rows, _ in parts] == [[2, 3, 0, 4], [5], [1]]
    assert [part["samples"].shape for _, part in parts] == [(4, 200), (1, 7000), (1, 20_000)]
    for rows, part in parts:
        np.testing.assert_array_equal(part["samples"], samples[rows, : part["samples"].shape[1]])
        assert not samples[rows, part["samples"].shape[1] :].any()
