"""Mistakes in a recipe or an override: all reported at once, with the next step, before anything is read or written."""

import sys

import pytest

TEXT = "task: image_classification\ndata:\n  source: {source}\n  image_size: 32\nbackbone:\n  weights: none\n"


@pytest.fixture
def recipe(images, tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(TEXT.format(source=images), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("overrides", "needs"),
    [
        (["training.epoch=3"], ["training.epoch: unknown key", "Did you mean epochs?"]),
        (["trainin.epochs=3"], ["trainin: unknown key", "Did you mean training?"]),
        (["Training.epochs=3"], ["Training: unknown key", "Did you mean training?"]),
        (["training.batch-size=3"], ["training.batch-size: unknown key", "Did you mean batch_size?"]),
        (["training.epochs=three"], ["training.epochs", "integer", "Received: 'three'"]),
        (["training.epochs=0"], ["training.epochs", "greater than or equal to 1", "Received: 0"]),
        (["training.learning_rate=yes"], ["training.learning_rate", "number", "Received: True"]),
        (["training.learning_rate=.inf"], ["training.learning_rate", "finite", "Received: inf"]),
        (["training=5"], ["training: expected a mapping", "Received: 5", "epochs"]),
        (["data.test=1.5"], ["data.test", "less than 1", "Received: 1.5"]),
        (["data.validation=0", "training.keep=best"], ["training.keep", "data.validation is 0", "training.keep=last"]),
        (
            ["backbone.name=efficientnet_lit0"],
            ["backbone.name", "'efficientnet_lit0'", "Did you mean efficientnet_lite0"],
        ),
        (["backbone.name=nonsense"], ["backbone.name", "'nonsense'", "Known:", "efficientnet_lite0"]),
        (["policy.name=lpft"], ["policy.name", "'lpft'", "Did you mean lp_ft"]),
        (["policy.name=lora", "policy.rank=0"], ["policy.rank", "greater than or equal to 1", "Received: 0"]),
        (["policy.rank=4"], ["policy.rank: lp_ft does not use this key. It is used by: lora."]),
        (["policy.name=full", "policy.stages=3"], ["policy.stages: full does not use this key", "last_stages, lp_ft"]),
        (["policy.name=full", "policy.head_epochs=9"], ["policy.head_epochs: full does not use this key", "gradual"]),
        (["policy.name=head", "policy.stage_decay=0.5"], ["policy.stage_decay: head does not use this key", "full"]),
        (["policy.name=batch_norm", "policy.batch_norm=frozen"], ["policy.batch_norm: batch_norm does not use this"]),
        (["policy.name=nonsense", "policy.rank=4"], ["policy.name", "Known: auto", "policy.rank: this key is used by"]),
        (["policy.name=5"], ["policy.name: expected a name. Received: 5.", "last_stages"]),
        (["policy.stagse=3"], ["policy.stagse: unknown key", "Did you mean stages"]),
        (["policy=[lora]"], ["policy: expected a mapping. Received: ", "Keys: name, fine_tune_rate"]),
        (["policy.stage_decay=0"], ["policy.stage_decay", "greater than 0", "Received: 0"]),
        (["policy.stage_decay=1.5"], ["policy.stage_decay", "less than or equal to 1", "Received: 1.5"]),
        (["policy.head_solver=solve", "head.hidden=8"], ["policy.head_solver", "head.hidden is set", "sgd"]),
        (["policy.head_solver=solve", "training.label_smoothing=0.1"], ["policy.head_solver", "label_smoothing"]),
        (["cache.views=-1"], ["cache.views", "greater than or equal to 0", "Received: -1"]),
        (["cache.dtype=float8"], ["cache.dtype", "'float32' or 'float16'", "Received: 'float8'"]),
        (["augmentation.mixup=0.2", "training.batch_size=1"], ["training.batch_size", "mixup", "Use 2 or more"]),
        (["task=image_clasification"], ["task", "Did you mean image_classification"]),
        (["export.formats=[onxx]"], ["export.formats.0", "there is no 'onxx'", "Did you mean onnx"]),
        (["training.epochs"], ["KEY=VALUE", "Received: 'training.epochs'", "training.epochs=3"]),
        (["=3"], ["KEY=VALUE", "Received: '=3'"]),
        (["training..epochs=3"], ["KEY=VALUE", "Received: 'training..epochs=3'"]),
        (["task.name=x"], ["'task.name=x'", "task is a value, not a section"]),
        (["training.epochs=[1"], ["training.epochs=[1", "Fix the YAML there"]),
        (["seed=!!python/name:os.system"], ["YAML tags", "refused"]),
    ],
)
def test_a_wrong_override(refused, recipe, overrides, needs):
    refused("run", recipe, *overrides, "--out", "run", needs=needs)


def test_several_mistakes_are_all_reported_at_once(refused, recipe):
    overrides = ["training.epoch=3", "training.batch_size=many", "policy.name=lpft", "hed.dropout=0.1", "seed=-1"]
    message = refused("check", recipe, *overrides, most_lines=6)
    first, *lines = message.splitlines()
    assert first == f"Error: Recipe {recipe} has 5 mistakes:"
    paths = {line.split(":")[0].strip() for line in lines}
    assert paths == {"training.epoch", "training.batch_size", "policy.name", "hed", "seed"}


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        ("task: image_classification\ntask: x\n", ["line 2", "duplicate key 'task'"]),
        ("data:\n  source: a\n  source: b\n", ["line 3", "duplicate key 'source'"]),
        ("task: !!python/object/apply:os.system ['touch pwned']\n", ["line 1", "YAML tags", "refused"]),
        ("task: !own x\n", ["line 1", "YAML tags", "refused"]),
        ("task: [image\n", ["line 2", "Fix the YAML there"]),
        ("task: a: b\n", ["line 1", "Fix the YAML there"]),
        ("task:\n\t- x\n", ["line 2", "Fix the YAML there"]),
        ("", ["is not a recipe", "task:"]),
        ("- a\n- b\n", ["is not a recipe", "task:"]),
        ("just words\n", ["is not a recipe", "task:"]),
        ("seed: 2020-13-45\n", ["is not YAML"]),
        ("[" * 5000, ["is not YAML"]),
        ("data: {source: x}\n", ["task: missing"]),
        ("task: image_classification\n", ["data: missing"]),
        ("task: image_classification\ndata:\n", ["data: expected a mapping", "source"]),
        ("1: 2\ntask: image_classification\ndata: {source: x}\n", ["1: unknown key"]),
    ],
)
def test_a_file_that_is_not_a_recipe(refused, tmp_path, text, needs):
    file = tmp_path / "own.yaml"
    file.write_text(text, encoding="utf-8")
    refused("run", file, "--out", "run", needs=[file, *needs])


