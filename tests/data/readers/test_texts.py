"""Texts become batches: tokenized once, cut as their family cuts them, of like length."""

import json
from itertools import chain

import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.data.examples.texts import Texts
from keras_transfer.data.readers.base import PLAIN
from keras_transfer.data.readers.texts import TextReader
from keras_transfer.data.splits.splits import Split


class Words:
    """A fake tokenizer: a token is the length of a word, between 100 and 101."""

    columns = ("token_ids", "padding_mask")
    padding = {"token_ids": 0}  # noqa: RUF012
    resources = ()

    def __init__(self):
        self.seen = []

    def encode(self, texts, length):
        self.seen += texts
        ids = np.zeros((len(texts), length), np.int32)
        for row, segments in enumerate(texts):
            own = [100, *[len(word) for word in " ".join(segments).split()][: length - 2], 101]
            ids[row, : len(own)] = own
        return {"token_ids": ids, "padding_mask": (ids > 0).astype(np.int32)}

    def __call__(self, segments, length):
        words = tf.strings.split(segments[0])
        ids = tf.strings.length(words)[:, : length - 2]
        ends = [tf.fill([tf.shape(segments[0])[0], 1], value) for value in (100, 101)]
        ids = tf.concat([ends[0], ids, ends[1]], axis=1).to_tensor(shape=[None, length])
        return {"token_ids": ids, "padding_mask": tf.cast(ids > 0, tf.int32)}


def split_of(texts, name="train"):
    examples = Texts(tuple(f"row {n}" for n in range(len(texts))), tuple((text,) for text in texts))
    return Split(name, examples, np.arange(len(texts)) % 2, np.ones(len(texts), np.float32))


TEXTS = ["x " * count for count in (3, 1, 2, 9, 4, 4, 5, 2, 30)]


def fit(texts=TEXTS, *, encoder=None, sequence_length="auto", maximum_length=64, **options):
    settings = {"pads_to_longest": True, **options}
    splits = [split_of(texts), split_of(["a bb ccc", "d"], "test")]
    return TextReader.fit(
        encoder or Words(), splits, sequence_length=sequence_length, maximum_length=maximum_length, **settings
    )


def test_auto_covers_99_percent_of_the_texts_within_the_limit_of_the_network():
    many = ["x " * 10] * 995 + ["x " * 100] * 5
    assert fit(many)[0].limit == 12
    assert fit(["x " * 100] * 3, maximum_length=64)[0].limit == 64
    assert fit(many, sequence_length=8)[0].limit == 8


def test_long_texts_are_truncated_as_by_the_tokenizer_and_counted():
    reader, (train, test) = fit(sequence_length=6)
    (ids,) = reader.gather(train, np.array([8]), ("token_ids",))
    assert ids.tolist() == [[100, 1, 1, 1, 1, 101]]
    report = reader.report([train, test])
    assert report["cut"] == {"train": pytest.approx(3 / 9), "test": 0.0}
    assert report["sequence_length"] == 6


def test_predicted_texts_may_be_longer_than_training_texts():
    splits = [split_of(TEXTS), split_of(["y " * 20, "y " * 40, "y"], "test")]
    reader, (train, test) = TextReader.fit(
        Words(), splits, sequence_length=6, predict_length=24, maximum_length=64, pads_to_longest=True
    )
    assert (reader.lengths(train).max(), reader.lengths(test).tolist()) == (6, [22, 24, 3])
    assert {key: reader.report([train, test])[key] for key in ("sequence_length", "predict_length")} == {
        "sequence_length": 6,
        "predict_length": 24,
    }
    # No training batch is padded further for it, and none that is predicted further than it must.
    assert reader.gather(train, np.array([8]), ("token_ids",))[0].shape == (1, 6)
    assert reader.gather(test, np.array([0, 1]), ("token_ids",))[0].shape == (2, 24)
    assert reader.decode(tf.constant(["y " * 40]))["token_ids"].shape == (1, 24)
    assert reader.lengths(reader.prepare(split_of(["y " * 40]))).tolist() == [24]
    assert reader.describe(train, [PLAIN]) != reader.describe(test, [PLAIN])


