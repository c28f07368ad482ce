import json
import runpy
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest
from safetensors.numpy import save_file

from keras_transfer.backbones import BACKBONES
from keras_transfer.backbones.texts.hub import find_families, list_presets
from keras_transfer.backbones.texts.network import SentencePooling
from keras_transfer.backbones.texts.rows import load_text_backbone
from keras_transfer.config.policies import LastStagesPolicyConfig
from keras_transfer.errors import PolicyError
from keras_transfer.training.policies import Scope, plan

FAMILIES = runpy.run_path(str(Path(__file__).parents[2] / "contract" / "test_text_families.py"))
EMBEDDINGS = Path(__file__).parents[2] / "data" / "minilm_embeddings.json"
TEXTS = [("a cat sat on the mat",), ("",), ("the dog, the cat",)]

needs_minilm = pytest.mark.skipif(not BACKBONES["minilm"].available, reason="its package is not installed")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets") / "bert"
    for part in FAMILIES["build"]("bert"):
        part.save_to_preset(str(folder))
    return folder


def vectors(backbone, texts=TEXTS):
    return np.asarray(backbone.network(backbone.encoder.encode(texts, 12)))


def test_families_are_those_for_text_only():
    families = find_families()
    assert {"bert", "distil_bert", "f_net", "gpt2", "llama3", "xlm_roberta"} <= set(families)
    assert [
        name for name in ("esm", "bart", "t5", "gemma3", "pali_gemma", "whisper", "parseq") if name in families
    ] == []
    assert families["gpt2"].is_decoder and not families["bert"].is_decoder
    assert families["bert"].backbone is keras_hub.models.BertBackbone
    assert families["bert"].tokenizer is keras_hub.models.BertTokenizer


def test_presets_are_listed_without_a_download():
    presets = list_presets()
    assert (presets["bert_base_en"], presets["gpt2_base_en"]) == ("bert", "gpt2")
    # A backbone class lists the presets of its subclasses too.
    assert presets["llama3_8b_en"] == "llama3"
    assert "resnet_50_imagenet" not in presets and "t5_base_multi" not in presets
    assert set(presets.values()) <= set(find_families())


@needs_minilm
def test_minilm_reproduces_the_sentence_embeddings():
    known = json.loads(EMBEDDINGS.read_text(encoding="utf-8"))
    backbone = load_text_backbone("minilm")
    assert "torch" not in sys.modules and "sentence_transformers" not in sys.modules
    columns = backbone.encoder.encode([(text,) for text in known["texts"]], known["sequence_length"])
    tokens = [
        row[: mask.sum()].tolist() for row, mask in zip(columns["token_ids"], columns["padding_mask"], strict=True)
    ]
    assert tokens == known["token_ids"]
    ours, theirs = np.asarray(backbone.network(columns)), np.array(known["embeddings"])
    # According to its folder they are scaled; the known ones are not yet.
    theirs *= np.sqrt(384) / np.linalg.norm(theirs, axis=1, keepdims=True)
    np.testing.assert_allclose(ours, theirs, atol=2e-2)
    assert (ours * theirs).mean(axis=1).min() > 0.9999
    assert (backbone.family, backbone.pooling, backbone.maximum_length) == ("bert", SentencePooling("mean", True), 512)
    assert backbone.pads_to_longest and len(backbone.stages) == 7
    assert backbone.network.count_params() == BACKBONES["minilm"].parameters


def test_pooling(bert):
    # What BERT's own pooling alone needs is left out.
    mean = load_text_backbone(str(bert))
    own = load_text_backbone(str(bert), pooling="own")
    assert len(own.network.weights) == len(mean.network.weights) + 2
    assert len(own.stages) == len(mean.stages) + 1
    first, last = (load_text_backbone(str(bert), pooling=pooling) for pooling in ("first", "last"))
    assert [backbone.pooling.kind for backbone in (mean, own, first, last)] == ["mean", "own", "first", "last"]
    assert len({json.dumps(backbone.describe()) for backbone in (mean, own, first, last)}) == 4
    assert np.abs(vectors(mean) - vectors(last)).max() > 1e-2
    columns = first.encoder.encode([("good film",), ("bad",)], 6)
    tokens = keras_hub.models.Backbone.from_preset(str(bert))(columns)["sequence_output"]
    np.testing.assert_allclose(first.network(columns), tokens[:, 0], atol=1e-5)


