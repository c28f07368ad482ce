"""What goes wrong with pre-training, and with runs that the next recipe is to start from."""

import json
import runpy
import shutil
from pathlib import Path

import pandas as pd
import pytest

from keras_transfer.backbones import BACKBONES
from keras_transfer.backbones.texts.rows import load_text_backbone
from keras_transfer.errors import BackboneError

TESTS = Path(__file__).parents[1]
FAMILIES = runpy.run_path(str(TESTS / "contract" / "test_text_families.py"))
SMALL = runpy.run_path(str(TESTS / "recipe" / "test_text_recipe.py"))
preset = SMALL["preset"]


@pytest.fixture
def texts(tmp_path):
    rows = [{"text": f"cat mouse {'sofa ' * (n % 5)}milk", "label": ("cat", "dog")[n % 2]} for n in range(24)]
    pd.DataFrame(rows).to_csv(tmp_path / "texts.csv", index=False)
    return tmp_path / "texts.csv"


@pytest.fixture
def recipe(tmp_path, texts, preset):
    file = tmp_path / "pretrain.yaml"
    file.write_text(
        f"task: text_pretraining\ndata: {{source: '{texts}', validation: 0.0}}\nbackbone: {{name: '{preset}'}}\n"
        "training: {epochs: 1, keep: last}\n"
    )
    return file


@pytest.fixture(scope="module")
def run(tmp_path_factory, preset):
    """A run of pre-training: tests that spoil it copy it first."""
    from keras_transfer import TextPretraining

    root = tmp_path_factory.mktemp("pretraining")
    texts = root / "texts.csv"
    rows = [{"text": f"cat mouse {'sofa ' * (n % 5)}milk", "label": ("cat", "dog")[n % 2]} for n in range(24)]
    pd.DataFrame(rows).to_csv(texts, index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_TRANSFER_CACHE", str(root / "cache"))
        return TextPretraining(str(texts), backbone=preset, validation=0.0, training={"epochs": 1, "keep": "last"}).fit(
            root / "run"
        )


@pytest.fixture
def spoilt(run, tmp_path):
    return Path(shutil.copytree(run.folder, tmp_path / "spoilt"))


@pytest.mark.parametrize(
    ("override", "needs"),
    [
        ("policy.name=auto", ["policy.name", "does not support 'auto'", "full"]),
        ("policy={name: lp_ft, head_solver: solve}", ["policy.head_solver", "Use sgd"]),
        ("training.label_smoothing=0.1", ["training.label_smoothing", "no labels"]),
        ("training.class_weights=balanced", ["training.class_weights", "no classes"]),
        ("data.per_class=4", ["data.per_class", "uses all texts and no classes"]),
        ("data.predict_length=40", ["data.predict_length", "Leave it out"]),
        ("export.formats=[saved_model]", ["export.formats", "no model to serve", "backbone.weights"]),
        ("head.pooling=mean", ["head.pooling: unknown key", "mask_selection_rate"]),
        ("head.mask_selection_rate=1.0", ["head.mask_selection_rate", "less than 1"]),
        ("data.text=body", ["no column 'body'", "data.text", "Columns: text, label"]),
        ("data.source=absent", ["'absent'", "not found"]),
    ],
)
def test_invalid_settings(refused, recipe, override, needs):
    refused("check", recipe, override, needs=needs)


@pytest.mark.parametrize(
    "content", ["cat\n", *(pytest.param(text, marks=pytest.mark.slow) for text in ("☃ ☃ ☃\n", "the\n"))]
)
def test_texts_of_fewer_than_two_tokens(refused, recipe, tmp_path, content):
    (tmp_path / "short").mkdir()
    for number in range(8):
        (tmp_path / "short" / f"{number}.txt").write_text(content)
    override = f"data.source={tmp_path / 'short'}"
    refused("check", recipe, override, needs=["No train text has two tokens", "Name longer texts"])


def test_a_folder_without_texts(refused, recipe, tmp_path):
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.png").write_bytes(b"x")
    refused("check", recipe, f"data.source={tmp_path / 'none'}", needs=["has no text files"])


def test_too_few_texts_to_divide(refused, recipe, tmp_path):
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "a.txt").write_text("cat mouse sofa")
    refused("check", recipe, f"data.source={tmp_path / 'few'}", needs=["too few rows", "data.test=0.2 takes 1 of 1"])


@pytest.mark.parametrize("key", ["stratify", "group", "split"])
def test_missing_columns(refused, recipe, tmp_path, key):
    column = "[animal]" if key == "stratify" else "animal"
    overrides = ["data.label=kind", f"data.{key}={column}"]
    refused("check", recipe, *overrides, needs=["no column 'animal'", f"data.{key}"])
    (tmp_path / "loose").mkdir()
    for number in range(8):
        (tmp_path / "loose" / f"{number}.txt").write_text("cat mouse sofa")
    refused("check", recipe, *overrides, f"data.source={tmp_path / 'loose'}", needs=["no column 'animal'"])


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_family_without_a_mask_token(tmp_path, family):
    for part in FAMILIES["build"](family):
        part.save_to_preset(str(tmp_path))
    with pytest.raises(BackboneError) as caught:
        load_text_backbone(str(tmp_path), pooling="masked")
    message = str(caught.value)
    assert "no mask token" in message and f"the family {family}" in message
    assert message.endswith("families albert, bert, deberta_v3, distil_bert, f_net, roberta, roformer_v2, xlm_roberta.")


