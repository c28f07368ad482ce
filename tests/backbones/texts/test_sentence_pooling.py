"""Pooling as defined by the files of sentence-transformers."""

import json

import pytest

from keras_transfer.backbones.texts.network import SentencePooling, resolve_pooling

MODULES = "sentence_transformers.models.Transformer", "sentence_transformers.models.Pooling"
NEWER = (
    "sentence_transformers.base.modules.transformer.Transformer",
    "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "sentence_transformers.base.modules.normalize.Normalize",
)


def write(folder, types, config):
    names = ["", *(f"{number}_{kind.rpartition('.')[2]}" for number, kind in enumerate(types) if number)]
    modules = [{"idx": i, "name": str(i), "path": names[i], "type": kind} for i, kind in enumerate(types)]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / names[1]).mkdir()
    (folder / names[1] / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("types", "config", "expected"),
    [
        (MODULES, {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, SentencePooling("first")),
        (MODULES, {"word_embedding_dimension": 8, "pooling_mode_lasttoken": True}, SentencePooling("last")),
        (NEWER, {"pooling_mode": "mean", "include_prompt": True}, SentencePooling("mean", normalizes=True)),
        (NEWER, {"pooling_mode": "cls", "include_prompt": True}, SentencePooling("first", normalizes=True)),
    ],
)
def test_pooling_is_read_from_the_folder(tmp_path, types, config, expected):
    write(tmp_path, types, config)
    assert resolve_pooling("auto", is_decoder=False, folder=tmp_path) == expected
    assert resolve_pooling("own", is_decoder=False, folder=tmp_path) == SentencePooling("own")


@pytest.mark.parametrize(
    "config",
    [
        {"pooling_mode_max_tokens": True},
        {"pooling_mode": "weightedmean"},
        {"pooling_mode": ["mean", "cls"]},
        {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True},
        {},
        [],
    ],
)
def test_unsupported_pooling_falls_back_to_the_default(tmp_path, config):
    write(tmp_path, NEWER, config)
    assert resolve_pooling("auto", is_decoder=False, folder=tmp_path) == SentencePooling("mean")
    assert resolve_pooling("auto", is_decoder=True, folder=tmp_path) == SentencePooling("last")


@pytest.mark.parametrize("modules", ["{", "{}", "[1, null]", '[{"path": 3}]'])
def test_damaged_files_fall_back_to_the_default(tmp_path, modules):
    (tmp_path / "modules.json").write_text(modules)
    assert resolve_pooling("auto", is_decoder=False, folder=tmp_path) == SentencePooling("mean")
