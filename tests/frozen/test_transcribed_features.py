"""Features of recordings with transcripts: states of a frozen encoder, and of blocks of the decoder."""

import numpy as np
import pytest
import soundfile

from keras_transfer.backbones.audio.speech_to_text import load_speech_to_text
from keras_transfer.config.augmentation import SpeechAugmentationConfig
from keras_transfer.config.backbones import SpeechBackboneConfig
from keras_transfer.config.schema import CacheConfig
from keras_transfer.data.examples.files import Files
from keras_transfer.data.examples.recordings import Recordings
from keras_transfer.data.readers.transcribed import SpeechReader
from keras_transfer.data.splits.splits import Split
from keras_transfer.data.targets.transcripts import TRANSCRIPTS
from keras_transfer.frozen.cache import FeatureCache
from keras_transfer.heads.transcripts import TranscriptHead
from keras_transfer.model import build_model

RATE = 16_000
TEXTS = ["a", "the cat sat", "cats", "one two", "the"]


@pytest.fixture
def speech(speech_preset, tmp_path):
    """A model, its reader, and five recordings of tones and noise with texts of several lengths."""
    backbone = load_speech_to_text(SpeechBackboneConfig(name=str(speech_preset("whisper"))))
    random, prompt = np.random.default_rng(0), backbone.tokenizer.prompt(language="en")
    files = tuple(f"{number}.wav" for number in range(len(TEXTS)))
    for number, file in enumerate(files):
        soundfile.write(tmp_path / file, random.normal(0, 0.1, 4000 + 800 * number), RATE)
    targets, weights = TRANSCRIPTS.encode(TEXTS), np.ones(len(files), np.float32)
    reader, (split,) = SpeechReader.fit_transcribed(
        [Split("train", Recordings(Files(tmp_path, files)), targets, weights)],
        sample_rate=RATE,
        seconds=0.5,
        shortest=backbone.shortest,
        longest=backbone.longest,
        augmentation=SpeechAugmentationConfig(gain=6.0, time_mask=0.2),
        seed=0,
        max_seconds=60.0,
        tokenizer=backbone.tokenizer,
        prompt=prompt,
        longest_text=backbone.longest_text,
    )
    backbone = backbone.for_samples(reader.samples)
    embedding = backbone.token_embedding
    head = TranscriptHead(
        ("text",), tokenizer=backbone.tokenizer, prompt=tuple(prompt), rule="lower", token_embedding=embedding
    )
    return build_model(backbone, head), reader, split


def compare(features_batches, batches, tail, trainer):
    """Logits at positions that have a target, in batches of the same rows."""
    count = 0
    for (features, targets, *_), (inputs, expected_targets, *_) in zip(features_batches, batches, strict=True):
        np.testing.assert_array_equal(targets, expected_targets)
        logits, expected = np.asarray(tail(features)), np.asarray(trainer(inputs))
        assert logits.shape == expected.shape
        used = np.argwhere(np.asarray(targets) >= 0)
        used = tuple(used[used[:, 1] < logits.shape[1]].T)
        np.testing.assert_allclose(logits[used], expected[used], atol=2e-4)
        count += len(used[0])
    return count


@pytest.mark.slow
def test_training_on_states_of_frozen_stages_matches_training_the_whole_network(speech):
    model, reader, split = speech
    targets, weights = model.head.encode(split.targets), np.ones(len(split), np.float32)
    tokens = sum(len(reader.tokenizer.encode(text)) + 1 for text in TEXTS)
    cache = FeatureCache(CacheConfig(views=2), reader)
    encoder_ends = model.backbone.parts["decoder"].start
    # The states of the encoder; and, behind a block of the decoder, those for each token, too.
    for stage, arrays, extra in ((encoder_ends, 1, ("token_ids",)), (encoder_ends + 2, 2, ())):
        assert cache.serves(stage) and cache.covers(model, stage)
        plain = cache.evaluation(model, stage, split)
        assert (len(plain.arrays), plain.extra_inputs) == (arrays, extra)
        found = plain.evaluation_batches(targets, batch_size=2)
        whole = reader.evaluation_batches(split, targets, batch_size=2)
        assert compare(found, whole, model.tail(stage), model.trainer) == tokens
    # The third epoch shows the first view again.
    views = cache.training(model, encoder_ends, split, range(3))
    assert views.views == 2
    options = {"batch_size": 2, "seed": 5, "epochs": range(2)}
    found = views.batches(targets, weights, **options)
    whole = reader.training_batches(split, targets, weights, **options)
    assert compare(found, whole, model.tail(encoder_ends), model.trainer) == 2 * tokens
