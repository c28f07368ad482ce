"""What a user brings from Python: a model, a head, a change to images; and what the run folder says of them."""

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
    )


def test_a_run_of_objects_says_what_its_file_does_not_hold(images, tmp_path):
    run = make(images).fit(tmp_path / "run")
    text = (tmp_path / "run" / "recipe.yaml").read_text(encoding="utf-8")
    note = text.splitlines()[1].removeprefix("# ").split(", ")
    assert sorted(note) == ["augmentation.function", "backbone.name", "head.name"]
    assert "name: '<python: mine>'" in text and "function: '<python: darken>'" in text
    assert type(run.head) is ScaledHead
    assert len(Run(tmp_path / "run").predict(sorted(images.glob("*/*"))[:3])) == 3
    with pytest.raises(ConfigError, match="darken was given from Python, and no file holds it"):
        make(images, augmentation={"function": "<python: darken>"}).prepare()


def test_the_augmentation_is_in_the_training_batches_and_alone(images):
    def batches(augmentation):
        job = make(images, head={}, augmentation=augmentation).prepare()
        # As training takes them: features of frozen stages, if they can be cached, which they cannot with a function.
        inputs = job.batches.inputs(job.phases[0], range(1)) if callable(augmentation) else None
        inputs = inputs or job.batches.example_inputs(job.phases[0], range(1))
        return [x for x, *_ in inputs.batches.as_numpy_iterator()]

    assert {x.max() for x in batches(lambda pixels, seed: 0.0 * pixels)} == {0.0}
    same, plain = batches(lambda pixels, seed: pixels), batches({"horizontal_flip": False})
    assert all((a == b).all() for a, b in zip(same, plain, strict=True))


def test_a_function_is_for_images_alone():
    from keras_transfer import TextClassification

    with pytest.raises(ConfigError, match="augmentation: unknown key"):
        TextClassification("texts", augmentation=darken)
