"""What two devices of one machine train is what one device trains."""

import json

import keras
import keras_hub
import numpy as np
import pandas as pd
import pytest

import keras_transfer.storage.checkpoint_store
from keras_transfer import Recipe, Run, TextClassification, TransferWarning
from keras_transfer.distribution.tf_strategies import Mirrored
from keras_transfer.storage.checkpoint_store import CheckpointStore

MIRRORED = ("distribution.strategy=mirrored", "distribution.devices=2")
# float32 has 24 bits: sums in another order differ in the last of them, and sixty steps add up to some ten times that.
TOLERANCE = 2e-6


def history(folder):
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def weights(folder):
    return keras.models.load_model(folder / "model.keras", compile=False).get_weights()


def figures(folder):
    return [value for line in history(folder) for value in line.values() if isinstance(value, float)]


def fit(file, folder, *overrides, **options):
    return Recipe.from_file(file, overrides).fit(folder, **options)


@pytest.mark.filterwarnings("error:Your input ran out of data")
@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(("policy.name=full",), marks=pytest.mark.slow),
        pytest.param(
            ("policy.name=lp_ft", "training.ema=0.9", "training.keep=best", "training.class_weights=balanced"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ("policy.name=last_stages", "policy.stages=1", "cache.views=0", "training.clip_norm=0.05"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_two_devices_train_the_same_model_as_one(recipe_file, gravel, tmp_path, overrides):
    fit(recipe_file, tmp_path / "one", *overrides)
    fit(recipe_file, tmp_path / "two", *overrides, *MIRRORED)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert np.allclose(figures(tmp_path / "one"), figures(tmp_path / "two"), atol=TOLERANCE)
    assert max(np.abs(a - b).max() for a, b in zip(one, two, strict=True)) < TOLERANCE
    begun = keras.models.load_model(gravel).get_weights()  # the head's two weights come after the backbone's
    frozen = [np.array_equal(a, weight) for a, weight in zip(one, begun, strict=False)]
    assert frozen == [np.array_equal(b, weight) for b, weight in zip(two, begun, strict=False)]
    assert any(frozen) and not all(frozen)
    (first, second) = (json.loads((tmp_path / name / "metrics.json").read_text())["test"] for name in ("one", "two"))
    assert first["confusion"] == second["confusion"]
    assert first["loss"] == pytest.approx(second["loss"], abs=10 * TOLERANCE)


@pytest.mark.slow
def test_a_run_of_two_devices_is_served_by_one(recipe_file, tmp_path):
    run = fit(recipe_file, tmp_path / "run", *MIRRORED, "export.formats=[saved_model]", "policy.batch_norm=adapt")
    assert (tmp_path / "run" / "export" / "saved_model" / "1" / "saved_model.pb").exists()
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert (environment["strategy"], environment["replicas"], environment["processes"]) == ("mirrored", 2, 1)
    assert Run(run.folder).evaluate().loss == pytest.approx(run.reports["test"].loss, abs=1e-5)


@pytest.mark.slow
def test_resuming_is_exact_on_as_many_devices_and_approximate_on_fewer(recipe_file, tmp_path, killed):
    more = ("checkpoint.every_steps=2", "policy.batch_norm=adapt", "training.accumulate_steps=3")
    fit(recipe_file, tmp_path / "whole", *MIRRORED, *more)
    for name in ("two", "one"):
        killed(lambda name=name: fit(recipe_file, tmp_path / name, *MIRRORED, *more), CheckpointStore, "write", 7)
    fit(recipe_file, tmp_path / "two", *MIRRORED, *more, resume=True)
    whole = weights(tmp_path / "whole")
    assert all(np.array_equal(a, b) for a, b in zip(whole, weights(tmp_path / "two"), strict=True))
    assert np.allclose(figures(tmp_path / "whole"), figures(tmp_path / "two"), atol=TOLERANCE, rtol=0)
    with pytest.warns(
        TransferWarning, match="sum numbers in another order:\n.*\n  replicas: 2 when the run was started"
    ):
        fit(recipe_file, tmp_path / "one", *more, "distribution.strategy=none", resume=True)
    # BatchNorm adapts to slices, which are whole batches now.
    assert len(history(tmp_path / "one")) == 3


@pytest.mark.slow
def test_texts_over_two_devices(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "dog", "ball", "milk", "the"]
    keras.utils.set_random_seed(0)
    network = keras_hub.models.BertBackbone(
        vocabulary_size=len(words),
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        max_sequence_length=20,
        dropout=0.0,
    )
    preset = tmp_path / "preset"
    network.save_to_preset(str(preset))
    tokenizer = keras_hub.models.BertTokenizer(words, lowercase=True)
    keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=20).save_to_preset(str(preset))
    random = np.random.default_rng(0)
    rows = [
        {"label": label, "text": " ".join(random.choice([label, "the", "ball", "milk"], random.integers(2, 17)))}
        for label in ["cat", "dog"] * 23
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "texts.csv", index=False)

    def train(folder, **distribution):
        TextClassification(
            str(tmp_path / "texts.csv"),
            backbone={"name": str(preset)},
            head={"dropout": 0.0},
            policy={"name": "full"},
            training={"epochs": 2, "batch_size": 8, "keep": "last"},
            export={"formats": []},
            distribution=distribution,
        ).fit(tmp_path / folder)
        return weights(tmp_path / folder)

    one, two = train("one"), train("two", strategy="mirrored", devices=2)
    assert np.allclose(figures(tmp_path / "one"), figures(tmp_path / "two"), atol=1e-5)
    assert max(np.abs(a - b).max() for a, b in zip(one, two, strict=True)) < 2e-5


def test_the_learning_rate_is_scaled_by_rule():
    two = Mirrored(["CPU:0", "CPU:1"])
    factors = [two.rate_factor(rule) for rule in ("none", "linear", "sqrt")]
    assert factors == pytest.approx([1.0, 2.0, 1.41421356])


@pytest.mark.slow
def test_two_processes_cannot_resume_one_folder(recipe_file, tmp_path, killed):
    from keras_transfer import CheckpointError
    from keras_transfer.storage.atomic import FolderLock

    folder = tmp_path / "run"
    killed(lambda: fit(recipe_file, folder), keras_transfer.storage.checkpoint_store.CheckpointStore, "write", 2)
    with FolderLock(folder), pytest.raises(CheckpointError, match=f"Another process is writing the run in {folder}"):
        fit(recipe_file, folder, resume=True)
    fit(recipe_file, folder, resume=True)
