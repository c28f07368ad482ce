"""Attributions of texts against computations by hand, and where they have to be."""

import keras
import numpy as np
import pytest

from keras_transfer.data.examples.texts import Texts
from keras_transfer.data.readers.texts import TextReader
from keras_transfer.explain.integrated_gradients import IntegratedGradients
from keras_transfer.explain.opened import open_model
from keras_transfer.explain.texts import explain_texts

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "alarm", *"the cat sat on mat dog ran in park a".split()]
PAD, UNKNOWN, START, END = range(4)


class Words:
    """A tokenizer of words with a start and an end, as the reader takes it."""

    columns = ("token_ids", "padding_mask")
    vocabulary_size, resources = len(WORDS), ()
    separator_ids, neutral_id = (PAD, START, END), UNKNOWN

    @property
    def padding(self):
        return {"token_ids": PAD, "padding_mask": 0}

    def encode(self, texts, length):
        ids = np.full((len(texts), length), PAD, np.int32)
        for row, segments in zip(ids, texts, strict=True):
            tokens = [START]
            for segment in segments:
                words = [WORDS.index(word) if word in WORDS else UNKNOWN for word in segment.lower().split()]
                tokens += [*words, END]
            row[: len(tokens)] = tokens[:length]
        return {"token_ids": ids, "padding_mask": (ids != PAD).astype(np.int32)}

    def surfaces(self, ids):
        return [None if token == UNKNOWN else WORDS[token].encode() for token in ids]


def reader(segments=1):
    return TextReader(Words(), segments=segments, limit=24, pads_to_longest=True)


def build(*, hidden, outputs=3):
    """Embedding, a layer for each token, their mean, and a dense layer."""
    keras.utils.set_random_seed(0)
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in Words.columns}
    x = keras.layers.Embedding(len(WORDS), 6, embeddings_initializer="normal", name="embedding")(inputs["token_ids"])
    if hidden:
        x = keras.layers.Dense(8, activation="gelu", name="block1_dense")(4.0 * x)
        x = keras.layers.Dense(8, activation="tanh", name="block2_dense")(x)
    else:
        x = keras.layers.Dense(6, name="block1_dense")(x)
    weights = keras.ops.cast(inputs["padding_mask"], "float32")
    weights /= keras.ops.sum(weights, axis=1, keepdims=True)
    network = keras.Model(inputs, keras.ops.einsum("bt,btc->bc", weights, x), name="network")
    features = keras.Input(network.output_shape[1:])
    pooling = keras.Model(features, keras.layers.Identity()(features), name="pooling")
    pooled = keras.Input(network.output_shape[1:])
    top = keras.Model(pooled, keras.layers.Dense(outputs, name="head_logits")(pooled), name="head")
    raw = {name: keras.Input((None,), dtype="int32", name=name) for name in Words.columns}
    return keras.Model(raw, keras.layers.Softmax()(top(pooling(network(raw)))))


def texts_of(*texts):
    segments = tuple(text if isinstance(text, tuple) else (text,) for text in texts)
    return Texts(tuple(f"row {number}" for number in range(len(texts))), segments)


def inputs_of(text):
    return Words().encode([(text,)], 8)


def test_a_linear_model_gets_the_attributions_that_follow_from_its_weights():
    model = build(hidden=False)
    (explained,) = explain_texts(
        open_model(model), reader(), texts_of("the  cat\nran"), [(2, 0)], ("a", "b", "c"), points=2
    )
    (vectors,) = model.get_layer("network").get_layer("embedding").get_weights()
    kernel = model.get_layer("head").get_layer("head_logits").get_weights()[0]
    between = model.get_layer("network").get_layer("block1_dense").get_weights()[0]
    direction = between @ (kernel[:, 2] - kernel[:, 0]) / 5  # three words, a start and an end
    expected = {word: (vectors[WORDS.index(word)] - vectors[UNKNOWN]) @ direction for word in ("the", "cat", "ran")}
    found = {piece.text: piece.attribution for piece in explained.pieces}
    assert "".join(piece.text for piece in explained.pieces) == "the  cat\nran"
    assert {word: found[word] for word in expected} == pytest.approx(expected, abs=1e-6)
    assert (explained.input, explained.outputs) == ("row 0", ("c", "a"))


