"""Greedy decoding and beam search with cached keys and values: against Python that runs the whole network each time."""

import dataclasses
import os
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest

from keras_transfer.backbones.audio.decoders import CachedDecoder, PrefixDecoder, make_decoder, split_network
from keras_transfer.backbones.audio.decoding import DecodingRules, decode
from keras_transfer.backbones.audio.speech_network import take_speech_network
from keras_transfer.backbones.audio.whisper import BASE, RATE, TINY_EN, WhisperFrontEnd
from keras_transfer.data.formats.recordings import decode_recording

END, BEGIN = 9, 16
TOKENS, FRAMES = 24, 40
_CLIPS, _MOST_ROWS = 5, 3


@pytest.fixture(scope="module")
def backbone():
    found = keras_hub.models.WhisperBackbone(
        vocabulary_size=TOKENS,
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        num_mels=4,
        max_encoder_sequence_length=FRAMES,
        max_decoder_sequence_length=12,
    )
    random = np.random.default_rng(0)
    for weight in found.weights:
        if "norm" not in weight.path:
            # By what is heard more than by earlier tokens: transcripts differ, and some end early.
            scale = 1.2 if "cross_attention" in weight.path else 0.24 if "token_embedding/" in weight.path else 0.6
            weight.assign(random.normal(size=weight.shape) * scale)
    return found