@pytest.mark.parametrize(
    "words", [pytest.param(["predict", "{run}", "a cat"], marks=pytest.mark.slow), ["export", "{run}"]]
)
def test_there_is_nothing_to_serve(refused, run, words):
    command = [word.format(run=run.folder) for word in words]
    refused(*command, needs=[run.folder, "nothing to serve", f"backbone.weights={run.folder}"])


def refuse(weights, name, **options):
    with pytest.raises(BackboneError) as caught:
        load_text_backbone(str(name), weights=str(weights), **options)
    return str(caught.value)


def test_a_run_of_another_backbone(run, preset):
    message = refuse(run.folder, "minilm")
    assert f"(task text_pretraining) trained another backbone: {preset}." in message
    assert f"Received: backbone.name=minilm. Set backbone.name={preset}" in message


def test_a_run_of_another_task(run, finished_run, preset):
    message = refuse(finished_run.folder, preset)
    assert "(task image_classification) trained another backbone: pebble" in message
    with pytest.raises(BackboneError, match=r"\(task text_pretraining\) trained another backbone"):
        BACKBONES["efficientnet_lite0"].load(image_size=64, weights=str(run.folder))


@pytest.mark.parametrize("name", ["model.keras", "data.json"])
def test_a_run_that_did_not_finish(spoilt, preset, name):
    (spoilt / name).unlink()
    assert f"Run {spoilt} did not finish: it lacks {name}." in refuse(spoilt, preset)


def test_a_folder_that_is_not_a_run(tmp_path, preset):
    assert f"{tmp_path} is not a run folder: it has no recipe.yaml" in refuse(tmp_path, preset)


def test_a_recipe_that_cannot_be_read(spoilt, preset):
    (spoilt / "recipe.yaml").write_text("task: text_pretraining\n")
    message = refuse(spoilt, preset)
    assert "data: missing" in message and "Use a complete copy" in message


def test_another_vocabulary(spoilt, preset):
    vocabulary = next(spoilt.glob("tokenizer/**/vocabulary.txt"))
    words = vocabulary.read_text().split("\n")
    words[5], words[6] = words[6], words[5]
    vocabulary.write_text("\n".join(words))
    message = refuse(spoilt, preset)
    assert f"Run {spoilt} read texts with another tokenizer than {preset} has now" in message


def test_a_pooling_whose_layers_the_run_lacks(run, preset):
    message = refuse(run.folder, preset, pooling="own")
    assert "does not fit" in message and message.endswith("set head.pooling=mean.")


def classify(recipe, texts, preset, run):
    recipe.write_text(
        f"task: text_classification\ndata: {{source: '{texts}', validation: 0.0}}\n"
        f"backbone: {{name: '{preset}', weights: '{run}'}}\ntraining: {{keep: last}}\npolicy: {{name: head}}\n"
    )


def test_a_source_whose_texts_were_all_trained_on(refused, recipe, run, preset):
    """Each of the five texts is in the run's training rows."""
    classify(recipe, run.config.data.source, preset, run.folder)
    refused("check", recipe, needs=["data.test=0.2", "no rows to draw", "24 of 24 rows", "another source or to 0"])


def test_texts_that_an_earlier_run_was_trained_on(refused, recipe, run, spoilt, preset):
    learned = json.loads((run.folder / "data.json").read_text())["splits"]["train"]["hashes"]
    nothing = {name: {"rows": [], "hashes": []} for name in ("train", "validation", "test")}
    (spoilt / "data.json").write_text(json.dumps({"splits": nothing, "earlier": {"train": learned}}))
    classify(recipe, run.config.data.source, preset, spoilt)
    refused("check", recipe, needs=["no rows to draw", "24 of 24 rows"])


def test_rows_of_another_source_may_have_the_same_names(command, recipe, run, preset, tmp_path):
    rows = [{"text": f"cat mouse {'sofa ' * n}milk", "label": ("cat", "dog")[n % 2]} for n in range(5, 29)]
    pd.DataFrame(rows).to_csv(tmp_path / "others.csv", index=False)
    classify(recipe, tmp_path / "others.csv", preset, run.folder)
    said = command("check", recipe).stdout
    assert "keep their splits: 0 train, 0 validation, 0 test; new rows: 19 train, 0 validation, 5 test" in said


def test_a_run_of_an_early_version(refused, recipe, spoilt, texts, preset):
    """It recorded no hashes, so it is unknown which of these texts it was trained on."""
    record = json.loads((spoilt / "data.json").read_text())
    for split in record["splits"].values():
        del split["hashes"]
    (spoilt / "data.json").write_text(json.dumps(record))
    classify(recipe, texts, preset, spoilt)
    refused("check", recipe, needs=[spoilt, "did not record its rows by content", "Make the run again"])


def test_a_damaged_record_of_rows(refused, recipe, spoilt, texts, preset):
    classify(recipe, texts, preset, spoilt)
    (spoilt / "data.json").write_text(json.dumps({"splits": {}}))
    refused("check", recipe, needs=[spoilt / "data.json", "damaged"])