def test_the_predict_length_may_be_auto():
    reader, (train, _) = fit(["x " * 10] * 9, sequence_length=6, predict_length="auto")
    assert (reader.lengths(train).max(), reader.limit) == (6, 12)
    # If all texts are short, others are not truncated more than in training.
    assert fit(["x " * 10] * 9, sequence_length=20, predict_length="auto")[0].limit == 20


def test_each_text_is_tokenized_once_and_once_more_if_it_is_truncated():
    encoder = Words()
    reader, (train, _) = fit(encoder=encoder, sequence_length=6)
    assert len(encoder.seen) == 9 + 2 + 3
    list(reader.training_batches(train, np.eye(2)[train.targets], train.weights, batch_size=4, seed=0, epochs=range(3)))
    assert len(encoder.seen) == 14


def test_training_batches_contain_each_row_once_per_epoch_with_its_target():
    reader, (train, _) = fit()
    targets, weights = np.eye(9, dtype=np.float32), np.arange(9, dtype=np.float32)
    batches = reader.training_batches(train, targets, weights, batch_size=4, seed=0, epochs=range(2))
    assert batches.cardinality().numpy() == 6
    rows = []
    for inputs, target, weight in batches:
        row = target.numpy().argmax(axis=1)
        assert weight.numpy().tolist() == row.tolist()
        assert inputs["padding_mask"].numpy().sum(axis=1).tolist() == reader.lengths(train)[row].tolist()
        rows.append(row.tolist())
    assert sorted(chain(*rows[:3])) == sorted(chain(*rows[3:])) == list(range(9))


def test_a_later_epoch_can_be_read_without_the_earlier_ones():
    reader, (train, _) = fit()

    def batches(epochs):
        made = reader.training_batches(train, np.eye(9), train.weights, batch_size=2, seed=3, epochs=epochs)
        return [target.numpy().argmax(axis=1).tolist() for _, target, _ in made]

    assert batches(range(4))[-5:] == batches(range(3, 4))
    assert batches(range(1)) != batches(range(1, 2))


def test_evaluation_is_sorted_by_length_and_reports_the_order_of_rows():
    reader, (train, _) = fit()
    order = np.concatenate(reader.evaluation_order(train, batch_size=4))
    lengths = [
        own for batch in reader.evaluation_batches(train, batch_size=4) for own in batch["padding_mask"].numpy().sum(1)
    ]
    assert lengths == sorted(lengths) == reader.lengths(train)[order].tolist()


def test_a_network_without_a_mask_always_gets_the_same_length():
    reader, (train, _) = fit(pads_to_longest=False, sequence_length=16)
    assert {inputs["token_ids"].shape[1] for inputs in reader.evaluation_batches(train, batch_size=2)} == {16}
    assert reader.decode(tf.constant(["a bb"]))["token_ids"].shape == (1, 16)


def test_serving_tokenizes_and_truncates_as_in_training():
    reader, _ = fit(sequence_length=8)
    served = tf.function(reader.decode)(tf.constant(TEXTS))
    trained = reader.load(reader.prepare(split_of(TEXTS)), PLAIN)(tf.range(len(TEXTS), dtype=tf.int64))
    for name in Words.columns:
        np.testing.assert_array_equal(served[name], trained[name])
    assert tf.function(reader.decode)(tf.constant(["a bb"]))["token_ids"].shape == (1, 4)


def test_samples_are_read_as_they_were_written(tmp_path):
    reader, (train, _) = fit(["eins", "zwei\n\x00 drei", "\u202eשלום 🎉"])
    reader.write_samples(train, np.array([0, 2, 1]), tmp_path)
    assert json.loads((tmp_path / "01.json").read_text()) == {"text": "\u202eשלום 🎉"}
    assert reader.read_samples(tmp_path).segments == (("eins",), ("\u202eשלום 🎉",), ("zwei\n\x00 drei",))
