"""Whole runs on labels and numbers, on a backbone that is quick: trained, judged, served, and read back."""

import json

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import yaml
from PIL import Image

from keras_transfer import ImageClassification, Run, TextClassification

pytestmark = pytest.mark.usefixtures("tiny")

KINDS = {
    "multilabel": {"target": "multilabel", "label": ["bright", "red"]},
    "number": {"target": "number", "label": "level"},
}
ONE_OF_THEM = ["multilabel", pytest.param("number", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """64 images of one colour with noise, labelled by whether they are bright and red, and by how bright they are."""
    folder = tmp_path_factory.mktemp("targets")
    random = np.random.default_rng(0)
    rows = []
    for number in range(64):
        level, red = random.uniform(40, 200), number % 3 == 0
        pixels = level + random.normal(0, 8, (32, 32, 3)) + (np.array([40, 0, -20]) if red else 0)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number:02}.png")
        rows.append(
            {
                "path": f"{number:02}.png",
                "bright": int(level > 120),
                "red": int(red),
                "level": 1000 + 10 * level,
                "w": 1.0,
            }
        )
    rows = pd.DataFrame(rows)
    rows["tilt"] = rows["level"] / 1e4 - 0.5 * rows["red"]
    rows.to_csv(folder / "t.csv", index=False)
    return folder / "t.csv"


def recipe(table, kind, policy="head", data=None, **sections):
    training = {"epochs": 2, "batch_size": 8, "learning_rate": 0.01, **sections.pop("training", {})}
    return ImageClassification(
        {"source": str(table), "image_size": 32, "test": 0.25, "validation": 0.25, **KINDS[kind], **(data or {})},
        backbone="tiny",
        policy=policy,
        training=training,
        **{"export": {"formats": []}, "report": False, **sections},
    )


def history(run):
    return [json.loads(line) for line in (run.folder / "history.jsonl").read_text().splitlines()]


def as_in_the_run(run):
    """Evaluated again, the run matches what it recorded."""
    again, recorded = Run(run.folder).evaluate(), run.reports["test"]
    assert again.loss == pytest.approx(recorded.loss, abs=1e-4)
    assert again.to_json().keys() == recorded.to_json().keys() - {"gain"}
    return recorded


@pytest.mark.parametrize("kind", ONE_OF_THEM)
@pytest.mark.parametrize(
    "policy",
    [
        pytest.param("lp_ft", marks=pytest.mark.slow),
        pytest.param({"name": "lora", "rank": 2}, marks=pytest.mark.slow),
        pytest.param({"name": "last_stages", "stages": 2}, marks=pytest.mark.slow),
        pytest.param("full", marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_every_policy_trains(table, tmp_path, kind, policy):
    run = recipe(table, kind, policy, training={"epochs": 1}).fit(tmp_path / "run")
    report = as_in_the_run(run)
    metric = {"multilabel": "f1", "number": "mae"}[kind]
    assert {"loss", metric, "val_loss", f"val_{metric}"} <= set(history(run)[-1])
    assert (run.folder / "history.png").stat().st_size > 1000
    assert (report.gain is not None) == (policy == "lp_ft")


def test_labels_are_learned_and_predicted_by_thresholds_of_the_validation_rows(table, tmp_path):
    run = recipe(table, "multilabel", head={"threshold": {"metric": "f1"}}).fit(tmp_path / "run")
    report = as_in_the_run(run)
    assert report.choice.metric == "f1"
    assert report.mean_average_precision > 0.7 and report.macro_f1 > 0.7  # the backbone is random
    kept = json.loads((run.folder / "head.json").read_text())["thresholds"]
    assert [(label.name, label.threshold) for label in report.labels] == list(kept.items())
    assert set(kept) == {"bright", "red"} and set(kept.values()) != {0.5}
    files = [table.parent / name for name in ("00.png", "01.png")]
    for prediction in run.predict(files):
        assert prediction.labels == tuple(name for name, p in prediction.probabilities.items() if p >= kept[name])


@pytest.mark.slow
def test_without_validation_rows_thresholds_are_one_half(table, tmp_path, monkeypatch):
    data, training = {"validation": 0.0}, {"keep": "last"}
    # Few training rows, and those of a solved head, are held out in folds, which calibrate the network.
    monkeypatch.setattr("keras_transfer.job.job.MOST_ROWS", 0)
    run = recipe(table, "multilabel", "full", data=data, training=training).fit(tmp_path / "run")
    assert [label.threshold for label in run.reports["test"].labels] == [0.5, 0.5]
    calibration = run.reports["test"].calibration
    assert run.head.calibration is calibration.fitted is None and not calibration.after
    assert calibration.before["log_loss"].value == pytest.approx(run.reports["test"].loss)


def test_numbers_are_learned_and_predicted_in_their_own_units(table, tmp_path):
    run = recipe(table, "number").fit(tmp_path / "run")
    (level,) = as_in_the_run(run).numbers
    assert level.r2 > 0.8 and level.rmse < 250
    assert 1300 < run.predict([table.parent / "00.png"])[0].values["level"] < 3100
    train = json.loads((run.folder / "data.json").read_text())["splits"]["train"]
    kept = json.loads((run.folder / "head.json").read_text())
    assert kept["mean"]["level"] == pytest.approx(train["numbers"]["level"]["mean"], rel=1e-5)
    # The metrics of an epoch match the report.
    assert history(run)[-1]["val_mae"] == pytest.approx(run.reports["validation"].mae, rel=1e-4)
    assert history(run)[-1]["val_loss"] == pytest.approx(run.reports["validation"].loss, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ONE_OF_THEM)
def test_the_saved_model_matches_predict(table, tmp_path, kind):
    run = recipe(table, kind, export={"formats": ["saved_model"]}, head={"pooling": "both"}).fit(tmp_path / "run")
    serve = tf.saved_model.load(str(run.folder / "export" / "saved_model" / "1")).signatures["serving_default"]
    files = sorted(table.parent.glob("*.png"))[:9]
    answer = serve(image_bytes=tf.constant([file.read_bytes() for file in files]))
    answer = {name: tensor.numpy() for name, tensor in answer.items()}
    predictions = run.predict(files)
    if kind == "number":
        assert set(answer) == {"values", "standard_deviations", "names", "ok"}
        np.testing.assert_allclose(answer["standard_deviations"], [run.head.calibration.values] * 9, rtol=1e-6)
        np.testing.assert_allclose(answer["values"][:, 0], [p.values["level"] for p in predictions], rtol=1e-5)
        assert answer["names"].tolist() == [[b"level"]] * 9
        return
    assert set(answer) == {"probabilities", "present", "names", "ok"}
    ours = [list(p.probabilities.values()) for p in predictions]
    np.testing.assert_allclose(answer["probabilities"], ours, atol=1e-5)
    for present, names, prediction in zip(answer["present"], answer["names"], predictions, strict=True):
        assert tuple(name.decode() for name in names[present]) == prediction.labels


@pytest.mark.slow
def test_several_numbers_and_flips_at_prediction(table, tmp_path):
    run = recipe(
        table,
        "number",
        {"name": "lp_ft", "stages": 2},
        data={"label": ["level", "tilt"]},
        head={"loss": "huber"},
        augmentation={"predict_flips": True, "mixup": 0.2},
    ).fit(tmp_path / "run")
    report = as_in_the_run(run)
    assert [number.name for number in report.numbers] == ["level", "tilt"]
    assert [line["phase"] for line in history(run)] == ["head", "head", "fine_tune", "fine_tune"]  # huber is not solved


@pytest.mark.slow
def test_a_separator_and_a_separate_test_source(table, tmp_path):
    rows = pd.read_csv(table)
    tags = [";".join(name for name in ("bright", "red") if row[name]) for _, row in rows.iterrows()]
    rows = pd.DataFrame({"path": rows["path"], "tags": tags})
    rows[:40].to_csv(table.parent / "tags.csv", index=False)
    rows[40:].to_csv(table.parent / "more.csv", index=False)
    data = {"label": "tags", "separator": ";", "test": str(table.parent / "more.csv")}
    run = recipe(table.parent / "tags.csv", "multilabel", data=data).fit(tmp_path / "run")
    report = as_in_the_run(run)
    assert (report.n, [label.name for label in report.labels]) == (24, ["bright", "red"])
    assert run.evaluate(str(table.parent / "tags.csv")).n == 40


@pytest.mark.slow
@pytest.mark.parametrize("kind", ONE_OF_THEM)
def test_auto_chooses_by_the_losses_of_the_target(table, tmp_path, kind):
    run = recipe(table, kind, {"name": "auto", "stages": 2}, training={"keep": "last"}).fit(tmp_path / "run")
    choice = json.loads((run.folder / "choice.json").read_text())
    figure = {"multilabel": "mean_average_precision", "number": "mae"}[kind]
    assert set(choice["trials"]["head"]) == {"loss", figure}
    assert choice["policy"] == run.config.policy.name in ("head", "last_stages", "lp_ft")
    counted = {"multilabel": "of 36 examples with each of 2 labels;", "number": "36 examples of 1 number;"}[kind]
    assert counted in choice["reason"]


@pytest.mark.parametrize("kind", ONE_OF_THEM)
@pytest.mark.slow
def test_early_stopping_uses_the_direction_of_the_metric(table, tmp_path, kind, monkeypatch):
    import keras

    modes = []
    original = keras.callbacks.EarlyStopping.__init__
    monkeypatch.setattr(
        keras.callbacks.EarlyStopping,
        "__init__",
        lambda self, **options: (modes.append(options["mode"]), original(self, **options))[1],
    )
    metric = {"multilabel": "val_f1", "number": "val_mae"}[kind]
    training = {"epochs": 1, "early_stopping": {"metric": metric, "patience": 1}}
    recipe(table, kind, {"name": "last_stages", "stages": 1}, training=training).fit(tmp_path / "run")
    assert modes == [{"multilabel": "max", "number": "min"}[kind]]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ONE_OF_THEM)
def test_the_range_test_finds_a_rate(table, kind):
    policy = {"name": "head", "head_solver": "sgd"}
    found = recipe(table, kind, policy, training={"batch_size": 36}).find_learning_rate()
    assert 1e-6 < found.learning_rate < 10


@pytest.mark.slow
def test_training_on_cached_features_matches_training_the_whole_network(table, tmp_path):
    # A bias before a BatchNorm that adapts has no gradient but rounding, of which Adam makes whole steps.
    policy = {"name": "last_stages", "stages": 2, "batch_norm": "frozen"}
    runs = [
        recipe(table, "number", policy, cache={"views": views}, augmentation={"horizontal_flip": False}).fit(
            tmp_path / str(views)
        )
        for views in (0, 1)
    ]
    for a, b in zip(*(run.model.get_weights() for run in runs), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ONE_OF_THEM)
def test_the_command_line_prints_labels_and_numbers(table, tmp_path, command, kind):
    files = [table.parent / "00.png", table.parent / "01.png"]
    file, out = tmp_path / "recipe.yaml", tmp_path / "run"
    sections = {
        "task": "image_classification",
        "data": {"source": str(table), "image_size": 32, **KINDS[kind]},
        "backbone": {"name": "tiny"},
        "policy": {"name": "head"},
        "export": {"formats": []},
        "report": False,
    }
    file.write_text(yaml.safe_dump(sections))
    done = command("run", file, "--out", out)
    assert done.exit_code == 0, done.output
    expected = {"multilabel": "2 labels; rows", "number": "1 number; rows"}[kind]
    assert expected in done.output
    assert {"multilabel": "mean average precision", "number": "R2"}[kind] in done.output
    (first, _) = json.loads(command("predict", out, *files, "--json").output)
    assert set(first) == {"input", *{"multilabel": ("labels", "probabilities"), "number": ("values",)}[kind]}
    line = command("predict", out, files[0]).output
    assert line.startswith(f"{files[0]}\t")
    values = json.loads(command("evaluate", out, "--json").output)["test"]
    recorded = json.loads((out / "metrics.json").read_text())["test"]
    # The run judged features, in whose network convolutions have taken over BatchNorm: the same up to rounding.
    assert values.keys() == recorded.keys()
    fitted = [one["calibration"].pop("calibrated_on") for one in (values, recorded)]
    assert fitted[0] == fitted[1] is not None
    assert keras.tree.flatten(values) == pytest.approx(keras.tree.flatten(recorded), rel=1e-4, abs=1e-4)


@pytest.mark.slow
def test_texts_have_labels_and_numbers_too(table, tmp_path, preset):
    random = np.random.default_rng(0)
    rows = []
    for number in range(48):
        words = [*(["cat"] * (number % 2)), *(["dog"] * (number % 3 == 0)), "the"]
        text = " ".join([*words, *random.choice(["the", "a", "ball"], 5)])
        rows.append(
            {"text": text, "cat": number % 2, "dog": int(number % 3 == 0), "stars": 1 + number % 2 + number % 3}
        )
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    common = {"backbone": preset, "policy": "head", "validation": 0.25, "test": 0.25}
    labels = TextClassification(str(tmp_path / "t.csv"), target="multilabel", label=["cat", "dog"], **common)
    run = labels.fit(tmp_path / "labels")
    assert as_in_the_run(run).mean_average_precision > 0.9
    without, cat, dog = (p.probabilities for p in run.predict(["the ball a", "cat the ball", "dog the ball"]))
    assert cat["cat"] > without["cat"] and dog["dog"] > without["dog"]
    numbers = TextClassification(
        str(tmp_path / "t.csv"), target="number", label="stars", export={"formats": []}, report=False, **common
    )
    assert as_in_the_run(numbers.fit(tmp_path / "numbers")).mae < 1.0


@pytest.fixture
def preset(tmp_path):
    import keras
    import keras_hub

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "dog", "ball", "the", *"abcdefghijklmnopqrstuvwxyz"]
    keras.utils.set_random_seed(0)
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=len(words),
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=16,
    )
    for weight in backbone.weights:
        if len(weight.shape) > 1:
            weight.assign(8 * weight)
    backbone.save_to_preset(str(tmp_path / "bert"))
    tokenizer = keras_hub.models.BertTokenizer(words, lowercase=True)
    keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=16).save_to_preset(
        str(tmp_path / "bert")
    )
    return str(tmp_path / "bert")
