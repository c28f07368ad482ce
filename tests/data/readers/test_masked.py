"""Which tokens are masked, and by what."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from keras_transfer.data.readers.masked import MaskedTextReader
from keras_transfer.data.readers.tokens import IDS, MASK

READER = runpy.run_path(str(Path(__file__).parent / "test_texts.py"))
START, END, MASKED = 100, 101, 103


class Words(READER["Words"]):
    """A token is the length of a word."""

    mask_id = MASKED
    special_ids = (0, START, END, MASKED)
    vocabulary_size = 200


def fit(texts, *, rate=0.15, seed=0):
    reader, (train, _) = MaskedTextReader.fit(
        Words(),
        [READER["split_of"](texts), READER["split_of"](["a bb ccc"], "test")],
        sequence_length="auto",
        maximum_length=256,
        pads_to_longest=True,
        rate=rate,
        seed=seed,
    )
    return reader, train


def masked(reader, split, rows, epoch):
    (ids, mask, positions), answers = reader.mask(split, np.array(rows), epoch)
    return ids, mask, positions, answers


LONG = [" ".join("x" * (1 + (row + word) % 9) for word in range(100)) for row in range(40)]


def test_a_share_of_the_tokens_is_selected_and_most_become_the_mask():
    reader, split = fit(LONG)
    rows = np.arange(40)
    (plain,) = split.examples.pad(rows, [IDS], 102)
    ids, _, positions, answers = masked(reader, split, rows, 0)
    assert answers.shape == (40, 15) and (answers >= 0).all()
    np.testing.assert_array_equal(np.take_along_axis(plain, positions, 1), answers)
    shown = np.take_along_axis(ids, positions, 1)
    assert (shown == MASKED).mean() == pytest.approx(0.8, abs=0.05)
    assert (shown == answers).mean() == pytest.approx(0.1, abs=0.04)
    others = shown[(shown != MASKED) & (shown != answers)]
    assert len(others) / shown.size == pytest.approx(0.1, abs=0.04)
    assert len(set(others)) > 30 and not set(others) & set(Words.special_ids)
    untouched = np.ones_like(ids, bool)
    np.put_along_axis(untouched, positions, False, 1)
    np.testing.assert_array_equal(ids[untouched], plain[untouched])


def test_special_tokens_and_padding_are_never_masked():
    reader, split = fit([*LONG, "a bb", "ccc dd e"], rate=0.9)
    rows = np.arange(len(split))
    (plain,) = split.examples.pad(rows, [IDS], 102)
    ids, mask, _, answers = masked(reader, split, rows, 0)
    special = np.isin(plain, [0, START, END])
    np.testing.assert_array_equal(ids[special], plain[special])
    assert not set(answers[answers >= 0]) & {0, START, END}
    np.testing.assert_array_equal(mask.sum(axis=1), split.examples.lengths)
    assert (answers[-2] >= 0).sum() == 2 and (answers[-1] >= 0).sum() == 3


def test_masks_depend_only_on_seed_epoch_and_row():
    reader, split = fit(LONG)
    alone, together = masked(reader, split, [7], 2), masked(reader, split, [3, 7, 9], 2)
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a[0], b[1])
    again = masked(fit(LONG)[0], split, [7], 2)
    np.testing.assert_array_equal(alone[0], again[0])
    others = [(reader, 3), (reader, None), (fit(LONG, seed=1)[0], 2)]
    assert all((masked(other, split, [7], epoch)[2] != alone[2]).any() for other, epoch in others)


def test_a_text_of_one_token_is_not_masked():
    reader, split = fit(["a", "a bb ccc"])
    ids, _, _, answers = masked(reader, split, [0, 1], 0)
    assert (answers[0] == -1).all() and MASKED not in ids[0]
    assert (answers[1] >= 0).sum() == 1


def test_evaluations_mask_the_same_tokens_and_epochs_others():
    reader, split = fit(LONG)
    first, second = (list(reader.evaluation_batches(split, batch_size=16)) for _ in range(2))
    for (a, answers), (b, again) in zip(first, second, strict=True):
        np.testing.assert_array_equal(a[IDS], b[IDS])
        np.testing.assert_array_equal(answers, again)
    ones = np.ones(40, np.float32)
    batches = reader.training_batches(split, ones[:, None], 2 * ones, batch_size=40, seed=0, epochs=range(2))
    (one, _, weights), (two, _, _) = batches
    assert set(one) == {IDS, MASK, "mask_positions"}
    assert (np.sort(one["mask_positions"], 0) != np.sort(two["mask_positions"], 0)).any()
    np.testing.assert_array_equal(weights, 2 * ones)
