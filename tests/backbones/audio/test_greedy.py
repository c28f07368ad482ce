"""Greedy decoding with cached keys and values: against decoding without a cache, and against CTranslate2's texts."""

import json
import os
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.backbones.audio.greedy import DecodingRules, decode_greedily
from keras_transfer.backbones.audio.speech_network import take_encoder
from keras_transfer.backbones.audio.whisper import BASE, RATE, TINY_EN, WhisperFrontEnd

END = 9


def decode_without_cache(backbone, features, rules):
    """Run the whole network for each token."""
    chosen = []
    for _ in range(rules.longest):
        tokens = np.array([[*rules.prompt, *chosen]], np.int32)
        outputs = backbone(
            {
                "encoder_features": features[None],
                "decoder_token_ids": tokens,
                "decoder_padding_mask": np.ones_like(tokens),
            }
        )
        last = outputs["decoder_sequence_output"][:, -1]
        logits = keras.ops.convert_to_numpy(backbone.token_embedding(last, reverse=True))[0]
        left_out = [*rules.suppressed, *([] if chosen else rules.suppressed_first)]
        logits[left_out] = -np.inf
        chosen.append(int(logits.argmax()))
        if chosen[-1] == rules.end:
            break
    return chosen + [rules.end] * (rules.longest - len(chosen))


def test_cached_decoding_chooses_what_decoding_without_a_cache_chooses():
    backbone = keras_hub.models.WhisperBackbone(
        vocabulary_size=24,
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        num_mels=4,
        max_encoder_sequence_length=40,
        max_decoder_sequence_length=12,
    )
    random = np.random.default_rng(5)
    for weight in backbone.weights:
        if "norm" not in weight.path:
            weight.assign(random.normal(size=weight.shape) * 0.6)
    features = random.normal(size=(2, 40, 4)).astype(np.float32)
    rules = DecodingRules(prompt=(1, 2), end=END, suppressed=(3, 4), suppressed_first=(5, END), longest=4)
    states = take_encoder(backbone, 40, name="encoder")(features)
    tokens = tf.function(lambda x: decode_greedily(backbone, x, rules))(states).numpy()
    expected = [decode_without_cache(backbone, row, rules) for row in features]
    assert len({tuple(row) for row in expected}) > 1, "all recordings give one transcript"
    np.testing.assert_array_equal(tokens, expected)
    assert not np.isin(tokens, (3, 4)).any()


def read_utterances():
    """Recordings of Debian's pocketsphinx-testdata, if KERAS_TRANSFER_SPEECH is the folder that they lie in."""
    soundfile = pytest.importorskip("soundfile")
    folder = os.environ.get("KERAS_TRANSFER_SPEECH")
    if not folder:
        pytest.skip("KERAS_TRANSFER_SPEECH is not set: a folder of spoken WAV files at 16 kHz")
    return [soundfile.read(file, dtype="float32")[0] for file in sorted(Path(folder).rglob("*.wav"))]


@pytest.mark.slow
@pytest.mark.parametrize("size", [TINY_EN, BASE], ids=lambda size: size.name)
def test_transcripts_are_those_of_ctranslate2(size, tmp_path):
    ctranslate2, tokenizers = map(pytest.importorskip, ("ctranslate2", "tokenizers"))
    files = size.find_files()
    if files is None:
        pytest.skip(f"{size.package} is not installed")
    utterances = read_utterances()
    (tmp_path / "model.bin").write_bytes(b"".join(file.read_bytes() for file in files))
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        (tmp_path / name).write_bytes((files[0].parent / name).read_bytes())
    model = ctranslate2.models.Whisper(str(tmp_path), device="cpu", compute_type="float32")
    tokenizer = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    settings = json.loads((tmp_path / "config.json").read_text())
    words = ["startoftranscript", *(["en", "transcribe"] if size is BASE else []), "notimestamps"]
    rules = DecodingRules(
        prompt=[tokenizer.token_to_id(f"<|{word}|>") for word in words],
        end=tokenizer.token_to_id("<|endoftext|>"),
        suppressed=settings["suppress_ids"],
        suppressed_first=settings["suppress_ids_begin"],
        longest=48,
    )
    backbone = size.build_whole_pretrained()
    inputs = keras.Input((30 * RATE,))
    encoder = take_encoder(backbone, 3000, name="encoder")
    front_end = keras.Model(inputs, WhisperFrontEnd()(inputs))
    decode = tf.function(lambda states: decode_greedily(backbone, states, rules))
    for samples in utterances:
        features = front_end.predict(np.pad(samples, (0, 30 * RATE - len(samples)))[None], verbose=0)
        tokens = decode(encoder.predict(features, verbose=0)).numpy()[0]
        found = model.generate(
            ctranslate2.StorageView.from_array(np.ascontiguousarray(features.transpose(0, 2, 1))),
            [list(rules.prompt)],
            beam_size=1,
        )[0]
        text = tokenizer.decode([int(token) for token in tokens if token != rules.end])
        assert text == tokenizer.decode(found.sequences_ids[0]) and text.strip()
