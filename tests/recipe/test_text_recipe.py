"""Texts in, one class out of several, from data to what is served; on a small BERT that is made on the spot."""

import json
import shutil
import subprocess
import sys

import keras
import keras_hub
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from rich.console import Console

from keras_transfer import CheckpointError, ConfigError, PolicyError, Run, TextClassification
from keras_transfer.frozen.cache import FeatureCache

CATS = "cat mouse sofa milk purr".split()
DOGS = "dog bone park ball bark".split()
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *CATS, *DOGS, "the", ",", *"abcdefghijklmnopqrstuvwxyz"]


def make_preset(folder):
    keras.utils.set_random_seed(0)
    tokenizer = keras_hub.models.BertTokenizer(WORDS, lowercase=True)
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=len(WORDS),
        num_layers=3,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=40,
    )
    for weight in backbone.weights:  # fresh embeddings of 0.02 are all but the same
        if len(weight.shape) > 1:
            weight.assign(8 * weight)
    backbone.save_to_preset(str(folder / "bert"))
    keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=40).save_to_preset(str(folder / "bert"))


@pytest.fixture(scope="module")
def preset(share):
    return str(share("preset", make_preset) / "bert")


def make_table(folder):
    random = np.random.default_rng(0)
    rows = []
    for number in range(48):
        label, words = [("cat", CATS), ("dog", DOGS)][number % 2]
        text = " ".join(random.choice([*words, "the", "a"], random.integers(3, 30)))
        rows.append({"review": f"{words[0]} {text}", "reply": random.choice(["a ball", "the sofa"]), "animal": label})
    pd.DataFrame(rows).to_csv(folder / "reviews.csv", index=False)


@pytest.fixture(scope="module")
def table(share):
    return share("reviews", make_table) / "reviews.csv"


def recipe(table, preset, *, data=None, **sections):
    settings = {
        "policy": {"name": "last_stages", "stages": 2},
        "training": {"epochs": 2, "batch_size": 8},
        "export": {"formats": []},
        "report": False,
        "backbone": preset,
    }
    return TextClassification(
        str(table), text="review", label="animal", test=0.25, validation=0.25, **(data or {}), **(settings | sections)
    )


@pytest.fixture(scope="module")
def finished(finished_text_run):
    return finished_text_run


@pytest.fixture
def computed(monkeypatch):
    """Splits whose features were computed."""
    names = []
    original = FeatureCache._compute

    def compute(self, model, frozen_stages, split, views):
        names.append(split.name)
        return original(self, model, frozen_stages, split, views)

    monkeypatch.setattr(FeatureCache, "_compute", compute)
    return names


def test_a_moved_run_evaluates_and_predicts_the_same(finished, tmp_path):
    run = Run(shutil.copytree(finished.folder, tmp_path / "elsewhere"))
    recorded, again = run.reports["test"], run.evaluate()
    assert (again.accuracy, again.n) == (recorded.accuracy, 12)
    assert again.loss == pytest.approx(recorded.loss, abs=1e-5)
    texts = ["the cat", "", "a dog " * 30, "zzz"]
    predictions = run.predict(texts)
    assert [prediction.input for prediction in predictions] == texts
    assert all(sum(p.probabilities.values()) == pytest.approx(1, abs=1e-5) for p in predictions)
    one_by_one = [run.predict([text])[0].score for text in texts]
    assert [p.score for p in predictions] == pytest.approx(one_by_one, abs=1e-5)


def test_a_vocabulary_with_two_swapped_words_is_refused(finished, tmp_path):
    folder = shutil.copytree(finished.folder, tmp_path / "changed")
    (file,) = (folder / "tokenizer").rglob("vocabulary.txt")
    words = file.read_text().splitlines()
    words[-1], words[-2] = words[-2], words[-1]
    file.write_text("\n".join(words) + "\n")
    with pytest.raises(CheckpointError, match=r"vocabulary\.txt is damaged: its content has changed"):
        Run(folder).predict(["a text"])


