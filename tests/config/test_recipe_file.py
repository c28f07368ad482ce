import re

import pytest

from keras_transfer.config.recipe_file import parse_recipe, read_recipe, write_recipe
from keras_transfer.config.schema import ImageClassificationConfig as RecipeConfig
from keras_transfer.errors import ConfigError

KNOWN = {
    "task": ["image_classification"],
    "backbone.name": ["efficientnet_lite0", "ResNet50"],
    "policy.name": ["head", "last_stages", "full", "lp_ft"],
    "export.formats": ["saved_model"],
}


def parse(**sections):
    return parse_recipe(
        {"task": "image_classification", "data": {"source": "x"}, **sections}, known=KNOWN, where="Recipe r"
    )


def mistakes(**sections):
    """The lines of the error below its first."""
    with pytest.raises(ConfigError) as caught:
        parse(**sections)
    first, *lines = str(caught.value).splitlines()
    count = "a mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    assert first == f"Recipe r has {count}:"
    return [line.strip() for line in lines]


def write(tmp_path, text):
    file = tmp_path / "r.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_defaults_of_a_recipe_that_names_only_its_data():
    config = parse()
    assert (config.seed, config.deterministic) == (0, False)
    assert (config.data.validation, config.data.test, config.data.stratify) == ("auto", 0.2, ["label"])
    assert (config.data.broken, config.data.resize, config.data.image_size) == ("error", "crop", None)
    assert (config.backbone.name, config.backbone.weights) == ("efficientnet_lite0", "pretrained")
    assert (config.training.precision, config.training.early_stopping) == ("float32", None)
    assert config.model_dump(mode="json")["export"] == {"formats": ["saved_model"]}


def test_a_recipe_cannot_be_changed_once_made():
    with pytest.raises(ValueError, match="frozen"):
        parse().training.epochs = 99


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("training.epochs=3", "training.epochs", 3),
        ("training.learning_rate=1e-3", "training.learning_rate", 0.001),
        ("training.learning_rate=2E-4", "training.learning_rate", 0.0002),
        ("training.learning_rate=1", "training.learning_rate", 1.0),
        ("training.early_stopping.patience=5", "training.early_stopping.patience", 5),
        ("training.clip_norm=null", "training.clip_norm", None),
        ("augmentation.quarter_turns=true", "augmentation.quarter_turns", True),
        ("data.stratify=[label, site]", "data.stratify", ["label", "site"]),
        ("export.formats=[]", "export.formats", []),
        ("data.source=a=b.csv", "data.source", "a=b.csv"),
        ("data.test=held_out.csv", "data.test", "held_out.csv"),
        ("data.test=0", "data.test", 0.0),
        ("head.hidden=128", "head.hidden", 128),
    ],
)
def test_an_override_sets_a_value_of_its_type(tmp_path, override, path, value):
    file = write(tmp_path, "task: image_classification\ndata: {source: x}\ntraining:\n")
    values = read_recipe(file, ["training.batch_size=7", override])
    found = parse_recipe(values, known=KNOWN, where="r")
    for key in path.split("."):
        found = getattr(found, key)
    assert found == value
    assert type(found) is type(value)


def test_the_last_of_two_overrides_of_a_key_counts(tmp_path):
    file = write(tmp_path, "task: image_classification\ndata: {source: x}\ntraining: {epochs: 1}\n")
    values = read_recipe(file, ["training.epochs=2", "training.epochs=3"])
    assert parse_recipe(values, known={}, where="r").training.epochs == 3


def test_yaml_reads_exponents_without_a_dot_as_numbers(tmp_path):
    values = read_recipe(write(tmp_path, "a: 1e-3\nb: -2E+3\nc: 1.5e3\nd: e5\ne: 1e\nf: 10\n"))
    assert values == {"a": 0.001, "b": -2000.0, "c": 1500.0, "d": "e5", "e": "1e", "f": 10}


def test_yaml_merges_a_section_into_another(tmp_path):
    values = read_recipe(write(tmp_path, "a: &base {x: 1, y: 2}\nb:\n  <<: *base\n  y: 3\n"))
    assert values["b"] == {"x": 1, "y": 3}


