"""Tokens without padding, and batches of like length."""

import itertools

import numpy as np
import pytest

from keras_transfer.data.examples.texts import Texts
from keras_transfer.data.readers import tokens as module
from keras_transfer.data.readers.tokens import choose_lengths, collect_tokens, draw_batches

WORDS = [[7, 8, 9], [5], [6, 6, 6, 6], []]


def collect(words, width=6):
    ids = np.zeros((len(words), width), np.int32)
    mask = np.zeros((len(words), width), np.int32)
    for row, own in enumerate(words):
        ids[row, : len(own)] = own
        mask[row, : len(own)] = 1
    texts = Texts(tuple(map(str, range(len(words)))), tuple((str(own),) for own in words))
    parts = [{"token_ids": ids[part], "padding_mask": mask[part]} for part in (slice(0, 2), slice(2, None))]
    return collect_tokens(texts, parts, {"token_ids": 0}, limit=5)


def test_padding_is_removed_and_restored_to_the_requested_length():
    tokens = collect(WORDS)
    assert tokens.lengths.tolist() == [3, 1, 4, 1]  # a text without tokens has one token of padding
    assert len(tokens.columns["token_ids"]) == 9
    ids, mask = tokens.pad(np.array([2, 0]), ("token_ids", "padding_mask"), 5)
    assert ids.tolist() == [[6, 6, 6, 6, 0], [7, 8, 9, 0, 0]]
    assert mask.tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]]


def test_padding_has_the_value_of_its_column():
    tokens = collect_tokens(
        Texts(("a",), (("a",),)),
        [{"token_ids": np.array([[4, 1, 1]]), "segment_ids": np.array([[0, 0, 0]])}],
        {"token_ids": 1, "segment_ids": 0},
        limit=3,
    )
    assert tokens.lengths.tolist() == [1]  # without a mask, tokens other than padding count
    assert tokens.pad(np.array([0]), ("token_ids",), 3)[0].tolist() == [[4, 1, 1]]


def test_a_selection_keeps_texts_and_tokens_together():
    tokens = collect(WORDS).select([2, 1])
    assert tokens.names == ("2", "1")
    assert tokens.pad(np.array([0, 1]), ("token_ids",), 4)[0].tolist() == [[6, 6, 6, 6], [5, 0, 0, 0]]


def test_some_rows_can_get_other_tokens():
    tokens = collect(WORDS).replace_rows(np.array([2]), collect([[6, 9], []]).select([0]))
    assert tokens.pad(np.arange(3), ("token_ids",), 3)[0].tolist() == [[7, 8, 9], [5, 0, 0], [6, 9, 0]]
    assert tokens.is_cut.tolist() == [False, False, True, False]


def padding(lengths, chosen):
    return sum(min(own for own in chosen if own >= length) - length for length in lengths)


def test_chosen_lengths_pad_least(monkeypatch):
    monkeypatch.setattr(module, "_MOST_LENGTHS", 3)
    random = np.random.default_rng(0)
    for _ in range(50):
        lengths = random.integers(2, 12, random.integers(1, 15))
        chosen = choose_lengths(lengths, 12)
        pairs = [pair for count in range(3) for pair in itertools.combinations(range(2, 12), count)]
        assert chosen[-1] == 12 and len(chosen) <= 3
        assert padding(lengths, chosen) == min(padding(lengths, (*pair, 12)) for pair in pairs)


def test_many_different_lengths_are_padded_to_a_few():
    lengths = np.random.default_rng(0).integers(1, 9000, 5000)
    chosen = choose_lengths(lengths, 8192)
    assert len(chosen) <= 12 and chosen[-1] == 8192
    assert list(chosen) == sorted(set(chosen))


LENGTHS = np.random.default_rng(1).integers(3, 60, 1003)


@pytest.mark.parametrize("batch_size", [1, 7, 16, 2000])
def test_every_row_is_used_once_per_epoch_in_even_batches(batch_size):
    batches = draw_batches(LENGTHS, batch_size=batch_size, seed=0, epoch=0)
    assert sorted(np.concatenate(batches)) == list(range(1003))
    sizes = {len(batch) for batch in batches}
    assert max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1
    assert len(batches) == -(-1003 // batch_size)


def test_batches_depend_only_on_seed_and_epoch_and_contain_texts_of_similar_length():
    def drawn(seed, epoch):
        return [batch.tolist() for batch in draw_batches(LENGTHS, batch_size=16, seed=seed, epoch=epoch)]

    assert drawn(0, 3) == drawn(0, 3)
    assert len({str(drawn(seed, epoch)) for seed, epoch in [(0, 3), (1, 3), (0, 4)]}) == 3
    batches = draw_batches(LENGTHS, batch_size=16, seed=0, epoch=0)
    computed = sum(LENGTHS[batch].max() * len(batch) for batch in batches)
    assert computed < 1.05 * LENGTHS.sum()
    # Not from the shortest to the longest: neighbours would be alike.
    longest = [LENGTHS[batch].max() for batch in batches]
    assert abs(np.corrcoef(longest[:-1], longest[1:])[0, 1]) < 0.5