def test_a_folder_of_sentence_transformers_determines_the_pooling(bert, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "sentences")
    modules = [{"path": "", "type": "models.Transformer"}, {"path": "1_Pooling", "type": "models.Pooling"}]
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    (folder / "modules.json").write_text(json.dumps([*modules, {"path": "2_Normalize", "type": "models.Normalize"}]))
    made = load_text_backbone(str(folder))
    assert made.pooling == SentencePooling("first", normalizes=True)
    plain = vectors(load_text_backbone(str(folder), pooling="first"))
    scaled = plain / np.sqrt((plain**2).mean(axis=1, keepdims=True))
    np.testing.assert_allclose(vectors(made), scaled, rtol=1e-4, atol=1e-4)
    made.network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(vectors(replace(made, network=loaded)), vectors(made))


@pytest.mark.slow
def test_random_weights(bert):
    keras.utils.set_random_seed(5)
    random = load_text_backbone(str(bert), weights="none")
    pretrained = load_text_backbone(str(bert))
    assert (str(random.weights), str(pretrained.weights)) == ("none", "pretrained")
    assert [w.shape for w in random.network.weights] == [w.shape for w in pretrained.network.weights]
    assert np.abs(vectors(random) - vectors(pretrained)).max() > 1e-2
    assert random.encoder.fingerprint == pretrained.encoder.fingerprint


@pytest.mark.parametrize(
    "name",
    [
        "network.weights.h5",
        *(pytest.param(f"{name}.keras", marks=pytest.mark.slow) for name in ("network", "with_a_head")),
    ],
)
def test_weights_from_a_file(bert, tmp_path, name):
    trained = load_text_backbone(str(bert))
    for weight in trained.network.weights:
        weight.assign(weight + 0.1)
    path = tmp_path / name
    if name == "with_a_head.keras":
        inputs = trained.inputs()
        keras.Model(inputs, keras.layers.Dense(2)(trained.network(inputs))).save(path)
    elif name == "network.keras":
        trained.network.save(path)
    else:
        trained.network.save_weights(path)
    loaded = load_text_backbone(str(bert), weights=str(path))
    assert loaded.weights.path == path
    np.testing.assert_array_equal(vectors(loaded), vectors(trained))


@pytest.mark.parametrize(
    ("name", "pooling"),
    [
        ("bert", "own"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("distil_bert", "own"), ("bert", "mean"), ("gpt2", "last"))
        ),
    ],
)
def test_pooled_in_float32_under_any_precision(name, pooling, tmp_path):
    for part in FAMILIES["build"](name):
        part.save_to_preset(str(tmp_path))
    exact = vectors(load_text_backbone(str(tmp_path), pooling=pooling))
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        backbone = load_text_backbone(str(tmp_path), pooling=pooling)
        alive = backbone.stages[0].outputs[0]
        assert (alive.dtype, backbone.network.output.dtype) == ("bfloat16", "float32")
        np.testing.assert_allclose(vectors(backbone), exact, atol=0.1)
    finally:
        keras.config.set_dtype_policy(policy)


def test_all_positions_can_be_used(bert):
    backbone = load_text_backbone(str(bert))
    columns = backbone.encoder.encode([("the cat " * 99,)], backbone.maximum_length)
    assert columns["padding_mask"].all()
    assert np.isfinite(np.asarray(backbone.network(columns))).all()