def test_every_mistake_is_reported_at_once_with_its_path_and_the_nearest_name():
    lines = mistakes(
        data={"source": "x", "tset": 0.2},
        backbone={"name": "efficientnet_lite"},
        policy={"name": "laststages", "stages": 0},
        training={"epoch": 3, "learning-rate": 0.1, "batch_size": "32"},
        trainin={},
    )
    assert lines == [
        "backbone.name: there is no 'efficientnet_lite'. Did you mean efficientnet_lite0?",
        "policy.name: there is no 'laststages'. Did you mean last_stages?",
        "data.tset: unknown key. Did you mean test or target?",
        "policy.stages: input should be greater than or equal to 1. Received: 0. "
        "Or: input should be a valid string. Received: 0.",
        "training.batch_size: input should be a valid integer. Received: '32'. "
        "Or: input should be 'auto'. Received: '32'.",
        "training.epoch: unknown key. Did you mean epochs?",
        "training.learning-rate: unknown key. Did you mean learning_rate?",
        "trainin: unknown key. Did you mean training?",
    ]


@pytest.mark.parametrize(
    ("sections", "start", "needs"),
    [
        ({"Task": 1}, "Task: unknown key.", ["task"]),
        ({1: 2}, "1: unknown key.", ["Known:", "training"]),
        (
            {"training": {"early_stopping": {"metrc": "loss"}}},
            "training.early_stopping.metrc: unknown",
            ["metric"],
        ),
        ({"training": None}, "training: expected a mapping.", ["None", "epochs"]),
        ({"training": [1]}, "training: expected a mapping.", ["[1]", "epochs"]),
        ({"backbone": "ResNet50"}, "backbone: expected a mapping.", ["'ResNet50'", "name, weights"]),
        ({"training": {"learning_rate": True}}, "training.learning_rate:", ["valid number", "True"]),
        ({"training": {"learning_rate": "0.1"}}, "training.learning_rate:", ["valid number", "'0.1'"]),
        ({"training": {"learning_rate": 0}}, "training.learning_rate:", ["greater than 0", "0."]),
        ({"training": {"epochs": 2.5}}, "training.epochs:", ["integer", "2.5"]),
        ({"training": {"epochs": True}}, "training.epochs:", ["integer", "True"]),
        ({"training": {"weight_decay": float("nan")}}, "training.weight_decay:", ["finite", "nan"]),
        ({"training": {"schedule": "cosin"}}, "training.schedule:", ["'cosine' or 'constant'", "'cosin'"]),
        ({"deterministic": "yes"}, "deterministic:", ["boolean", "'yes'"]),
        ({"seed": -1}, "seed:", ["greater than or equal to 0", "-1"]),
        ({"data": {"source": "x", "test": 1.5}}, "data.test:", ["less than 1", "Or:", "string", "1.5"]),
        ({"data": {"source": "x", "validation": [1]}}, "data.validation:", ["number", "Or:", "string", "[1]"]),
        ({"data": {"source": "x", "stratify": []}}, "data.stratify:", ["at least 1 item", "[]"]),
        ({"distribution": {"devices": "x"}}, "distribution.devices:", ["integer", "Or:", "list", "'x'"]),
        ({"data": {"source": "x", "image_size": 8}}, "data.image_size:", ["16", "8"]),
        ({"data": {}}, "data.source: missing.", ["Give it a value"]),
        ({"export": {"formats": ["onnx"]}}, "export.formats.0: there is no", ["saved_model", "'onnx'"]),
        ({"export": {"formats": [{"name": "onnx"}]}}, "export.formats.0: there is no", ["saved_model", "'onnx'"]),
        ({"export": {"formats": [{"opset": 17}]}}, "export.formats.0.name: missing", ["Give it a value"]),
        ({"export": {"formats": [17]}}, "export.formats.0:", ["Received: 17"]),
        ({"task": "image_clasification"}, "task: there is no", ["Did you mean image_classification?"]),
        (
            {"data": {"source": "x", "validation": 0}, "training": {"keep": "best"}},
            "training.keep: best needs",
            ["training.keep=last"],
        ),
    ],
)
def test_a_mistake_names_its_path_what_was_received_and_what_is_expected(sections, start, needs):
    with pytest.raises(ConfigError) as caught:
        parse_recipe(
            {"task": "image_classification", "data": {"source": "x"}} | sections, known=KNOWN, where="Recipe r"
        )
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == 1
    assert lines[0].startswith(f"  {start}")
    assert [need for need in needs if need not in lines[0]] == []


def test_a_key_of_a_mapping_is_named_without_the_types_that_were_tried():
    values = {"task": "text_classification", "data": {"source": "x"}, "head": {"label_texts": {"cat": 3}}}
    with pytest.raises(ConfigError, match=r"head\.label_texts\.cat: input should be a valid string. Received: 3"):
        parse_recipe(values, known={}, where="Recipe r")