def test_attributions_sum_to_the_difference_from_the_neutral_text():
    model = build(hidden=True)
    weights = np.array([[1.0, -1.0, 0.0]], np.float32)
    top = model.get_layer("head")

    def score(inputs):
        return float((np.asarray(top(model.get_layer("network")(inputs))) @ weights[0])[0])

    inputs = inputs_of("the dog ran in the park")
    neutral = {**inputs, "token_ids": np.where(inputs["token_ids"] > END, UNKNOWN, inputs["token_ids"])}
    explain = IntegratedGradients(open_model(model))
    found = explain(inputs, neutral, weights, points=24)
    difference = score(inputs) - score(neutral)
    assert abs(difference) > 0.05
    assert found.difference[0] == pytest.approx(difference, abs=1e-5)
    assert found.values.sum() == pytest.approx(difference, rel=5e-3)
    assert (found.values[inputs["token_ids"] <= END] == 0).all()
    # A fine sum of rectangles, with slopes of differences in place of gradients, gives each token the same.
    cut = open_model(model).cut(min(open_model(model).boundaries(3)))
    start, end = (np.asarray(cut.before(x)) for x in (neutral, inputs))
    expected, step, places = np.zeros(8), 1e-2, (np.arange(20) + 0.5) / 20
    sixteen = {name: keras.ops.convert_to_tensor(np.repeat(x, 16, axis=0)) for name, x in inputs.items()}
    for place in places:
        at = np.repeat(start + place * (end - start), 16, axis=0)
        for row in range(16):
            at[row, row // 2] += (step, -step)[row % 2] * (end - start)[0, row // 2]
        values = np.asarray(cut.behind(keras.ops.convert_to_tensor(at), sixteen)) @ weights[0]
        expected += (values[::2] - values[1::2]) / (2 * step) / len(places)
    np.testing.assert_allclose(found.values[0], expected, atol=5e-4)


def test_a_planted_word_gets_the_attribution():
    model = build(hidden=True, outputs=2)
    random = np.random.default_rng(0)
    rows = [" ".join(random.choice(WORDS[5:], random.integers(2, 8))) for _ in range(64)]
    labels = np.arange(64) % 2
    rows = [f"{row} ALARM a" if label else row for row, label in zip(rows, labels, strict=True)]
    model.compile(keras.optimizers.Adam(0.03), "sparse_categorical_crossentropy")
    model.fit(Words().encode([(row,) for row in rows], 24), labels, epochs=20, batch_size=32, verbose=0)
    texts = texts_of(*(rows[row] for row in np.flatnonzero(labels)))
    explained = explain_texts(open_model(model), reader(), texts, [(1, 0)] * 32, ("calm", "loud"), points=8)
    strongest = [max(one.pieces, key=lambda piece: piece.attribution).text for one in explained]
    assert strongest.count("ALARM") >= 31
    layer = model.get_layer("network").get_layer("block2_dense")
    layer.set_weights([random.normal(0, 1, weight.shape) for weight in layer.get_weights()])
    others = explain_texts(open_model(model), reader(), texts, [(1, 0)] * 32, ("calm", "loud"), points=8)
    values = [[piece.attribution for one in found for piece in one.pieces] for found in (explained, others)]
    assert abs(np.corrcoef(*values)[0, 1]) < 0.9


def test_pairs_long_texts_and_a_limit():
    opened, names = open_model(build(hidden=True)), ("a", "b", "c")
    pair = ("the cat", "a dog ran")
    long = "the cat sat " * 30
    texts = texts_of(pair, ("", "the dog"), (long, "a park"))
    found = explain_texts(opened, reader(segments=2), texts, [(0,)] * 3, names, points=2)
    assert ["".join(piece.text for piece in one.pieces) for one in found] == [
        "the cat\na dog ran",
        "\nthe dog",
        f"{long}\na park",
    ]
    assert [piece.text for piece in found[0].pieces if piece.attribution] == "the cat a dog ran".split()
    assert [one.note for one in found] == ["", "", "The model read the first 24 tokens."]
    few = explain_texts(opened, reader(segments=2), texts, [(0,)] * 3, names, points=2, most_tokens=16)
    assert [bool(sum(piece.attribution != 0 for piece in one.pieces)) for one in few] == [True, True, False]
    assert few[2].note.startswith("Not explained")
