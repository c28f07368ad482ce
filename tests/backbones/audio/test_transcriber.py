"""Transcribers: recordings of any length, silence, saved and read back, merged adapters, and real speech."""

import keras
import numpy as np
import pytest

from keras_transfer import BackboneError
from keras_transfer.backbones.audio.decoders import CachedDecoder, PrefixDecoder, split_network
from keras_transfer.backbones.audio.decoding import DecodingRules, decode
from keras_transfer.backbones.audio.quiet_cuts import find_cuts
from keras_transfer.backbones.audio.speech_to_text import load_speech_to_text
from keras_transfer.backbones.audio.transcriber import Transcriber, transcribe
from keras_transfer.config.backbones import AudioBackboneConfig
from keras_transfer.networks.keras_file import read_keras_file, write_keras_file
from keras_transfer.networks.lora import add_adapters, merge_adapters

RATE, WINDOW, LONGEST = 16_000, 8_000, 5


def make_transcriber(backbone, **rules):
    tokenizer = backbone.tokenizer
    prompt = tokenizer.prompt(language=tokenizer.languages[0] if tokenizer.languages else None)
    rules = {"prompt": prompt, "end": tokenizer.end, "longest": LONGEST, **rules}
    return Transcriber(
        network=backbone.network, front_end=backbone.front_end, rules=DecodingRules(**rules), samples=WINDOW, name="p"
    )


@pytest.fixture(scope="module", params=["whisper", pytest.param("moonshine", marks=pytest.mark.slow)])
def backbone(request, speech_preset):
    found = load_speech_to_text(AudioBackboneConfig(name=str(speech_preset(request.param)))).for_samples(WINDOW)
    random = np.random.default_rng(0)
    for weight in found.network.weights:
        if "norm" not in weight.path:
            weight.assign(random.normal(size=weight.shape) * (1.0 if "cross_attention" in weight.path else 0.4))
    return found


@pytest.fixture(scope="module")
def recordings():
    """One of three windows, one of half a window, and silence."""
    samples = np.random.default_rng(1).normal(0, 0.1, (3, 20_000)).astype(np.float32)
    samples[0, 6_400:7_600] = 0  # a pause
    samples[1, WINDOW // 2 :] = 0
    samples[2] = 0
    return samples


def read(tokens, model):
    return [[token for token in row if token != model.rules.end] for row in np.asarray(tokens).tolist()]


def test_recordings_are_divided_in_pauses_and_silence_has_no_text(backbone, recordings, tmp_path):
    model = make_transcriber(backbone)
    found = model.predict_on_batch(recordings)
    rows = read(found[0], model)
    assert rows[0] and rows[1] and not rows[2] and found[1][2] == 0
    # The last quarter of the first window, samples 6000 to 8000, has its pause; the second is cut somewhere.
    cuts = find_cuts(recordings, WINDOW, RATE)
    starts, lengths = np.asarray(cuts.starts), np.asarray(cuts.lengths)
    assert 6_400 < starts[0, 1] < 7_600 and (starts[0, 1:] - starts[0, :-1] <= WINDOW).all()
    assert lengths.sum(axis=1).tolist() == [20_000, WINDOW // 2, 0]
    parts = [recordings[0, start : start + length] for start, length in zip(starts[0], lengths[0], strict=True)]
    alone = [model.predict_on_batch(np.pad(part, (0, WINDOW - len(part)))[None])[0] for part in parts if len(part)]
    assert rows[0] == [token for tokens in alone for token in read(tokens, model)[0]]

    decoder = PrefixDecoder(split_network(backbone.network))
    halves = split_network(backbone.network)
    assert CachedDecoder.fits(halves)
    samples = keras.Input((WINDOW,))
    front_end = keras.Model(samples, backbone.front_end(samples))
    expected = decode(decoder, halves.encoder(front_end(recordings[1:2, :WINDOW])), model.rules)
    assert read(expected.tokens, model)[0] == rows[1]
    np.testing.assert_allclose(
        found[1][1], np.asarray(expected.log_probability)[0] / int(expected.length[0]), rtol=1e-4
    )

    write_keras_file(model, tmp_path / "model.keras")
    again = read_keras_file(tmp_path / "model.keras", BackboneError)
    merged = transcribe(again, [recordings[:2], recordings[2:]])
    assert read(merged.tokens, again) == rows
    np.testing.assert_allclose(merged.scores, found[1], atol=1e-5)


@pytest.mark.slow
def test_adapters_count_and_can_be_merged(backbone, recordings, tmp_path):
    model = make_transcriber(backbone)
    before = model.predict_on_batch(recordings)
    for adapter in add_adapters(backbone.stages, range(len(backbone.stages)), rank=2):
        adapter.b.assign(np.random.default_rng(2).normal(0, 0.3, adapter.b.shape))
    model.make_predict_function(force=True)
    adapted = model.predict_on_batch(recordings)
    assert read(adapted[0], model) != read(before[0], model)
    merge_adapters(backbone.stages)
    write_keras_file(model, tmp_path / "model.keras")
    for one in (model, read_keras_file(tmp_path / "model.keras", BackboneError)):
        found = one.predict_on_batch(recordings)
        assert read(found[0], model) == read(adapted[0], model)
        np.testing.assert_allclose(found[1], adapted[1], atol=1e-4)
