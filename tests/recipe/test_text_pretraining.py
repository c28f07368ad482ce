"""Pre-training on texts without labels, and the recipe that starts from it; on a small BERT made on the spot."""

import json
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from keras_transfer import Run, TextClassification, TextPretraining
from keras_transfer.backbones.texts.network import TextNetwork
from keras_transfer.training.checkpointing import Checkpointer

SMALL = runpy.run_path(str(Path(__file__).parent / "test_text_recipe.py"))
CATS, DOGS, WORDS = SMALL["CATS"], SMALL["DOGS"], SMALL["WORDS"]
preset = SMALL["preset"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Each word determines the next one, so that there is something to learn."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(96):
        label, words = [("cat", CATS), ("dog", DOGS)][number % 2]
        start, length = random.integers(5), random.integers(4, 20)
        rows.append({"text": " ".join(words[(start + step) % 5] for step in range(length)), "animal": label})
    file = tmp_path_factory.mktemp("texts") / "texts.csv"
    pd.DataFrame(rows).to_csv(file, index=False)
    return file


def pretraining(source, preset, **sections):
    settings = {"training": {"epochs": 1, "batch_size": 8}, "backbone": preset, "test": 0.25, "validation": 0.25}
    return TextPretraining(str(source), **(settings | sections))


def classification(source, preset, **sections):
    settings = {
        "label": "animal",
        "test": 0.25,
        "validation": 0.25,
        "policy": "head",
        "export": {"formats": []},
        "report": False,
    }
    return TextClassification(str(source), **({"backbone": preset} | settings | sections))


@pytest.fixture(scope="module")
def finished(table, preset, tmp_path_factory):
    root = tmp_path_factory.mktemp("pretraining")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_TRANSFER_CACHE", str(root / "cache"))
        training = {"epochs": 12, "batch_size": 8, "learning_rate": 1e-2}
        return pretraining(table, preset, label="animal", training=training).fit(root / "run")


@pytest.fixture(scope="module")
def classified(table, preset, finished, tmp_path_factory):
    """A classifier from that network, all of it trained further."""
    root = tmp_path_factory.mktemp("classified")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_TRANSFER_CACHE", str(root / "cache"))
        backbone = {"name": preset, "weights": str(finished.folder)}
        policy = {"name": "lora", "rank": 2}
        return classification(
            table, preset, backbone=backbone, policy=policy, training={"epochs": 1, "batch_size": 8}
        ).fit(root / "run")


def network_of(run):
    return next(layer for layer in run.model.layers if isinstance(layer, TextNetwork))


def weights_by_layer(network):
    return {layer.name: layer.get_weights() for layer in network.layers if layer.weights}


def assert_same_weights(wanted, got):
    assert wanted.keys() == got.keys()
    for name, weights in wanted.items():
        for a, b in zip(weights, got[name], strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)


def test_the_network_learns_to_find_masked_tokens(finished):
    history = [json.loads(line) for line in (finished.folder / "history.jsonl").read_text().splitlines()]
    assert [line["phase"] for line in history] == ["full"] * 12
    assert history[-1]["val_loss"] < history[0]["val_loss"] - 0.5
    # By chance one token in 43 would be found, and one in 10 of those that occur.
    assert finished.reports["test"].accuracy > 0.12  # of 45; it depends on the random start


def test_the_run_saves_what_the_next_recipe_needs_and_evaluates_the_same_later(finished):
    names = {file.name for file in finished.folder.iterdir()}
    assert {"recipe.yaml", "history.jsonl", "metrics.json", "model.keras", "tokenizer", "data.json"} <= names
    recorded, again = finished.reports["test"], Run(finished.folder).evaluate()
    assert (again.n, again.masked, again.accuracy) == (recorded.n, recorded.masked, recorded.accuracy)
    assert again.loss == pytest.approx(recorded.loss, abs=1e-5)
    assert recorded.perplexity == pytest.approx(np.exp(recorded.loss))
    assert recorded.n == 24 and recorded.masked >= 24


def test_the_head_is_the_embedding_of_tokens_and_stays_so_when_it_is_loaded(finished):
    model = Run(finished.folder).model
    network, head = model.layers[-2:]
    assert head.layers[-1].token_embedding is network.token_embedding
    table = network.token_embedding.embeddings
    assert sum(weight.shape == table.shape for weight in model.weights) == 1


def test_evaluate_prints_loss_perplexity_and_accuracy(finished, command):
    recorded = finished.reports["test"]
    said = command("evaluate", finished.folder).stdout.splitlines()
    assert said[0] == f"Test: 24 rows, {recorded.masked} masked tokens"
    assert said[1].split() == ["accuracy", f"{recorded.accuracy:.4f}"]
    assert said[2].split() == ["perplexity", f"{recorded.perplexity:.1f}"]
    assert said[3].split() == ["loss", f"{recorded.loss:.4f}"]
    figures = json.loads(command("evaluate", finished.folder, "--json").stdout)["test"]
    assert figures == pytest.approx(recorded.to_json(), abs=1e-4)


def test_evaluate_accepts_texts_without_labels(finished, tmp_path):
    (tmp_path / "one.txt").write_text("cat mouse sofa milk purr cat mouse sofa")
    (tmp_path / "two.txt").write_text("dog bone park ball bark dog bone park")
    assert finished.evaluate(str(tmp_path)).n == 2


@pytest.mark.parametrize("pooling", [pytest.param("mean", marks=pytest.mark.slow), "last"])
def test_the_next_recipe_starts_from_exactly_these_weights(finished, table, preset, pooling):
    backbone = {"name": preset, "weights": str(finished.folder)}
    job = classification(table, preset, backbone=backbone, head={"pooling": pooling}).prepare()
    assert_same_weights(weights_by_layer(network_of(finished)), weights_by_layer(job.model.backbone.network))


@pytest.mark.slow
def test_adapters_of_the_earlier_run_are_merged(classified, finished, table, preset):
    assert (classified.folder / "adapters.npz").is_file()
    backbone = {"name": preset, "weights": str(classified.folder)}
    job = pretraining(table, preset, label="animal", backbone=backbone).prepare()
    trained = weights_by_layer(network_of(classified))
    assert_same_weights(trained, weights_by_layer(job.model.backbone.network))
    before = weights_by_layer(network_of(finished))
    assert any(not np.array_equal(a, b) for name in before for a, b in zip(before[name], trained[name], strict=True))


@pytest.mark.slow
def test_a_run_with_the_familys_own_pooling_can_initialize_others(table, preset, tmp_path):
    own = classification(table, preset, head={"pooling": "own"}).fit(tmp_path / "own")
    backbone = {"name": preset, "weights": str(own.folder)}
    job = classification(table, preset, backbone=backbone).prepare()
    wanted = weights_by_layer(network_of(own))
    assert wanted.pop("pooled_dense")
    assert_same_weights(wanted, weights_by_layer(job.model.backbone.network))


def names_of(splits):
    return {split.name: split.examples.names for split in splits}


@pytest.mark.slow
def test_a_classifier_of_the_same_source_has_the_same_test_rows(table, preset):
    apart = pretraining(table, preset, label="animal", seed=3).prepare()
    labelled = classification(table, preset, seed=3).prepare()
    assert names_of(apart.splits) == names_of(labelled.splits)
    assert set(apart.splits.train.examples.names).isdisjoint(labelled.splits.test.examples.names)


def test_articles_and_headlines_are_split_alike():
    from keras_transfer.config.data import TextDataConfig
    from keras_transfer.data.splits.splits import load_splits
    from keras_transfer.data.splits.unlabelled import load_unlabelled

    articles = load_unlabelled(TextDataConfig(source="bbc_news"), seed=0)
    headlines = load_splits(TextDataConfig(source="bbc_headlines"), seed=0)
    assert names_of(articles) == names_of(headlines)
    assert set(articles.train.targets) == {0}


@pytest.mark.slow
def test_frozen_stages_do_not_change_although_the_head_is_tied_to_them(table, preset, tmp_path):
    job = pretraining(table, preset, policy={"name": "last_stages", "stages": 1}).prepare()
    stages = job.model.backbone.stages
    before = [[weight.numpy() for weight in stage.weights] for stage in stages]
    job.train()
    same = [
        all(np.array_equal(a, b) for a, b in zip(old, stage.weights, strict=True))
        for old, stage in zip(before, stages, strict=True)
    ]
    assert same == [True] * (len(stages) - 1) + [False]


@pytest.mark.slow
def test_tied_embeddings_are_not_new_weights(table, preset):
    """L2-SP pulls them to their start; only the head's own weights decay to zero."""
    from keras_transfer.training.phase import apply_phase

    job = pretraining(table, preset, training={"l2_sp": 0.1, "batch_size": 8}).prepare()
    optimizer = apply_phase(job.model, job.phases[0], config=job.config.training, steps=5).optimizer
    variables = job.model.trainer.trainable_variables
    new = [variable.path for variable, is_new in zip(variables, optimizer.new, strict=True) if is_new]
    assert len(new) == 5 and not any("token_embedding" in path for path in new)


@pytest.mark.slow
def test_pairs_and_weights(tmp_path, preset):
    rows = [{"text": "cat mouse sofa", "reply": "milk purr", "trust": trust} for trust in (1.0, 0.0)] * 12
    pd.DataFrame(rows).to_csv(tmp_path / "pairs.csv", index=False)
    job = pretraining(tmp_path / "pairs.csv", preset, text_pair="reply", weight="trust").prepare()
    train = job.splits.train
    none = np.zeros((len(train), 1), np.float32)
    batches = job.reader.training_batches(train, none, train.weights, batch_size=12, seed=0, epochs=range(1))
    inputs, answers, weights = next(iter(batches))
    assert set(inputs) == {"token_ids", "segment_ids", "padding_mask", "mask_positions"}
    assert set(np.unique(weights)) == {0.0, 1.0}
    assert answers.shape[1] == 1 and (answers.numpy() >= 0).all()


@pytest.mark.slow
def test_texts_from_python_with_and_without_labels_and_a_resumed_run(tmp_path, preset, killed):
    texts = [f"cat mouse {'sofa ' * (n % 5)}milk ball {'bone ' * (n % 3)}" for n in range(40)]
    labelled = [(text, "ab"[n % 2]) for n, text in enumerate(texts)]

    def recipe(data):
        training = {"epochs": 2, "batch_size": 8}
        checkpoint = {"every_steps": 1}
        return TextPretraining(data, backbone=preset, training=training, checkpoint=checkpoint, deterministic=True)

    unbroken = recipe(texts).fit(tmp_path / "unbroken")
    killed(lambda: recipe(texts).fit(tmp_path / "killed"), Checkpointer, "on_train_batch_end", 5)
    run = recipe(texts).fit(tmp_path / "killed", resume=True)
    for mine, theirs in zip(run.model.weights, unbroken.model.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert run.reports == unbroken.reports
    # Texts with labels are the same texts.
    assert run.evaluate(data=labelled).loss == run.evaluate(data=texts).loss
    assert recipe(labelled).prepare().splits.target == run.target
