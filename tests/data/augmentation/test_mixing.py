import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.config.augmentation import AugmentationConfig
from keras_transfer.data.augmentation.augment import draw
from keras_transfer.data.augmentation.mixing import mix

SIZE = 30
ROWS = 24


def examples(rows=ROWS, weights=None):
    """Images whose pixels identify them, each with its own class."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (rows, SIZE, SIZE, 3)).astype(np.float32)
    weights = np.ones(rows, np.float32) if weights is None else np.asarray(weights, np.float32)
    return pixels, np.eye(rows, dtype=np.float32), weights


def mixed(batch, seed=0, **options):
    epoch = tf.constant(0, tf.int64)
    draws = tf.stack([draw(seed, epoch, tf.constant(row, tf.int64)) for row in range(len(batch[0]))])
    return [tensor.numpy() for tensor in mix(*map(tf.constant, batch), draws, AugmentationConfig(**options))]


def partner(rows):
    return np.roll(rows, 1, axis=0)


def shares(targets):
    """Each row's share of its partner, according to its label."""
    return targets[np.arange(len(targets)), np.arange(len(targets)) - 1]


def test_without_options_the_batch_is_returned_unchanged():
    batch = tuple(map(tf.constant, examples()))
    assert all(new is old for new, old in zip(mix(*batch, None, AugmentationConfig()), batch, strict=True))


def test_mixup_blends_images_by_the_share_of_their_labels():
    batch = examples()
    pixels, targets, weights = mixed(batch, mixup=0.4)
    share = shares(targets)[:, None, None, None]
    assert pixels == pytest.approx((1 - share) * batch[0] + share * partner(batch[0]), abs=0.01)
    assert targets == pytest.approx((1 - share[..., 0, 0]) * batch[1] + share[..., 0, 0] * partner(batch[1]), abs=1e-6)
    assert weights == pytest.approx(np.ones(ROWS))
    assert -1e-3 < pixels.min() < pixels.max() < 255.001


def pasted_part(new, old, other):
    part = (new == other).all(axis=-1)
    assert np.array_equal(new, np.where(part[..., None], other, old))
    return part


def test_cutmix_pastes_one_box_whose_area_is_the_share_of_the_label():
    batch = examples(64)
    pixels, targets, _ = mixed(batch, cutmix=1.0)
    clipped = 0
    for new, old, other, share in zip(pixels, batch[0], partner(batch[0]), shares(targets), strict=True):
        part = pasted_part(new, old, other)
        rows, columns = part.any(axis=1), part.any(axis=0)
        assert np.array_equal(part, np.outer(rows, columns))
        assert part.mean() == pytest.approx(share, abs=1e-6)
        clipped += abs(int(rows.sum()) - int(columns.sum())) > 1  # the border cut a square
    assert targets.sum(axis=1) == pytest.approx(np.ones(64))
    assert clipped > 20
    assert shares(targets).min() < 0.05
    assert shares(targets).max() > 0.5


def test_with_both_enabled_each_row_gets_one_or_the_other_as_it_would_alone():
    batch = examples(64)
    both, blended, pasted = (
        mixed(batch, **on) for on in ({"mixup": 0.3, "cutmix": 1.0}, {"mixup": 0.3}, {"cutmix": 1.0})
    )
    takes = [
        tuple(
            all(np.array_equal(part[row], own[row]) for part, own in zip(both, alone, strict=True)) for row in range(64)
        )
        for alone in (blended, pasted)
    ]
    assert all(sum(pair) >= 1 for pair in zip(*takes, strict=True))
    assert 20 <= sum(takes[0]) <= 44


@pytest.mark.parametrize("options", [{"mixup": 0.5}, {"cutmix": 1.0}, {"mixup": 0.2, "cutmix": 0.7}])
def test_the_weighted_loss_of_a_row_is_that_of_its_two_images_by_their_shares(options):
    random = np.random.default_rng(1)
    weights = random.uniform(0.1, 9.0, ROWS) * (random.uniform(size=ROWS) < 0.7)
    batch = examples(weights=weights)
    share = shares(mixed(examples(), **options)[1])
    _, targets, mixed_weights = mixed(batch, **options)
    logits = random.normal(0.0, 3.0, (ROWS, ROWS)).astype(np.float32)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1, reduction="none")

    expected = (1 - share) * batch[2] * loss(batch[1], logits).numpy()
    expected += share * partner(batch[2]) * loss(partner(batch[1]), logits).numpy()
    assert loss(targets, logits, mixed_weights).numpy() == pytest.approx(expected, rel=1e-4, abs=1e-5)

    counts = mixed_weights > 0
    assert targets[counts].sum(axis=1) == pytest.approx(np.ones(counts.sum()), abs=1e-5)
    assert not targets[~counts].any()
    assert 0 < counts.sum() < ROWS


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_follow_the_beta_distribution(alpha):
    share = shares(mixed(examples(400), mixup=alpha)[1])
    assert share.mean() == pytest.approx(0.5, abs=0.06)
    assert share.var() == pytest.approx(0.25 / (2 * alpha + 1), rel=0.15)


@pytest.mark.parametrize(("alpha", "distance"), [(1e-300, 0.5), (1e-4, 0.5), (1e9, 0.0)])
def test_extreme_alphas_give_no_nan(alpha, distance):
    for option in ("mixup", "cutmix"):
        batch = mixed(examples(8), **{option: alpha})
        assert all(np.isfinite(part).all() for part in batch)
        if option == "mixup":
            assert np.abs(shares(batch[1]) - 0.5) == pytest.approx(np.full(8, distance), abs=1e-3)


def test_a_row_that_is_alone_in_its_batch_is_mixed_with_itself():
    batch = examples(1, weights=[3.0])
    for new, old in zip(mixed(batch, mixup=0.5, cutmix=0.5), batch, strict=True):
        assert new == pytest.approx(old, abs=1e-3)
