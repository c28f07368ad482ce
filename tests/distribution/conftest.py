"""What tests of several devices share; tests/conftest.py makes the devices."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def gravel(tmp_path_factory) -> Path:
    """A backbone without dropout in a file, which every process can read."""
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    x = inputs
    for block in range(1, 4):
        x = keras.layers.Conv2D(6, 3, 2, padding="same", name=f"block{block}_conv")(x)
        x = keras.layers.BatchNormalization(name=f"block{block}_bn")(x)
        x = keras.layers.ReLU(name=f"block{block}_relu")(x)
    file = tmp_path_factory.mktemp("backbone") / "gravel.keras"
    keras.Model(inputs, x, name="gravel").save(file)
    return file


@pytest.fixture(scope="session")
def stripes(tmp_path_factory, make_images) -> Path:
    """67 images, of which batches of 8 and devices leave remainders."""
    return make_images(tmp_path_factory.mktemp("data") / "images", {"cat": 37, "dog": 30}, size=16)


@pytest.fixture
def recipe_file(tmp_path, stripes, gravel) -> Path:
    """A recipe that every process trains alike: no dropout, no augmentation."""
    file = tmp_path / "recipe.yaml"
    file.write_text(
        f"""task: image_classification
deterministic: true
data: {{source: {stripes}, image_size: 16}}
backbone: {{name: {gravel}, input_range: [-1.0, 1.0]}}
augmentation: {{horizontal_flip: false}}
head: {{dropout: 0.0}}
policy: {{name: full, batch_norm: frozen}}
training: {{epochs: 3, batch_size: 8, learning_rate: 0.01, keep: last}}
export: {{formats: []}}
""",
        encoding="utf-8",
    )
    return file
