"""What a user brings from Python: a model, a head, a change to images; and what the run folder records of them."""

import json

import keras
import pytest
import tensorflow as tf

from keras_transfer import ClassificationHead, ConfigError, ImageClassification, Run


class ScaledHead(ClassificationHead):
    """Logits at twice their size."""

    def read_out(self, pooled):
        return keras.layers.Rescaling(2.0, dtype="float32", name="head_scale")(super().read_out(pooled))

    @property
    def is_solvable(self):
        return False


def darken(pixels, seed):
    return pixels * tf.random.stateless_uniform([], seed, 0.5, 1.0)


def own_model():
    layers = [keras.layers.Rescaling(1 / 255)]
    for width in (4, 8, 8):
        layers += [keras.layers.Conv2D(width, 3, 2, padding="same"), keras.layers.ReLU()]
    return keras.Sequential([keras.Input((32, 32, 3)), *layers], name="mine")


def make(images, **sections):
    return ImageClassification(
        {"source": str(images), "image_size": 32},
        **{"backbone": own_model(), "head": ScaledHead, "augmentation": darken, **sections},
        policy={"name": "last_stages", "stages": 2},
        training={"epochs": 1, "batch_size": 8},
        export={"formats": []},
        report=False,
    )


def test_a_run_of_objects_names_what_its_file_does_not_contain(images, tmp_path):
    run = make(images).fit(tmp_path / "run")
    text = (tmp_path / "run" / "recipe.yaml").read_text(encoding="utf-8")
    note = text.splitlines()[1].removeprefix("# ").split(", ")
    assert sorted(note) == ["augmentation.function", "backbone.name", "head.name"]
    assert "name: '<python: mine>'" in text and "function: '<python: darken>'" in text
    assert type(run.head) is ScaledHead
    assert len(Run(tmp_path / "run").predict(sorted(images.glob("*/*"))[:3])) == 3
    with pytest.raises(ConfigError, match="darken was passed from Python and is not stored in the file"):
        make(images, augmentation={"function": "<python: darken>"}).prepare()


@pytest.mark.slow
def test_the_function_is_the_only_augmentation_of_training_batches(images):
    def batches(augmentation):
        job = make(images, head={}, augmentation=augmentation).prepare()
        # As training takes them: features of frozen stages, if they can be cached, which they cannot with a function.
        inputs = job.batches.inputs(job.phases[0], range(1)) if callable(augmentation) else None
        inputs = inputs or job.batches.example_inputs(job.phases[0], range(1))
        return [x for x, *_ in inputs.batches.as_numpy_iterator()]

    assert {x.max() for x in batches(lambda pixels, seed: 0.0 * pixels)} == {0.0}
    same, plain = batches(lambda pixels, seed: pixels), batches({"horizontal_flip": False})
    assert all((a == b).all() for a, b in zip(same, plain, strict=True))


def test_an_augmentation_function_is_only_for_images():
    from keras_transfer import TextClassification

    with pytest.raises(ConfigError, match="augmentation: unknown key"):
        TextClassification("texts", augmentation=darken)


def wrong(y_true, y_pred):
    return 1.0 - keras.metrics.categorical_accuracy(y_true, y_pred)


wrong.direction = "min"


@pytest.fixture(scope="module")
def own_training(make_images, tmp_path_factory):
    """A recipe whose loss, metric and optimizer are objects, and its run."""
    root = tmp_path_factory.mktemp("own_training")
    images = make_images(root / "images", {"cat": 16, "dog": 16}, size=32)
    recipe = ImageClassification(
        {"source": str(images), "image_size": 32},
        backbone=own_model(),
        policy={"name": "full"},
        training={"epochs": 2, "batch_size": 8, "keep_metric": "val_wrong"},
        loss=keras.losses.CategoricalFocalCrossentropy(from_logits=True),
        metrics=[wrong],
        optimizer=keras.optimizers.SGD(0.05, momentum=0.9),
        export={"formats": []},
        report=False,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_TRANSFER_CACHE", str(root / "cache"))
        return recipe, recipe.fit(root / "run")


def test_loss_metrics_and_optimizer_train(own_training):
    recipe, run = own_training
    model = recipe.prepare()
    trained = model.apply(model.phases[0])
    assert type(trained.optimizer) is keras.optimizers.SGD
    assert float(trained.optimizer.momentum) == 0.9
    lines = [json.loads(line) for line in (run.folder / "history.jsonl").read_text().splitlines()]
    assert len(lines) == 2
    for line in lines:
        assert line["wrong"] == pytest.approx(1.0 - line["accuracy"], abs=1e-5)
        assert line["loss"] < 0.3  # the focal loss of two classes by chance is 0.25 * 0.25 * ln 2 = 0.043


def test_the_run_folder_names_the_objects_and_its_file_alone_is_refused(own_training):
    _, run = own_training
    text = (run.folder / "recipe.yaml").read_text(encoding="utf-8")
    assert "optimizer: '<python: SGD>'" in text
    assert "loss: '<python: CategoricalFocalCrossentropy>'" in text
    assert "training.loss, training.metrics, training.optimizer" in text.splitlines()[1]
    assert Run(run.folder).evaluate().accuracy == run.reports["test"].accuracy
    with pytest.raises(ConfigError, match=r"training\.loss: CategoricalFocalCrossentropy has to be passed from Python"):
        ImageClassification.from_file(run.folder / "recipe.yaml", ["backbone.name=efficientnet_lite0"]).prepare()


def test_objects_that_do_not_fit_are_all_named(images):
    recipe = ImageClassification(
        str(images),
        backbone={"name": "efficientnet_lite0", "weights": "none"},
        policy="full",
        training={"label_smoothing": 0.1, "weight_decay": 0.2},
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        optimizer="sgd",
    )
    with pytest.raises(ConfigError) as caught:
        recipe.prepare()
    for problem in (
        "Make it with from_logits=True",
        "Use CategoricalCrossentropy",
        "training.label_smoothing: ",
        "metrics: the name accuracy is taken",
        "optimizer: expected a keras.optimizers.Optimizer",
    ):
        assert problem in str(caught.value), problem