@pytest.fixture(scope="module")
def features():
    return np.random.default_rng(6).normal(size=(3, FRAMES, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def halves(backbone):
    return split_network(take_speech_network(backbone, FRAMES, name="whisper"))


def run_in_graph(function, batch):
    """Compile a function as the backend does."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        signature = [tf.TensorSpec([None, *batch.shape[1:]])]
        found = tf.function(function, input_signature=signature, autograph=False)(batch)
    else:
        import jax

        found = jax.jit(function)(batch)
    return [np.asarray(each) for each in found]


class Expected:
    """Decoding of one recording as defined in papers, with the whole network run for each step."""

    def __init__(self, backbone, features, rules):
        self.backbone, self.features, self.rules = backbone, features, rules

    def log_probabilities(self, rows):
        # Always of one shape, which is compiled once; later tokens do not count.
        tokens = np.zeros((_MOST_ROWS, 12), np.int32)
        for number, row in enumerate(rows):
            tokens[number, : len(self.rules.prompt) + len(row)] = [*self.rules.prompt, *row]
        inputs = {
            "encoder_features": np.repeat(self.features[None], _MOST_ROWS, axis=0),
            "decoder_token_ids": tokens,
            "decoder_padding_mask": np.ones_like(tokens),
        }
        states = self.backbone.predict_on_batch(inputs)["decoder_sequence_output"].astype(np.float64)
        embeddings = keras.ops.convert_to_numpy(self.backbone.token_embedding.embeddings)
        lasts = [own[len(self.rules.prompt) + len(row) - 1] for own, row in zip(states, rows, strict=False)]
        logits = [embeddings @ last for last in lasts]
        return [self._normalize(self._restrict(own, row)) for own, row in zip(logits, rows, strict=True)]

    def _restrict(self, logits, row):
        rules = self.rules
        logits[[*rules.suppressed, *([] if row else rules.suppressed_first)]] = -np.inf
        begin = rules.timestamp_begin
        if begin is None:
            return logits
        logits[begin - 1] = -np.inf
        stamps = [token for token in row if token >= begin]
        if not row:
            logits[:begin] = -np.inf
            logits[begin + rules.first_timestamp + 1 :] = -np.inf
            return logits
        is_last = row[-1] >= begin
        is_pair = len(row) < 2 or row[-2] >= begin
        if is_last and is_pair:
            logits[begin:] = -np.inf
        elif is_last:
            logits[:END] = -np.inf
        logits[begin : stamps[-1] + (0 if is_last and not is_pair else 1)] = -np.inf
        if np.logaddexp.reduce(logits[begin:]) > logits[:begin].max():
            logits[:begin] = -np.inf
        return logits

    @staticmethod
    def _normalize(logits):
        return logits - np.logaddexp.reduce(logits)

    def decode(self):
        """Return tokens, and the sum of their log-probabilities."""
        rules, beams, over = self.rules, [([], 0.0)], []
        for number in range(rules.longest):
            values = self.log_probabilities([row for row, _ in beams])
            options = [
                ([*row, token], total + own[token])
                for (row, total), own in zip(beams, values, strict=True)
                for token in range(TOKENS)
            ]
            options.sort(key=lambda option: -option[1])
            for row, total in options[: rules.beams]:
                if row[-1] == END:
                    over.append((row[:-1], total))
                elif number == rules.longest - 1:
                    over.append((row, total))
            beams = [option for option in options if option[0][-1] != END][: rules.beams]
            if len(over) >= rules.beams:
                break
        return max(over, key=lambda found: found[1] / max(len(found[0]), 1) ** rules.length_penalty)


STAMPS = {"timestamp_begin": BEGIN, "first_timestamp": 2}


@pytest.mark.parametrize(
    ("kind", "rules"),
    [
        pytest.param(CachedDecoder, {}, id="greedy"),
        pytest.param(CachedDecoder, {**STAMPS, "beams": 3}, id="timestamps_and_beams"),
        pytest.param(PrefixDecoder, {"beams": 2}, id="any_decoder", marks=pytest.mark.slow),
        pytest.param(CachedDecoder, {"beams": 3}, id="beams", marks=pytest.mark.slow),
        pytest.param(CachedDecoder, {"beams": 2, "length_penalty": 0.0}, id="no_penalty", marks=pytest.mark.slow),
        pytest.param(CachedDecoder, STAMPS, id="timestamps", marks=pytest.mark.slow),
        pytest.param(PrefixDecoder, {}, id="any_decoder_greedily", marks=pytest.mark.slow),
        pytest.param(PrefixDecoder, STAMPS, id="any_decoder_with_timestamps", marks=pytest.mark.slow),
    ],
)
def test_tokens_match_the_whole_network(kind, rules, backbone, halves, features):
    rules = DecodingRules(prompt=(1, 2), end=END, suppressed=(3, 4), suppressed_first=(5, END), longest=6, **rules)
    tokens, total, length = run_in_graph(lambda x: decode(kind(halves), halves.encoder(x), rules), features)
    expected = [Expected(backbone, row, rules).decode() for row in features]
    assert len({tuple(row) for row, _ in expected}) > 1, "all recordings give one transcript"
    padded = [row + [END] * (rules.longest - len(row)) for row, _ in expected]
    np.testing.assert_array_equal(tokens, padded)
    np.testing.assert_allclose(total, [value for _, value in expected], atol=1e-3)
    np.testing.assert_array_equal(length, [min(len(row) + 1, rules.longest) for row, _ in expected])


def test_noise_has_no_text_unless_decoding_is_confident(backbone, halves, features):
    rules = DecodingRules(prompt=(1, 2), end=END, longest=4, no_speech=7)
    after_start = DecodingRules(prompt=(1,), end=END)
    chances = [np.exp(Expected(backbone, row, after_start).log_probabilities([[]])[0][7]) for row in features]
    lowest, middle, _ = np.sort(chances)

    def run(**changes):
        changed = dataclasses.replace(rules, **changes)
        return run_in_graph(lambda x: decode(make_decoder(halves), halves.encoder(x), changed), features)

    texts = run(no_speech=None)
    for each in (run(no_speech_threshold=0.0, sure=-1e6), run(no_speech_threshold=1.0, sure=0.0)):
        np.testing.assert_array_equal(each[0], texts[0])
    tokens, total, length = run(no_speech_threshold=float(lowest + middle) / 2, sure=0.0)
    noise = np.array(chances) > (lowest + middle) / 2
    assert noise.sum() == 2
    np.testing.assert_array_equal(tokens, np.where(noise[:, None], END, texts[0]))
    np.testing.assert_allclose(total, np.where(noise, 0, texts[1]), atol=1e-4)
    np.testing.assert_array_equal(length, np.where(noise, 0, texts[2]))


def read_utterances(folder):
    """The first spoken WAV files of that folder."""
    files = sorted(Path(folder).rglob("*.wav"))[:_CLIPS]
    return [decode_recording(file.read_bytes(), sample_rate=RATE)[: 30 * RATE] for file in files]


@pytest.mark.slow
@pytest.mark.parametrize("size", [TINY_EN, BASE], ids=lambda size: size.name)
@pytest.mark.parametrize("timestamps", [False, True], ids=["plain", "timestamps"])
@pytest.mark.parametrize("beams", [1, 5])
def test_transcripts_match_ctranslate2(size, timestamps, beams, tmp_path):
    ctranslate2 = pytest.importorskip("ctranslate2")
    files, folder = size.find_files(), os.environ.get("KERAS_TRANSFER_SPEECH")
    if files is None:
        pytest.skip(f"{size.package} is not installed")
    if not folder:
        pytest.skip("KERAS_TRANSFER_SPEECH is not set: a folder of English WAV files")
    (tmp_path / "model.bin").write_bytes(b"".join(file.read_bytes() for file in files))
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        (tmp_path / name).write_bytes((files[0].parent / name).read_bytes())
    model = ctranslate2.models.Whisper(str(tmp_path), device="cpu", compute_type="float32")
    tokenizer = size.read_tokenizer()
    prompt = tokenizer.prompt(language="en" if tokenizer.languages else None, timestamps=timestamps)
    rules = DecodingRules(
        prompt=prompt,
        end=tokenizer.end,
        suppressed=tokenizer.suppressed,
        suppressed_first=tokenizer.suppressed_first,
        beams=beams,
        timestamp_begin=tokenizer.timestamp_begin if timestamps else None,
    )
    halves = split_network(take_speech_network(size.build_whole_pretrained(), 3000, name="whisper"))
    samples = keras.Input((30 * RATE,))
    encode = keras.Model(samples, halves.encoder(WhisperFrontEnd()(samples)))
    for own in read_utterances(folder):
        states = encode.predict(np.pad(own, (0, 30 * RATE - len(own)))[None], verbose=0)
        tokens = run_in_graph(lambda x: decode(make_decoder(halves), x, rules), states)[0][0].tolist()
        found = model.generate(
            ctranslate2.StorageView.from_array(np.ascontiguousarray(states)),
            [prompt],
            beam_size=beams,
            max_length=len(prompt) + rules.longest,
        )[0].sequences_ids[0]
        assert [token for token in tokens if token != rules.end] == found
        assert tokenizer.decode(tokens)