def test_invalid_combinations_are_all_reported():
    training = {"keep": "best", "early_stopping": {"metric": "val_accuracy"}}
    lines = mistakes(data={"source": "x", "validation": 0}, training=training)
    assert [line.split(":")[0] for line in lines] == ["training.keep", "training.early_stopping.metric"]
    assert "data.validation is 0" in lines[1]


@pytest.mark.parametrize(
    ("validation", "training", "start"),
    [
        (0, {"keep_metric": "val_auroc"}, "training.keep_metric: val_auroc is measured on validation rows"),
        (0.2, {"keep": "last", "keep_metric": "val_auroc"}, "training.keep_metric: training.keep=last uses no metric"),
    ],
)
def test_a_monitored_metric_that_cannot_be_measured_or_is_not_used_is_refused(validation, training, start):
    (line,) = mistakes(data={"source": "x", "validation": validation}, training=training)
    assert line.strip().startswith(start)


def test_the_training_loss_can_choose_without_validation_rows():
    config = parse(data={"source": "x", "validation": 0}, training={"keep_metric": "loss"})
    assert (config.training.keep, config.training.keep_metric) == ("auto", "loss")


@pytest.mark.parametrize(
    ("training", "few", "many"),
    [
        pytest.param({}, False, True, id="default"),
        pytest.param({"keep": "best"}, True, True, id="best"),
        pytest.param({"keep": "last"}, False, False, id="last"),
        pytest.param({"keep_metric": "val_auroc"}, True, True, id="a metric of one's own"),
        pytest.param({"early_stopping": {}}, True, True, id="early stopping"),
    ],
)
def test_few_validation_rows_select_no_epoch_unless_the_recipe_asks_for_it(training, few, many):
    config = parse(data={"source": "x"}, training=training).training
    assert (config.keeps_best(99), config.keeps_best(100)) == (few, many)


def test_validation_rows_are_optional_if_nothing_needs_them():
    config = parse(
        data={"source": "x", "validation": 0}, training={"keep": "last", "early_stopping": {"metric": "loss"}}
    )
    assert config.data.validation == 0.0


def test_a_huge_value_does_not_make_a_huge_message():
    value = ["x" * 1000]
    for _ in range(40):
        value = [value] * 9
    (line,) = mistakes(seed=value)
    assert len(line) < 500


def test_a_written_recipe_reads_back_equal_and_spells_out_every_default(tmp_path):
    config = parse(
        seed=7,
        data={"source": "Bücher/a b.csv", "test": "t.csv", "stratify": ["label", "site"], "weight": "w"},
        training={"learning_rate": 1e-5, "early_stopping": {"patience": 2}, "clip_norm": None},
        export={"formats": []},
        backbone={"name": "ResNet50", "weights": "none"},
    )
    file = tmp_path / "recipe.yaml"
    write_recipe(config, file)
    assert parse_recipe(read_recipe(file), known=KNOWN, where="r") == config
    written = re.findall(r"^(\w+):", file.read_text(encoding="utf-8"), re.MULTILINE)
    assert written == list(RecipeConfig.model_fields)
    assert "label_smoothing: 0.0" in file.read_text(encoding="utf-8")


def test_contradictions_are_reported_along_with_other_mistakes():
    values = {
        "task": "image_classification",
        "data": {"source": "x", "validation": 0.0, "tset": 0.1},
        "training": {"epochs": 0, "keep": "best"},
        "augmentation": {"horizontal_flip": False, "predict_flips": True},
    }
    with pytest.raises(ConfigError, match="4 mistakes") as caught:
        parse_recipe(values, known={}, where="It")
    for path in ("data.tset", "training.epochs", "training.keep", "augmentation.predict_flips"):
        assert f"  {path}: " in str(caught.value)


def test_a_name_is_short_for_a_section_and_as_an_override_drops_the_keys_of_the_file(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text(
        "task: image_classification\ndata: {source: x}\nbackbone: resnet50\npolicy: {name: last_stages, stages: 3}\n"
    )
    config = parse_recipe(read_recipe(file), known={}, where="r.yaml")
    assert (config.backbone.name, config.policy.name, config.policy.stages) == ("resnet50", "last_stages", 3)
    config = parse_recipe(read_recipe(file, ["policy=full"]), known={}, where="r.yaml")
    assert config.policy.name == "full"
    with pytest.raises(ConfigError, match=r"policy\.stages: full does not use this key.*policy=full drops"):
        parse_recipe(read_recipe(file, ["policy.name=full"]), known={}, where="r.yaml")
