"""Transcripts: encoded targets, loss per token, and error rates against results computed by hand."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.errors import DataError
from keras_transfer.heads import Segment, Transcript, TranscriptHead, TranscriptReport, measure_transcripts
from keras_transfer.heads.evaluation import stack_rows
from keras_transfer.heads.resampling import bootstrap
from keras_transfer.heads.token_loss import TokenAccuracy, TokenCrossentropy, TokenCrossentropyMean, TokenFigures
from keras_transfer.heads.word_errors import EditCounts, align, count_edits


class Letters:
    """A token per letter, a being 1, and 0 for the end."""

    end = 0
    timestamp_begin = 40
    # The last two tokens are half a character each.
    pieces = (b"", *(bytes([letter]) for letter in range(97, 123)), b" ", b"\xc3", b"\xa9")

    def encode(self, text):
        return [ord(letter) - 96 for letter in text]

    def decode(self, ids):
        written = b"".join(self.pieces[token] for token in ids if 0 <= token < len(self.pieces))
        return written.strip().decode(errors="replace")


def make_head(embedding=None):
    return TranscriptHead(("text",), Letters(), prompt=(30, 31, 32), rule="words", token_embedding=embedding)


def test_targets_are_the_tokens_after_each_position():
    encoded = make_head().encode(np.array(["ab", "", "c"], object))
    # Inputs are prompt and letters: what follows the prompt's last token is the first letter.
    assert encoded.tolist() == [[-1, -1, 1, 2, 0], [-1, -1, 0, -1, -1], [-1, -1, 3, 0, -1]]
    assert make_head().encode(np.array([], object)).shape == (0, 2)


def test_the_loss_is_the_mean_over_tokens_whichever_of_targets_and_logits_is_longer():
    random = np.random.default_rng(0)
    logits = random.normal(size=(3, 4, 6)).astype(np.float32)
    targets = np.array([[-1, 2, 5, -1], [-1, 0, -1, -1], [-1, 1, 1, 3]], np.float32)
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    places = [(0, 1, 2), (0, 2, 5), (1, 1, 0), (2, 1, 1), (2, 2, 1), (2, 3, 3)]
    expected = -np.mean([log_probabilities[place] for place in places])
    right = np.mean([logits[row, place].argmax() == token for row, place, token in places])
    shorter = logits[:, :3], targets
    longer = np.concatenate([logits, logits], axis=1), targets
    for scores, truth in ((logits, targets), longer, shorter):
        kept = [place for place in places if place[1] < scores.shape[1]]
        mean = -np.mean([log_probabilities[place] for place in kept])
        assert float(np.mean(TokenCrossentropy().call(truth, scores))) == pytest.approx(mean, rel=1e-5)
        whole = TokenCrossentropyMean()
        whole.update_state(truth, scores)
        assert float(whole.result()) == pytest.approx(mean, rel=1e-5)
    accuracy = TokenAccuracy()
    accuracy.update_state(*reversed(longer))
    assert (float(accuracy.result()), mean) != (0.0, expected)
    assert float(accuracy.result()) == pytest.approx(right)


def test_logits_are_tied_to_the_networks_embedding_which_stays_its_own():
    policy = keras.dtype_policies.DTypePolicy("mixed_float16")
    embedding = keras.layers.ReversibleEmbedding(7, 4, dtype=policy)
    embedding.build()
    states = keras.Input((None, 4), dtype="float16")
    model = keras.Model(states, make_head(embedding).read_out(make_head().pool(states)))
    given = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float16)
    found = keras.ops.convert_to_numpy(model(given))
    kernel = keras.ops.convert_to_numpy(embedding.embeddings)
    assert found.dtype == np.float32
    # Half precision would be off by 1e-3.
    np.testing.assert_allclose(found, given.astype(np.float32) @ kernel.T, atol=1e-6)
    assert model.output_shape == (None, None, 7)
    assert not model.weights  # a policy that trains the head alone does not train an embedding of half the network


EXPECTED = ["The cat sat on the mat.", "Hello", "", "one two three"]
FOUND = ["the cat sat in mat", "hello there", "noise", ""]


def test_edits_are_counted_per_utterance_after_normalization():
    words = count_edits(EXPECTED, FOUND, rule="words")
    assert words.length.tolist() == [6, 1, 0, 3]
    # on -> in and "the" left out; "there" added; "noise" added to nothing; three words left out
    assert words.edits.tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 1], [0, 3, 0]]
    assert count_edits(EXPECTED, FOUND, rule="whitespace").edits[0].sum() == 4  # The, mat.
    characters = count_edits(["abc d", ""], ["abd", "x"], rule="whitespace", characters=True)
    assert characters.length.tolist() == [5, 0]
    assert characters.edits.sum(axis=1).tolist() == [2, 1]


def test_error_rates_with_intervals_over_utterances_and_speakers():
    errors = measure_transcripts(EXPECTED, FOUND, rule="words", groups=["a", "b", "a", None])
    words = errors.words
    assert (words.rate, words.length) == (pytest.approx(7 / 10), 10)
    assert (words.substitutions, words.deletions, words.insertions) == (1, 4, 2)
    assert errors.groups == 3
    edits, length = np.array([2, 1, 1, 3]), np.array([6, 1, 0, 3])
    by_row = bootstrap(lambda counts: counts @ edits / np.maximum(counts @ length, 1), 4)
    assert words.interval == pytest.approx(by_row)
    spoken = np.array([3, 1, 3]), np.array([6, 1, 3])
    by_speaker = bootstrap(lambda counts: counts @ spoken[0] / np.maximum(counts @ spoken[1], 1), 3)
    assert words.group_interval == pytest.approx(by_speaker)
    assert words.improvement is None


def test_the_improvement_by_training_is_a_paired_difference():
    texts = [f"word{n} and more" for n in range(40)]
    # One word of three wrong in each utterance before; none after: the difference has no spread.
    untrained = [f"word{n} and moore" for n in range(40)]
    errors = measure_transcripts(texts, texts, rule="words", untrained=untrained)
    bought = errors.words.improvement
    assert (bought.before, bought.difference) == (pytest.approx(1 / 3), pytest.approx(-1 / 3))
    assert bought.interval == pytest.approx((-1 / 3, -1 / 3))
    assert str(bought) == ("word error rate 0.0%, 33.3% before: -33.3 points (95 % interval -33.3 to -33.3)")
    worse = measure_transcripts(texts, untrained, rule="words", untrained=texts).words.improvement
    assert str(worse).endswith("WORSE than before")
    same = measure_transcripts(texts, untrained, rule="words", untrained=untrained).words.improvement
    assert str(same).endswith("no measurable difference")


@pytest.mark.parametrize(
    ("expected", "found", "rate"),
    [
        pytest.param([""], [""], 0.0, id="nothing said, nothing found"),
        pytest.param([""], ["two words"], 2.0, id="nothing said"),
        pytest.param(["مرحبا بالعالم", "😀 ok"], ["مرحبا العالم", "😀 ok"], 0.25, id="other scripts"),
        pytest.param(["a"], ["a b c"], 2.0, id="more than there is"),
    ],
)
def test_odd_transcripts_have_a_rate(expected, found, rate):
    words = measure_transcripts(expected, found, rule="whitespace", groups=["s"] * len(expected)).words
    assert words.rate == pytest.approx(rate)
    assert np.isfinite(words.interval).all()
    assert words.group_interval is None  # of one speaker


def test_an_alignment_has_the_words():
    (steps,) = align(["a b c"], ["a x c d"], rule="words")
    assert [(step.kind, step.expected, step.found) for step in steps] == [
        ("equal", ("a",), ("a",)),
        ("substitute", ("b",), ("x",)),
        ("equal", ("c",), ("c",)),
        ("insert", (), ("d",)),
    ]


def test_without_jiwer_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "jiwer", None)
    with pytest.raises(DataError, match=r"keras-transfer\[speech\]"):
        count_edits(["a"], ["b"], rule="words")


@pytest.mark.parametrize("full", [True, False], ids=["everything", "least"])
def test_a_report_survives_json(full):
    tokens, speakers = TokenFigures(0.5, 0.9, 20), ["a", "b", "a", "c"]
    further = {"untrained": ["x", "x"], "groups": speakers[:2], "tokens": tokens} if full else {}
    predicted = np.array([[-0.5, 1, 2], [-0.5, 3, 0]], np.float32)
    report = make_head().report("test", predicted, np.array(["ab", "abc"], object), **further)
    values = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert (values["wer"], values["n"]) == (0.5, 2)
    read = TranscriptReport.from_json("test", values)
    assert (read == report) if full else (np.isnan(read.loss) and replace(read, loss=0.0) == replace(report, loss=0.0))
    assert len(report.improvements) == (2 if full else 0)


def test_a_transcript_for_users():
    found = make_head().to_prediction("a.wav", np.array([-0.5, 1, 2, 0, 0], np.float32))
    assert (str(found), found.columns()) == ("ab", {"predicted_text": "ab", "score": -0.5})
    timed = Transcript("a.wav", "é\n b", segments=(Segment(0.0, 1.5, "é"),))
    assert str(timed) == "é b"
    segments = '[{"start": 0.0, "end": 1.5, "text": "é"}]'
    assert timed.columns() == {"predicted_text": "é\n b", "segments": segments}


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        pytest.param([40, 1, 65, 65, 2, 90, 0], [(0.0, 0.5, "a"), (0.5, 1.0, "b")], id="pairs"),
        pytest.param([50, 1, 60, 2], [(0.2, 0.4, "a"), (0.4, None, "b")], id="one that stays open"),
        pytest.param([1, 2, 0, 0], [(0.0, None, "ab")], id="none at all"),
        pytest.param([40, 40, 0], [], id="silence"),
        pytest.param([3040, 3, 3140], [(60.0, 62.0, "c")], id="a later window"),
    ],
)
def test_segments_are_the_texts_between_timestamps(tokens, expected):
    head = replace(make_head(), timestamps=True)
    found = head.to_prediction("a.wav", np.array([0, *tokens], np.float32)).segments
    assert [(one.start, one.end, one.text) for one in found] == expected


def test_served_outputs_match_predictions():
    head = replace(make_head(), timestamps=True)
    rows = [[-0.5, 27, 1, 29, 30, 2], [-0.25, 40, 3, 27, 90, 5000], [-1, 0, 0, 0, 0, 0], [-2, 1, 30, 28, 29, 0]]
    predicted = np.array(rows, np.float32)
    served = head.masked_outputs(tf.constant(predicted), tf.constant([True, True, True, False]))
    texts = [text.decode() for text in served["text"].numpy()]
    assert texts == [*head.to_texts(predicted)[:3], ""] == ["a\ufffdb", "c", "", ""]
    assert served["ok"].numpy().tolist() == [True, True, True, False]
    assert served["score"].numpy()[:3].tolist() == [-0.5, -0.25, -1.0]
    assert np.isnan(served["score"].numpy()[3])
    timed = [text.decode() for text in served["timed_text"].numpy()]
    assert timed[1:] == ["<|0.00|>c <|1.00|><|99.20|>", "", ""]
    assert "timed_text" not in make_head().serving_outputs(tf.constant(predicted))
    numbers = {name: tensor.numpy() for name, tensor in head.tensor_outputs(tf.constant(predicted)).items()}
    np.testing.assert_array_equal(head.read_predictions(numbers), predicted)


def test_predictions_of_batches_are_joined_and_worst_rows_have_most_wrong_words():
    joined = stack_rows([np.array([[-1.0, 1, 2]], np.float32), np.array([[-2.0, 3]], np.float32)])
    assert joined.tolist() == [[-1, 1, 2], [-2, 3, -1]]
    losses = make_head().row_losses(joined, np.array(["ab", "a b c"], object))
    assert losses.tolist() == [0, 2]  # "c" is one of three words


def test_no_utterances_have_no_edits():
    assert align([], [], rule="words") == []
    assert count_edits([], [], rule="words").length.shape == (0,)


def test_sums_by_group_keep_the_order_of_the_first_utterances():
    counts = EditCounts(np.array([1, 2, 3]), np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]]))
    summed = counts.sum_by(["b", "a", "b"])
    assert (summed.length.tolist(), summed.edits.tolist()) == ([4, 2], [[1, 0, 1], [0, 1, 0]])