@pytest.mark.slow
def test_a_network_trains(bert):
    backbone = load_text_backbone(str(bert))
    inputs = backbone.inputs()
    model = keras.Model(inputs, keras.layers.Dense(1)(backbone.network(backbone.prepare(inputs))))
    model.compile("adam", "mse", jit_compile=False)
    columns = backbone.encoder.encode(TEXTS, 12)
    before = [np.array(weight) for weight in backbone.network.weights]
    model.fit(columns, np.zeros((3, 1)), verbose=0)
    assert not all(np.array_equal(a, b) for a, b in zip(before, backbone.network.weights, strict=True))


def test_the_shared_layers_of_albert_are_in_one_stage(tmp_path):
    for part in FAMILIES["build"]("albert"):
        part.save_to_preset(str(tmp_path))
    backbone = load_text_backbone(str(tmp_path))
    shared = [weight for weight in backbone.network.weights if "inner_layer" in weight.path]
    assert {id(weight) for weight in shared} <= {id(weight) for weight in backbone.stages[-1].weights}
    scope = Scope(stages=len(backbone.stages), epochs=1, solves_head=False)
    with pytest.raises(PolicyError, match=r"policy\.stages: the backbone has 3 stages\. Received: 4"):
        plan(LastStagesPolicyConfig(stages=4), scope)


def test_a_folder_may_have_the_name_of_a_preset(bert, tmp_path, monkeypatch):
    (tmp_path / "bert_base_en").symlink_to(bert)
    monkeypatch.chdir(tmp_path)
    assert load_text_backbone("bert_base_en").maximum_length == FAMILIES["POSITIONS"]


def hugging_face_bert(folder, **settings):
    """Write a tiny model as save_pretrained() does."""
    config = {
        "model_type": "bert",
        "vocab_size": 40,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "hidden_size": 8,
    }
    config |= {"intermediate_size": 16, "max_position_embeddings": 20, "architectures": ["BertModel"]}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True, **settings}))
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    (folder / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cafe", "café", *letters])
    )
    block, random = "encoder.layer.0.", np.random.default_rng(0)
    shapes = {"embeddings.word_embeddings.weight": (40, 8), "embeddings.position_embeddings.weight": (20, 8)}
    shapes |= {"embeddings.token_type_embeddings.weight": (2, 8), f"{block}intermediate.dense.weight": (16, 8)}
    shapes |= {f"{block}intermediate.dense.bias": (16,), f"{block}output.dense.weight": (8, 16)}
    shapes |= {f"{block}output.dense.bias": (8,), "pooler.dense.weight": (8, 8), "pooler.dense.bias": (8,)}
    for part in ("self.query", "self.key", "self.value", "output.dense"):
        shapes |= {f"{block}attention.{part}.weight": (8, 8), f"{block}attention.{part}.bias": (8,)}
    for part in ("embeddings.", f"{block}attention.output.", f"{block}output."):
        shapes |= {f"{part}LayerNorm.weight": (8,), f"{part}LayerNorm.bias": (8,)}
    tensors = {key: random.normal(size=shape).astype("float32") for key, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors")
    return tensors


def test_a_folder_of_hugging_face(tmp_path):
    tensors = hugging_face_bert(tmp_path / "model")
    backbone = load_text_backbone(str(tmp_path / "model"))
    assert (backbone.family, backbone.maximum_length, str(backbone.weights)) == ("bert", 20, "pretrained")
    embedding = next(w for w in backbone.network.weights if w.path.endswith("token_embedding/embeddings"))
    np.testing.assert_array_equal(embedding, tensors["embeddings.word_embeddings.weight"])


@pytest.mark.parametrize(("settings", "token"), [({}, 5), ({"strip_accents": False}, 6), ({"do_lower_case": False}, 6)])
def test_accents_are_stripped_as_in_hugging_face(tmp_path, settings, token):
    hugging_face_bert(tmp_path / "model", **settings)
    backbone = load_text_backbone(str(tmp_path / "model"))
    assert backbone.encoder.encode([("café",)], 4)["token_ids"].tolist() == [[2, token, 3, 0]]