def test_data_json_records_how_long_texts_are_and_how_many_are_truncated(finished):
    record = json.loads((finished.folder / "data.json").read_text())
    assert record["sequence_length"] == max(record["padded_lengths"]) <= 40
    assert set(record["cut"]) == {"train", "validation", "test"}
    assert record["class_names"] == ["cat", "dog"]
    assert record["splits"]["test"]["rows"][0][0].startswith("row ")


@pytest.mark.slow
def test_a_run_may_train_on_the_start_of_texts_and_predict_from_all_of_them(table, preset, tmp_path, capsys):
    lengths = {"sequence_length": 8, "predict_length": 40}
    made = recipe(table, preset, policy="lp_ft", data=lengths, export={"formats": ["saved_model"]})
    run = made.fit(tmp_path / "run", console=Console(width=500))
    assert "Tokens: at most 8 in training, 40 otherwise" in capsys.readouterr().out
    record = json.loads((run.folder / "data.json").read_text())
    assert (record["sequence_length"], record["predict_length"]) == (8, 40)
    assert record["cut"]["train"] > 0 and record["cut"]["test"] == 0
    again = Run(run.folder)
    assert again.evaluate().loss == pytest.approx(again.reports["test"].loss, abs=1e-5)
    # Words after the eighth token count.
    short, long = again.predict(["the cat " * 3, "the cat " * 3 + "dog " * 20])
    assert abs(short.probabilities["dog"] - long.probabilities["dog"]) > 1e-4


def test_texts_that_are_in_two_splits_are_reported_before_training(table, preset, tmp_path, capsys):
    rows = pd.read_csv(table)
    doubled = tmp_path / "doubled.csv"
    pd.concat([rows, rows]).to_csv(doubled, index=False)
    job = recipe(doubled, preset).prepare(Console(width=500))
    assert "are also in train" in capsys.readouterr().out
    assert job.record["repeated"]["test in train"]["exact"] > 0


@pytest.mark.slow
def test_training_on_features_matches_training_the_whole_network(table, preset, tmp_path, computed):
    whole = recipe(table, preset, cache={"views": 0}).fit(tmp_path / "whole")
    assert computed == []
    kept = recipe(table, preset).fit(tmp_path / "kept")
    assert set(computed) == {"train", "validation", "test"}
    for a, b in zip(whole.model.get_weights(), kept.model.get_weights(), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)
    assert kept.reports["test"].loss == pytest.approx(whole.reports["test"].loss, abs=1e-4)
    assert kept.evaluate().loss == pytest.approx(kept.reports["test"].loss, abs=1e-4)
    computed.clear()
    recipe(table, preset).fit(tmp_path / "again")
    assert computed == []


@pytest.mark.slow
def test_a_solved_head_learns_from_label_names(table, preset, tmp_path, capsys):
    few = {"per_class": 3}
    job = recipe(table, preset, policy="head", data=few).prepare()
    assert job.label_texts.examples.texts.segments == (("This sentence is cat",), ("This sentence is dog",))
    given, kernels = {"cat": " ".join(CATS), "dog": " ".join(DOGS)}, {}
    for texts in ("none", given):
        job = recipe(table, preset, policy="head", data=few, head={"label_texts": texts})
        run = job.fit(tmp_path / f"run{len(kernels)}", console=Console(width=500))
        is_used = "label_texts" in json.loads((run.folder / "history.jsonl").read_text())
        assert is_used == (texts == given)
        assert ("head.label_texts=none leaves them out" in capsys.readouterr().out) == is_used
        kernels[is_used] = run.model.get_layer("head").get_weights()[0]
    assert np.abs(kernels[True] - kernels[False]).max() > 1e-3


@pytest.mark.slow
def test_label_names_are_not_used_with_many_texts(table, preset, computed, monkeypatch):
    monkeypatch.setattr("keras_transfer.frozen.baseline.MOST_HINTED_ROWS", 5)
    assert recipe(table, preset, policy="head").prepare().baseline.head.uses_hints is False
    assert "labels" not in computed


