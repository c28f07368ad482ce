"""Whole runs of the policies, on a backbone that is quick."""

import json

import keras
import numpy as np
import pytest

from keras_transfer import ImageClassification, PolicyError
from keras_transfer.networks.lora import find_adapters
from keras_transfer.training.callbacks import BestWeights

pytestmark = pytest.mark.usefixtures("tiny")


def recipe(images, policy, **sections):
    training = {"epochs": 2, "batch_size": 8, "keep": "last", **sections.pop("training", {})}
    return ImageClassification(
        {"source": str(images), "image_size": 32},
        backbone="tiny",
        policy=policy,
        training=training,
        export={"formats": []},
        report=False,
        **sections,
    )


def history(run):
    return [json.loads(line) for line in (run.folder / "history.jsonl").read_text().splitlines()]


def moved(job, before):
    """Names of the backbone's weights that have changed."""
    after = job.model.backbone.network.weights
    return {weight.path for weight, old in zip(after, before, strict=True) if not np.array_equal(weight, old)}


def test_few_rows_train_in_small_batches_unless_a_size_is_given(images):
    few, given = (recipe(images, "head", training={"batch_size": size}).prepare() for size in ("auto", 32))
    rows = len(few.splits.train)
    assert few.config.training.batch_size == 8 and few.steps_per_epoch == -(-rows // 8) > 1
    assert given.config.training.batch_size == 32 and given.steps_per_epoch == -(-rows // 32)


@pytest.mark.parametrize(
    ("policy", "kinds"),
    [
        ("batch_norm", {"gamma", "beta", "moving_mean", "moving_variance"}),
        pytest.param("bias", {"bias", "beta", "moving_mean", "moving_variance"}, marks=pytest.mark.slow),
        pytest.param({"name": "bias", "batch_norm": "frozen"}, {"bias"}, marks=pytest.mark.slow),
    ],
    ids=["batch_norm", "bias", "bias with frozen BatchNorm"],
)
def test_a_policy_trains_its_kind_of_weights_and_no_other(images, tmp_path, policy, kinds):
    job = recipe(images, policy).prepare()
    before = job.model.backbone.network.get_weights()
    job.train()
    assert {path.split("/")[-1] for path in moved(job, before)} == kinds


def test_cross_validation_of_training_rows_divides_no_group(images, tmp_path):
    files = sorted(path.relative_to(images) for path in images.rglob("*.*"))
    rows = [f"{file},{file.parent},{file.parent}-{int(file.stem) // 4}" for file in files]
    table = tmp_path / "rows.csv"
    table.write_text("\n".join(["path,label,session", *rows]))
    data = {"source": str(table), "root": str(images), "group": "session", "image_size": 32}
    job = ImageClassification(data, backbone="tiny", policy="head", export={"formats": []}).prepare()
    sessions = np.array([f"{name.split('/')[0]}-{int(name[-7:-4]) // 4}" for name in job.splits.train.examples.names])
    assert len(job.folds) > 1
    for train, held_out in job.folds:
        assert not set(sessions[train]) & set(sessions[held_out])


def test_class_weights_multiply_the_weights_of_examples(images):
    training = {"class_weights": {"dog": 0.5, "cat": 3.0}}
    job = recipe(images, "full", training=training).prepare()
    assert job.config.training.class_weights == training["class_weights"]
    _, targets, weights = next(iter(job.training_batches(range(1))))
    dogs = np.asarray(targets)[:, 1]
    assert 0 < dogs.sum() < len(dogs)
    assert np.asarray(weights).tolist() == np.where(dogs == 1.0, 0.5, 3.0).tolist()


def test_a_policy_that_would_train_nothing_is_refused_before_anything_is_written(images, tmp_path):
    with pytest.raises(PolicyError, match=r"policy\.name=layer_norm has nothing to train: tiny has no such weights"):
        recipe(images, "layer_norm").fit(tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_lora_trains_its_adapters_and_serves_ordinary_layers(images, tmp_path):
    job = recipe(images, {"name": "lora", "rank": 2, "stages": 2}).prepare()
    before = job.model.backbone.network.get_weights()
    job.train()
    assert {path.split("/")[-1] for path in moved(job, before)} == {"lora_kernel_a", "lora_kernel_b"}
    assert len(find_adapters(job.model.backbone.stages)) == 2

    run = recipe(images, {"name": "lora", "rank": 2, "stages": 2}).fit(tmp_path / "run")
    assert not any("lora" in weight.path for weight in run.model.weights)
    assert run.evaluate().loss == pytest.approx(run.reports["test"].loss, abs=1e-4)
    with np.load(tmp_path / "run" / "adapters.npz") as adapters:
        assert set(adapters) == {"0.a", "0.b", "1.a", "1.b"}
        assert np.abs(adapters["1.b"]).max() > 0


@pytest.mark.slow
def test_gradual_releases_stage_after_stage_and_records_one_phase_each(images, tmp_path):
    policy = {"name": "gradual", "groups": 2, "group_epochs": 1}
    run = recipe(images, policy).fit(tmp_path / "run")
    phases = [(line["phase"], line["epoch"]) for line in history(run)]
    assert phases == [("head", 1), ("group_1", 1), ("group_2", 1), ("group_2", 2)]


@pytest.mark.slow
def test_weights_that_continue_training_keep_their_slots(images, tmp_path, monkeypatch):
    import keras_transfer.job.job

    optimizers = []
    original = keras_transfer.job.job.train_phase

    def watched(*arguments, **options):
        optimizers.append(original(*arguments, **options))
        return optimizers[-1]

    monkeypatch.setattr(keras_transfer.job.job, "train_phase", watched)
    job = recipe(images, {"name": "gradual", "groups": 2, "group_epochs": 1}).prepare()
    job.train()
    first, second = optimizers
    assert int(first.iterations) == 3
    before = keras.ops.convert_to_numpy(second._steps_before)
    # Those of the first group and the head had three steps, those of the second none.
    assert sorted(set(before.tolist())) == [0, 3]
    assert (before == 3).sum() == len(first._trainable_variables)


def test_lp_ft_starts_with_the_solved_head_and_reports_the_gain_of_fine_tuning(images, tmp_path):
    run = recipe(images, "lp_ft").fit(tmp_path / "run")
    first = history(run)[0]
    assert (first["phase"], first["epoch"]) == ("head", 1)
    assert first["strength"] > 0
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "seconds"} <= set(first)
    report = run.reports["test"]
    assert report.gain.difference == pytest.approx(report.accuracy - report.gain.head_value)
    low, high = report.gain.interval
    assert low <= report.gain.difference <= high
    assert 0 < report.gain.head_seconds < report.gain.seconds


@pytest.mark.slow
def test_the_head_policy_is_the_solved_head(images, tmp_path):
    run = recipe(images, "head").fit(tmp_path / "run")
    assert [line["phase"] for line in history(run)] == ["head"]
    assert run.reports["test"].gain is None
    trained = recipe(images, {"name": "head", "head_solver": "sgd"}).fit(tmp_path / "sgd")
    assert len(history(trained)) == 2
    # Solved is the optimum that two epochs only approach.
    assert history(run)[0]["loss"] < history(trained)[-1]["loss"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "sections",
    [{"head": {"hidden": 4}}, pytest.param({"training": {"label_smoothing": 0.1}}, marks=pytest.mark.slow)],
    ids=str,
)
def test_a_head_that_cannot_be_solved_is_trained(images, tmp_path, sections):
    run = recipe(images, "head", **sections).fit(tmp_path / "run")
    assert len(history(run)) == 2


@pytest.mark.slow
def test_averaged_weights_are_saved_and_evaluated(images, tmp_path, monkeypatch):
    seen = []
    original = BestWeights.on_epoch_end

    def watched(self, epoch, logs=None):
        seen.append(self.model.get_weights())
        original(self, epoch, logs)

    monkeypatch.setattr(BestWeights, "on_epoch_end", watched)
    run = recipe(images, "full", training={"ema": 0.9}).fit(tmp_path / "run")
    kernel = run.model.get_layer("head").get_layer("head_logits").kernel
    raw = next(weight for weight in seen[-1] if weight.shape == kernel.shape)
    assert not np.allclose(kernel, raw, atol=1e-7)
    # The last epoch was validated with the weights that are saved.
    assert run.evaluate(split="validation").loss == pytest.approx(history(run)[-1]["val_loss"], abs=1e-4)


@pytest.mark.slow
def test_lower_stages_learn_more_slowly(images, tmp_path):
    job = recipe(
        images, {"name": "full", "batch_norm": "frozen", "stage_decay": 0.1}, training={"weight_decay": 0.0}
    ).prepare()
    before = [[np.array(weight) for weight in stage.weights] for stage in job.model.backbone.stages]
    job.train()
    # Adam's steps are of one size, whatever the gradient's.
    distances = [
        np.abs(stage.layers[0].kernel - next(w for w in old if w.ndim == 4)).mean()
        for stage, old in zip(job.model.backbone.stages, before, strict=True)
        if hasattr(stage.layers[0], "kernel")
    ]
    ratios = np.array(distances[1:]) / np.array(distances[:-1])
    assert (ratios > 3).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "augmentation",
    [
        {"cutmix": 1.0, "erase": 0.5},
        pytest.param({"mixup": 0.4}, marks=pytest.mark.slow),
        pytest.param({"randaugment": 5}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_run_with_mixed_images_learns(images, tmp_path, augmentation):
    run = recipe(images, {"name": "last_stages", "stages": 2}, augmentation=augmentation).fit(tmp_path / "run")
    assert np.isfinite([line["loss"] for line in history(run)]).all()
