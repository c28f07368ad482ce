"""The range test: what it suggests, what it leaves behind, and who uses it."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml

from keras_transfer import ImageClassification
from keras_transfer.errors import ConfigError, TrainingError
from keras_transfer.frozen.baseline import Baseline
from keras_transfer.heads.solver import SolvedHead
from keras_transfer.training.lr_finder import RangeTest, sweep

pytestmark = pytest.mark.usefixtures("tiny")
RATES = np.geomspace(1e-7, 10.0, 100)


def recipe(images, policy, **training):
    return ImageClassification(
        {"source": str(images), "image_size": 32},
        backbone="tiny",
        policy=policy,
        training={"epochs": 2, "batch_size": 8, "learning_rate": "auto", **training},
        export={"formats": []},
        deterministic=True,
    )


def bowl(scale, *, start=0.0):
    """A quadratic that plain gradient descent falls into half as fast as rates double; it diverges at 2 / scale."""
    rows = np.ones((8, 1), "float32")
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    model.layers[0].set_weights([np.full((1, 1), start, "float32")])
    schedule = keras.optimizers.schedules.ExponentialDecay(1.0, 1, 1.0)
    loss = keras.losses.MeanSquaredError() if scale == 1 else lambda y, p: scale * keras.ops.square(y - p)
    model.compile(keras.optimizers.SGD(schedule), loss=loss)
    return model, tf.data.Dataset.from_tensor_slices((rows, rows, rows[:, 0])).batch(4)


def curve(model, batches):
    losses = sweep(model, batches)
    return RangeTest("bowl", tuple(RATES[: len(losses)]), tuple(losses))


def test_the_suggestion_follows_the_scale_of_the_loss():
    found = {scale: curve(*bowl(scale)).learning_rate for scale in (1.0, 10.0)}
    # Gradient descent on (w - 1)**2 halves the distance per step at 0.25 and diverges at 1.
    assert 0.01 < found[1.0] < 0.25
    assert found[1.0] / found[10.0] == pytest.approx(10.0, rel=0.2)


def test_the_sweep_stops_when_the_loss_explodes():
    test = curve(*bowl(1.0))
    assert 1.0 < test.rates[-1] < 10.0
    assert np.isfinite(test.losses).all()


@pytest.mark.parametrize("noise", [0.02, 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_noise_from_batch_to_batch_hardly_moves_the_suggestion(noise, seed):
    fall = 0.7 - 0.5 / (1 + np.exp(-(np.log10(RATES) + 3) / 0.35))
    losses = np.abs(fall + np.random.default_rng(seed).normal(0, noise, len(RATES)))
    assert 10**-3.5 < RangeTest("full", tuple(RATES), tuple(losses)).learning_rate < 10**-2.5


@pytest.mark.parametrize("tilt", [0.0, 0.02])
def test_a_curve_that_never_falls_has_no_suggestion(tilt):
    losses = 0.7 + tilt * np.arange(100) + np.random.default_rng(0).normal(0, 0.05, 100)
    with pytest.raises(ConfigError, match=r"phase full does not fall.*Set training\.learning_rate to a number"):
        _ = RangeTest("full", tuple(RATES), tuple(losses)).learning_rate


def test_a_loss_that_is_nan_at_once_is_refused():
    with pytest.raises(TrainingError, match=r"loss is nan at a learning rate of 1e-07.*backbone\.weights"):
        sweep(*bowl(1.0, start=np.nan))


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["full", {"name": "lora", "rank": 2}], ids=str)
def test_everything_is_restored(images, policy):
    job = recipe(images, policy).prepare()
    before = [np.array(variable) for variable in job.model.trainer.variables]
    assert any("seed" in variable.path for variable in job.model.trainer.variables)
    test = job.find_learning_rate()
    assert len(test.losses) > 20
    after = [np.array(variable) for variable in job.model.trainer.variables]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.slow
def test_a_test_of_fine_tuning_starts_with_the_solved_head(images):
    # A head that takes everything for the first class is wrong by 100 about half of the rows.
    head = SolvedHead(np.zeros((8, 2), np.float32), np.array([50, -50], np.float32), strength=1.0, loss=None)
    job = recipe(images, "lp_ft").prepare()
    before = [np.array(variable) for variable in job.model.trainer.variables]
    test = replace(job, measured=Baseline(head, {}, {}, 0.0)).find_learning_rate()
    assert test.phase == "fine_tune"
    assert np.mean(test.losses[:10]) == pytest.approx(50, rel=0.3)
    after = [np.array(variable) for variable in job.model.trainer.variables]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.slow
def test_auto_is_a_number_in_the_run_folder_that_gives_the_same_run(images, tmp_path):
    auto = recipe(images, {"name": "last_stages", "stages": 2})
    auto.fit(tmp_path / "run")
    values = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert values["training"]["learning_rate"] == auto.find_learning_rate().learning_rate
    assert auto.config.training.learning_rate == "auto"

    ImageClassification.from_file(tmp_path / "run" / "recipe.yaml").fit(tmp_path / "again")
    first, again = ((tmp_path / name / "history.jsonl").read_text().splitlines() for name in ("run", "again"))
    assert [json.loads(line)["loss"] for line in first] == [json.loads(line)["loss"] for line in again]


@pytest.mark.slow
def test_auto_is_not_resolved_if_every_phase_is_solved(images, tmp_path):
    run = recipe(images, "head").fit(tmp_path / "run")
    assert run.config.training.learning_rate == "auto"


def test_training_refuses_an_unresolved_auto(images, tmp_path):
    job = recipe(images, "full").prepare()
    with pytest.raises(ConfigError, match="must be a number"):
        job.train()


OVERRIDES = ["backbone.name=tiny", "data.image_size=32", "policy.name=head", "training.batch_size=8"]


@pytest.fixture
def file(images, tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(f"task: image_classification\ndata:\n  source: {images}\n", encoding="utf-8")
    return file


@pytest.mark.slow
def test_the_command_prints_the_rate_and_draws_the_curve(command, file, tmp_path):
    overrides = [*OVERRIDES, "policy.name=full"]
    result = command("find-lr", file, *overrides, "--out", tmp_path / "curve.png")
    assert (result.exit_code, result.stderr) == (0, "")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    line, drawn = result.stdout.splitlines()[-2:]
    assert line.startswith("training.learning_rate=") and "phase full" in line
    assert drawn == f"Curve: {tmp_path / 'curve.png'}"

    values = json.loads(command("find-lr", file, *overrides, "--json").stdout)
    assert line.startswith(f"training.learning_rate={values['learning_rate']:g}:")
    assert len(values["rates"]) == len(values["losses"]) == len(values["smoothed"])
    (image,) = (tmp_path / "work" / "runs").iterdir()
    assert image.name.startswith("find-lr-") and image.suffix == ".png"


def test_the_command_refuses_a_solved_head(refused, file):
    refused("find-lr", file, *OVERRIDES, needs=["policy.name=head", "no learning rate", "policy.head_solver=sgd"])


@pytest.mark.parametrize("name", ["curve.svg", "there.png"])
def test_the_command_draws_only_new_png_files(refused, file, tmp_path, name):
    (tmp_path / "there.png").write_bytes(b"")
    refused("find-lr", file, "--out", tmp_path / name, needs=[name, "Name a new file that ends in .png"])


def test_a_rate_that_is_neither_a_number_nor_auto(refused, file):
    needs = ["training.learning_rate", "valid number", "'auto'", "Received: 'fast'"]
    refused("run", file, "training.learning_rate=fast", needs=needs)
