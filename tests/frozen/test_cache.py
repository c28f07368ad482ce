"""Training on cached features matches training the whole network; the cache finds what it stored, and nothing else."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

from keras_transfer import ImageClassification
from keras_transfer.backbones.base import RAW, SIGNED, ImageBackbone
from keras_transfer.config.augmentation import AugmentationConfig
from keras_transfer.config.schema import CacheConfig, ImageHeadConfig
from keras_transfer.config.weights import Weights
from keras_transfer.data.examples.images import Images
from keras_transfer.data.readers.images import ImageReader
from keras_transfer.data.splits.splits import Split
from keras_transfer.errors import DataError, TrainingError
from keras_transfer.frozen.cache import FeatureCache
from keras_transfer.heads import ClassificationHead
from keras_transfer.model import build_model
from keras_transfer.networks.stages import find_stages

pytestmark = pytest.mark.usefixtures("tiny")

PLAIN = {"horizontal_flip": False}
MOVED = {"horizontal_flip": True, "shift": 0.2, "predict_flips": True}


@pytest.fixture
def computed(monkeypatch):
    """The names of all that was computed, and not found."""
    done = []
    original = FeatureCache._compute

    def watched(self, model, stages, split, views):
        done.append((split.name, len(views)))
        return original(self, model, stages, split, views)

    monkeypatch.setattr(FeatureCache, "_compute", watched)
    return done


def run(images, out, *, views, augmentation=PLAIN, policy=None, **cache):
    recipe = ImageClassification(
        {"source": str(images), "image_size": 32},
        backbone="tiny",
        policy=policy or {"name": "last_stages", "stages": 3},
        augmentation=augmentation,
        head={"dropout": 0.3},
        training={"epochs": 3, "batch_size": 8, "keep": "last"},
        cache={"views": views, **cache},
        export={"formats": []},
        report=False,
    )
    return recipe.fit(out)


def losses(run):
    lines = [json.loads(line) for line in (run.folder / "history.jsonl").read_text().splitlines()]
    return [[line["loss"], line["val_loss"]] for line in lines]


@pytest.mark.parametrize(
    ("augmentation", "views"),
    [
        pytest.param(PLAIN, 1, id="plain images", marks=pytest.mark.slow),
        pytest.param(MOVED, 3, id="a view for every epoch", marks=pytest.mark.slow),
    ],
)
def test_training_on_features_matches_training_the_whole_network(images, tmp_path, augmentation, views, computed):
    whole = run(images, tmp_path / "whole", views=0, augmentation=augmentation)
    assert computed == []
    kept = run(images, tmp_path / "kept", views=views, augmentation=augmentation)
    assert computed
    for a, b in zip(whole.model.get_weights(), kept.model.get_weights(), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(losses(kept), losses(whole), atol=1e-4)
    assert kept.reports["test"].loss == pytest.approx(whole.reports["test"].loss, abs=1e-4)
    # The report of the run, computed from features, matches the saved model on the images.
    assert kept.evaluate().loss == pytest.approx(kept.reports["test"].loss, abs=1e-4)


def test_a_second_run_computes_nothing(images, tmp_path, computed):
    first = run(images, tmp_path / "first", views=2, augmentation=MOVED)
    assert computed == [("train", 2), ("validation", 1), ("validation", 2), ("test", 2)]
    computed.clear()
    second = run(images, tmp_path / "second", views=2, augmentation=MOVED)
    assert computed == []
    for a, b in zip(first.model.get_weights(), second.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_sweep_over_the_head_shares_features(images, tmp_path, computed):
    run(images, tmp_path / "head", views=2, augmentation=PLAIN, policy="head")
    computed.clear()
    run(images, tmp_path / "sgd", views=2, augmentation=PLAIN, policy={"name": "head", "head_solver": "sgd"})
    assert computed == []


@pytest.mark.slow
def test_views_are_reused_if_epochs_outnumber_them(images, tmp_path):
    two = run(images, tmp_path / "two", views=2, augmentation=MOVED)
    three = run(images, tmp_path / "three", views=3, augmentation=MOVED)
    np.testing.assert_allclose(losses(two)[:2], losses(three)[:2], rtol=1e-4)
    assert losses(two)[2][0] != pytest.approx(losses(three)[2][0], abs=1e-6)


@pytest.mark.slow
def test_half_precision_on_disk_is_close(images, tmp_path):
    full, half = (run(images, tmp_path / dtype, views=1, dtype=dtype) for dtype in ("float32", "float16"))
    assert half.reports["test"].loss == pytest.approx(full.reports["test"].loss, abs=0.02)


# What a key covers, on a network that is quick.


def network(*, two_alive=False):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 3))
    x = before = keras.layers.Conv2D(4, 3, name="layer0", padding="same", activation="relu")(inputs)
    for number in range(1, 30 if two_alive else 4):
        y = keras.layers.Conv2D(2, 1, name=f"layer{number}")(x)
        if two_alive:
            y = keras.layers.Concatenate(name=f"cell{number}")([y, keras.layers.Conv2D(2, 1)(before)])
        before, x = x, y
    return keras.Model(inputs, keras.layers.Add()([before, x]) if two_alive else x, name="small")


def small_model(*, contract=RAW, two_alive=False):
    net = network(two_alive=two_alive)
    backbone = ImageBackbone(
        name="small", network=net, contract=contract, stages=find_stages(net), image_size=8, weights=Weights.RANDOM
    )
    return build_model(backbone, ClassificationHead(("a", "b"), ImageHeadConfig()))


@pytest.fixture
def split(tmp_path):
    random = np.random.default_rng(0)
    for name in "abcde":
        Image.fromarray(random.integers(0, 255, (8, 8, 3), np.uint8)).save(tmp_path / f"{name}.png")
    paths = tuple(f"{name}.png" for name in "abcde")
    return Split("train", Images(tmp_path, paths), np.zeros(5, np.int64), np.ones(5, np.float32))


def cache(*, seed=0, resize="crop", augmentation=None, **config):
    reader = ImageReader(
        image_size=8,
        channels=3,
        resize=resize,
        augmentation=augmentation or AugmentationConfig(),
        seed=seed,
        max_pixels=10**6,
    )
    return FeatureCache(CacheConfig(**config), reader)


def change_a_weight(model, split):
    model.backbone.stages[0].layers[-1].bias.assign([0.1, 0, 0, 0])


def change_an_image(model, split):
    Image.new("RGB", (8, 8), "red").save(split.examples.root / "c.png")


def change_the_order(model, split):
    return split.select([1, 0, 2, 3, 4])


@pytest.mark.parametrize(
    "change",
    [
        change_a_weight,
        *(pytest.param(change, marks=pytest.mark.slow) for change in (change_an_image, change_the_order)),
    ],
)
def test_a_change_of_weights_or_data_misses_the_cache(split, computed, change):
    model = small_model()
    for _ in range(2):
        cache().training(model, 2, split, range(3))
    assert len(computed) == 1
    cache().training(model, 2, change(model, split) or split, range(3))
    assert len(computed) == 2


def test_an_image_that_changes_while_features_are_computed_is_named(split, monkeypatch):
    """Its features would be found under its old content."""
    original = FeatureCache._compute

    def slow(self, model, stages, rows, views):
        yield from original(self, model, stages, rows, views)
        change_an_image(model, split)

    monkeypatch.setattr(FeatureCache, "_compute", slow)
    with pytest.raises(DataError, match=r"1 train examples changed while features .*\n  c\.png\nRun again\."):
        cache().evaluation(small_model(), 2, split)


@pytest.mark.slow
@pytest.mark.parametrize(
    "other",
    [
        {"augmentation": AugmentationConfig(shift=0.1)},
        *(
            pytest.param(other, marks=pytest.mark.slow)
            for other in ({"dtype": "float16"}, {"seed": 1}, {"resize": "pad"}, {"views": 3})
        ),
    ],
    ids=str,
)
def test_another_setting_misses_the_cache(split, computed, other):
    model = small_model()
    cache().training(model, 2, split, range(3))
    cache(**other).training(model, 2, split, range(3))
    assert len(computed) == 2


def test_another_contract_or_another_stage_misses_the_cache(split, computed):
    cache().evaluation(small_model(), 2, split)
    cache().evaluation(small_model(contract=SIGNED), 2, split)
    cache().evaluation(small_model(), 1, split)
    assert len(computed) == 3


def test_a_network_that_reads_its_images_again_after_the_frozen_stages_is_not_cached(split, computed):
    inputs = x = keras.Input((8, 8, 3), name="images")
    for number in range(4):
        x = keras.layers.Conv2D(4, 1, name=f"layer{number}")(x)
    again = keras.Model(inputs, keras.layers.Conv2D(4, 1, name="last")(keras.layers.Concatenate()([x, inputs])))
    backbone = ImageBackbone(
        name="again", network=again, contract=RAW, stages=find_stages(again), image_size=8, weights=Weights.RANDOM
    )
    model = build_model(backbone, ClassificationHead(("a", "b"), ImageHeadConfig()))
    assert model.extra_inputs(2) == ("images",)
    assert cache().evaluation(model, 2, split) is None
    assert computed == []
    assert cache().pooled(model, split).shape == (1, 5, 4)


def test_labels_and_weights_of_rows_change_no_features(split, computed):
    model = small_model()
    cache().evaluation(model, 2, split)
    relabelled = Split("test", split.examples, np.ones(5, np.int64), np.zeros(5, np.float32))
    cache().evaluation(model, 2, relabelled)
    assert len(computed) == 1


def test_two_tensors_at_a_boundary_are_both_cached(split):
    model = small_model(two_alive=True)
    stage = next(s.index + 1 for s in model.backbone.stages if len(s.outputs) == 2)
    features = cache().evaluation(model, stage, split)
    assert len(features.arrays) == 2
    pixels = np.stack([np.asarray(Image.open(file)) for file in split.examples.files]).astype("float32")
    rest = model.tail(stage)
    targets = np.eye(2, dtype="float32")[split.targets]
    logits = rest.predict(features.evaluation_batches(targets, batch_size=2), verbose=0)
    np.testing.assert_allclose(logits, model.trainer.predict(pixels, verbose=0), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("stage", [1, 2, 4])
def test_a_model_matches_its_two_parts(stage):
    model = small_model()
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype("float32")
    frozen, rest = model.frozen_part(stage), model.tail(stage)
    np.testing.assert_allclose(rest(frozen(pixels)), model.trainer(pixels), rtol=1e-5, atol=1e-4)


def test_an_error_for_nan_features_names_stage_and_image(split):
    model = small_model()
    kernel = model.backbone.stages[1].layers[0].kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    with pytest.raises(TrainingError, match=r"a\.png are NaN or infinite after stage layer1 of small"):
        cache().evaluation(model, 3, split)
    assert cache().evaluation(model, 1, split) is not None


def test_features_too_large_for_half_precision_are_refused(split):
    model = small_model()
    kernel = model.backbone.stages[0].layers[-1].kernel
    kernel.assign(np.full(kernel.shape, 1e6))
    with pytest.raises(TrainingError, match=r"too large for float16.*cache\.dtype=float32"):
        cache(dtype="float16").evaluation(model, 1, split)


def test_features_of_mixed_images_are_not_cached():
    assert cache().serves(2)
    assert not cache().serves(0)
    assert not cache(views=0).serves(2)
    assert not cache(augmentation=AugmentationConfig(mixup=0.2)).serves(2)


@pytest.mark.slow
def test_mixed_precision_features_train(images, tmp_path):
    recipe = ImageClassification(
        {"source": str(images), "image_size": 32},
        backbone="tiny",
        policy={"name": "last_stages", "stages": 2},
        training={"epochs": 1, "batch_size": 8, "precision": "mixed_bfloat16"},
        export={"formats": []},
        report=False,
    )
    finished = recipe.fit(tmp_path / "run")
    assert finished.evaluate().loss == pytest.approx(finished.reports["test"].loss, abs=0.05)