@pytest.mark.parametrize(
    "texts, data, needs",
    [
        ({"cow": "moo"}, {}, ["head.label_texts", "cow", "cat, dog"]),
        ({"cat": "  "}, {}, ["head.label_texts", "blank", "cat"]),
        ({"cat": "purr"}, {"text_pair": "reply"}, ["pairs of texts", "Leave it out"]),
        ({"cat": "purr"}, {"label": "weight", "target": "number"}, ["numbers", "Leave it out"]),
    ],
)
def test_invalid_label_texts_are_refused(table, preset, tmp_path, texts, data, needs):
    rows = pd.read_csv(table)
    rows["weight"] = np.arange(len(rows)) % 7 + 0.5
    rows.to_csv(tmp_path / "t.csv", index=False)
    sections = {"policy": "head", "head": {"label_texts": texts}, "backbone": preset}
    with pytest.raises(ConfigError) as refusal:
        TextClassification(
            str(tmp_path / "t.csv"), **{"text": "review", "label": "animal", "test": 0.25, **data, **sections}
        ).prepare()
    assert [need for need in needs if need not in str(refusal.value)] == []


def test_pairs_and_numbers_have_no_label_names_to_learn_from(table, preset):
    assert recipe(table, preset, data={"text_pair": "reply"}).prepare().label_texts is None


@pytest.mark.slow
def test_another_sequence_length_has_its_own_cache_entry(table, preset, tmp_path, computed):
    recipe(table, preset, policy="head", data={"sequence_length": 12}).fit(tmp_path / "short")
    computed.clear()
    recipe(table, preset, policy="head", data={"sequence_length": 8}).fit(tmp_path / "shorter")
    assert computed == ["train", "labels", "validation", "test"]


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param({"name": "lp_ft", "stage_decay": 0.8}, marks=pytest.mark.slow),
        pytest.param({"name": "lora", "rank": 2}, marks=pytest.mark.slow),
        pytest.param("full", marks=pytest.mark.slow),
        pytest.param({"name": "gradual", "groups": 2, "group_epochs": 1}, marks=pytest.mark.slow),
        pytest.param("bias", marks=pytest.mark.slow),
        pytest.param("layer_norm", marks=pytest.mark.slow),
    ],
    ids=lambda policy: policy if isinstance(policy, str) else policy["name"],
)
def test_policies_train_texts_too(table, preset, tmp_path, policy):
    run = recipe(table, preset, policy=policy, training={"epochs": 1, "batch_size": 8}).fit(tmp_path / "run")
    assert run.evaluate().loss == pytest.approx(run.reports["test"].loss, abs=1e-4)


@pytest.mark.slow
def test_auto_chooses_a_policy_for_texts(table, preset, tmp_path):
    policy = {"name": "auto", "stages": 2}
    run = recipe(table, preset, policy=policy, training={"epochs": 2, "batch_size": 8}).fit(tmp_path / "run")
    assert run.config.policy.name in ("head", "last_stages", "lp_ft")


@pytest.mark.slow
def test_lora_can_be_limited_to_query_and_value(table, preset):
    def adapted(layers):
        job = recipe(table, preset, policy={"name": "lora", "rank": 2, "lora_layers": layers}).prepare()
        return sum(np.prod(weight.shape) for weight in job.model.backbone.network.trainable_weights)

    # Three layers, query and value, kernels of 16 x 2 x 8: factors of 16 x 2 x 2 and 2 x 8 each.
    assert adapted("query_value") == 3 * 2 * (64 + 16) < adapted("all")


def test_more_stages_than_there_are_is_refused(table, preset):
    with pytest.raises(PolicyError, match=r"policy\.stages: the backbone has 4 stages\. Received: 9"):
        recipe(table, preset, policy={"name": "last_stages", "stages": 9}).prepare()