@pytest.mark.parametrize("content", [b"\xff\xfe\x00binary", b"task: \x00\n", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_not_text(refused, tmp_path, content):
    file = tmp_path / "own.yaml"
    file.write_bytes(content)
    refused("check", file, needs=[file, "UTF-8"])


@pytest.mark.parametrize("verb", ["run", "check", "show"])
def test_an_unknown_recipe_is_refused_with_the_nearest_name(refused, verb):
    refused(verb, "image/quickstrat", needs=["'image/quickstrat'", "Did you mean image/quickstart"])


def test_a_folder_is_not_a_recipe(refused, images):
    refused("check", images, needs=[images, "no such file"])


def test_a_budget_requires_auto_and_auto_accepts_one_rate(refused, recipe):
    refused(
        "check",
        recipe,
        "policy.name=head",
        "policy.budget_seconds=60",
        needs=["policy.budget_seconds: head does not use this key. It is used by: auto."],
    )
    refused(
        "check",
        recipe,
        "policy.name=auto",
        "policy.budget_seconds=0",
        needs=["policy.budget_seconds", "greater than 0"],
    )
    refused("check", recipe, "policy.name=auto", "training.learning_rate=auto", needs=["Give it a number"])


def test_more_stages_than_there_are(refused, recipe):
    overrides = ["policy.name=last_stages", "policy.stages=99"]
    refused("run", recipe, *overrides, "--out", "run", needs=["policy.stages", "Received: 99", "policy.name=full"])


@pytest.mark.parametrize(
    ("policy", "key"), [("gradual", "policy.groups"), ("lora", "policy.stages")], ids=["gradual", "lora"]
)
def test_more_groups_or_adapted_stages_than_there_are(refused, recipe, policy, key):
    overrides = [f"policy.name={policy}", f"{key}=99"]
    refused("run", recipe, *overrides, "--out", "run", needs=[key, "stages", "Received: 99", "Use 1 to 18"])


def test_a_policy_that_trains_nothing(refused, recipe):
    needs = ["policy.name=layer_norm has nothing to train", "efficientnet_lite0", "last_stages"]
    refused("run", recipe, "policy.name=layer_norm", "--out", "run", needs=needs)


@pytest.mark.parametrize(
    ("name", "content", "needs"),
    [
        ("absent.h5", None, ["There is no weights file", "absent.h5"]),
        ("text.weights.h5", b"no weights at all", ["text.weights.h5"]),
        ("text.keras", b"no model at all", ["text.keras"]),
        ("model.onnx", b"x", [".onnx", "model.onnx", ".weights.h5"]),
    ],
)
def test_weights_that_cannot_be_loaded(refused, recipe, tmp_path, name, content, needs):
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    refused("run", recipe, f"backbone.weights={file}", "--out", "run", needs=needs)


def test_an_image_size_that_the_backbone_does_not_support(refused, recipe):
    refused("run", recipe, "data.image_size=16", "--out", "run", needs=["image_size=16", "32"])


def test_mistakes_in_trackers_are_named_all_at_once(refused, tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(
        "task: image_classification\ndata: {source: solar_cells}\n"
        "trackers: [tensorbord, {name: mlflow, experimnt: a, tracking_uri: 3}, {name: wandb, mode: ofline}]\n"
    )
    refused(
        "check",
        file,
        needs=[
            "trackers.0: there is no 'tensorbord'. Did you mean tensorboard?",
            "trackers.1.experimnt: unknown key. Did you mean experiment?",
            "trackers.1.tracking_uri: input should be a valid string. Received: 3.",
            "trackers.2.mode: input should be 'online', 'offline' or 'disabled'. Received: 'ofline'.",
        ],
    )


def test_a_tracker_whose_package_is_missing_is_named_by_check_too(refused, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)  # as if it were not installed
    for command in ("check", "run"):
        refused(
            command, "image/quickstart", "trackers=[mlflow]", needs=["mlflow", "pip install 'keras-transfer[mlflow]'"]
        )