@pytest.mark.slow
def test_the_next_recipe_starts_from_the_backbone_of_an_earlier_run(finished, table, preset):
    job = recipe(table, preset, backbone={"name": preset, "weights": str(finished.folder)}).prepare()
    trained = next(layer for layer in finished.model.layers if isinstance(layer, keras.Model) and len(layer.layers) > 5)
    for a, b in zip(trained.get_weights(), job.model.backbone.network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_pairs_of_texts_are_trained_and_served(table, preset, tmp_path):
    run = recipe(table, preset, data={"text_pair": "reply"}, policy="head", export={"formats": ["saved_model"]}).fit(
        tmp_path / "run"
    )
    (folder,) = (run.folder / "export" / "saved_model").iterdir()
    assert set(tf.saved_model.load(str(folder)).signatures["serving_default"].structured_input_signature[1]) == {
        "text_a",
        "text_b",
    }
    assert run.evaluate().n == 12


def test_explain_attributes_classes_to_the_words_of_a_text(finished):
    texts = ["The CAT, purr the bone", "dog zzz", "", "cat " * 50]
    found = finished.explain(texts)
    assert ["".join(piece.text for piece in one.pieces) for one in found] == texts
    assert [piece.text for piece in found[0].pieces if piece.attribution] == "The CAT , purr the bone".split()
    assert [set(one.outputs) for one in found] == [{"cat", "dog"}] * 4
    assert "read the first" in found[3].note and [one.note for one in found[:3]] == [""] * 3
    turned = finished.explain(texts[0], found[0].outputs[::-1])[0]
    assert [piece.attribution for piece in turned.pieces] == pytest.approx(
        [-piece.attribution for piece in found[0].pieces], abs=1e-4
    )


SERVE = """
import json, sys
import tensorflow as tf, tensorflow_text
signatures = tf.saved_model.load(sys.argv[1]).signatures
texts = json.loads(sys.argv[2])
together = signatures["serving_default"](text=tf.constant(texts))
alone = [signatures["serving_default"](text=tf.constant([text]))["score"].numpy()[0].item() for text in texts]
names = sorted(signatures["serve_tokens"].structured_input_signature[1])
tokens = {name: tf.constant([[2, 5, 3]] if name == "token_ids" else [[0, 0, 0]] if "seg" in name else [[1, 1, 1]])
          for name in names}
answer = {"label": [label.decode() for label in together["label"].numpy()], "score": together["score"].numpy().tolist(),
          "alone": alone, "names": names, "tokens": signatures["serve_tokens"](**tokens)["score"].numpy().tolist()}
print(json.dumps(answer))
assert not any(name.split(".")[0] in ("keras_transfer", "keras_hub") for name in sys.modules)
"""


@pytest.mark.slow
def test_raw_strings_of_any_length_are_served_without_this_package(finished):
    (folder,) = (finished.folder / "export" / "saved_model").iterdir()
    texts = ["cat", "", "the dog, a bone", "cat " * 10_000, "Ünïcödé 🎉 \u202eשלום"]
    command = [sys.executable, "-I", "-c", SERVE, str(folder), json.dumps(texts)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    answer = json.loads(result.stdout.splitlines()[-1])
    ours = finished.predict(texts)
    assert answer["label"] == [prediction.label for prediction in ours]
    assert answer["score"] == pytest.approx([prediction.score for prediction in ours], abs=1e-5)
    assert answer["alone"] == pytest.approx(answer["score"], abs=1e-5)
    assert answer["names"] == ["padding_mask", "segment_ids", "token_ids"]
    assert answer["tokens"] == pytest.approx(answer["score"][:1], abs=1e-5)  # [CLS] cat [SEP]


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["skip", "replace"])
def test_texts_with_invalid_bytes_are_skipped_or_replaced_and_the_run_can_be_evaluated(table, preset, tmp_path, broken):
    content = table.read_bytes().replace(b"cat", b"c\xe4t", 3)
    (tmp_path / "broken.csv").write_bytes(content)
    run = recipe(tmp_path / "broken.csv", preset, data={"broken": broken}, policy="head").fit(tmp_path / "run")
    record = json.loads((run.folder / "data.json").read_text())
    assert len(record["skipped"]) >= 1
    counts = sum(split["count"] for split in record["splits"].values())
    assert (counts < 48) == (broken == "skip")
    for split in ("train", "test"):
        assert run.evaluate(split=split).n == record["splits"][split]["count"]


def test_bundled_texts_are_available():
    job = TextClassification("bbc_headlines", policy="head").prepare()
    assert len(job.splits.target.names) == 5
    assert sum(map(len, job.splits)) == 2225
