"""tokenizer.json equals the reader's WordPiece tokenizer, token by token, on odd texts."""

import runpy

import keras_hub
import numpy as np
import pytest

from keras_transfer.backbones.texts.tokenizer import TextEncoder
from keras_transfer.backbones.texts.tokenizer_json import write_word_piece
from keras_transfer.data.readers.base import CLIENTS

LETTERS = "abcdefghijklmnopqrstuvwxyzßéíσςаб日本한글ᄒ"
VOCABULARY = [
    *(
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "hello",
        "##lo",
        "don",
        "strasse",
        "straße",
        "naive",
        "fin",
        "cafe",
    ),
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS),
    *"!'.,…½$[]#()0123456789",
    *("tm", "##tm", "kg", "..."),
]
TEXTS = [
    "Hello, don't!",
    "naïve café cafe\u0301 STRASSE straße ſtraße",
    "日本語と한글と漢字豈",
    "👍🏽 🤖hello\ufe0f",
    "a\x00b\x07c\u200bd\u00ade\ufefff\u00a0g h\ti\r\nj\u3000k",
    "a" * 100 + " " + "a" * 101,
    "é" * 50 + " " + "é" * 51,
    "日" * 34,
    "[CLS] [PAD] [SEP] ##lo [unk]",
    "ΣΑΣ ΟΔΟΣ İstanbul ﬁn ™ ㎏ ½ … ≠ ¨ ²",
    "\ue000hello\ue000 \ue001",
    "",
    "   ",
    "ᄒ ᅡ 한 ﾊ Ａｂ",
]
STYLES = [
    pytest.param({"lowercase": True, "strip_accents": True}, id="uncased"),
    pytest.param({"lowercase": True}, id="uncased with accents", marks=pytest.mark.slow),
    pytest.param({}, id="cased"),
]


def load(encoder, folder, texts, length):
    (folder / "tokenizer.json").write_text(encoder.to_tokenizer_json())
    rule = {"length": length, "texts": texts, "pads_to_longest": False, "padding": dict(encoder.padding)}
    description = {"preprocessing": rule, "inputs": [{"name": name} for name in encoder.columns]}
    return runpy.run_path(str(CLIENTS / "texts.py"))["load"](folder, description)


def compare(encoder, rows, length, folder):
    read = load(encoder, folder, len(rows[0]), length)
    ours = encoder.encode(rows, length)
    for number, row in enumerate(rows):
        for name in encoder.columns:
            np.testing.assert_array_equal(read(row)[name], ours[name][number], err_msg=f"{row} {name}")


@pytest.mark.parametrize("style", STYLES)
def test_odd_texts(style, tmp_path):
    tokenizer = keras_hub.tokenizers.BertTokenizer(vocabulary=VOCABULARY, **style)
    encoder = TextEncoder(keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=32))
    compare(encoder, [(text,) for text in TEXTS], 120, tmp_path)


@pytest.mark.parametrize("length", [pytest.param(7, marks=pytest.mark.slow), 8])
def test_pairs_are_cut_by_turns(length, tmp_path):
    tokenizer = keras_hub.tokenizers.DistilBertTokenizer(vocabulary=VOCABULARY, lowercase=True)
    encoder = TextEncoder(keras_hub.models.DistilBertTextClassifierPreprocessor(tokenizer, sequence_length=8))
    rows = [(" ".join("abcdefgh"[:first]), " ".join("hgfedcba"[:second])) for first in range(9) for second in range(9)]
    compare(encoder, rows, length, tmp_path)


def test_segments_of_pairs(tmp_path):
    tokenizer = keras_hub.tokenizers.BertTokenizer(vocabulary=VOCABULARY)
    encoder = TextEncoder(keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=8))
    read = load(encoder, tmp_path, 2, 9)
    found = read(("a b", b"c"))
    letter = VOCABULARY.index
    assert found["token_ids"].tolist() == [2, letter("a"), letter("b"), 3, letter("c"), 3, 0, 0, 0]
    assert found["segment_ids"].tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 0]
    for wrong in ("a", ("a", b"\xff"), ("a", "\ud800")):
        with pytest.raises(ValueError):
            read(wrong)


def test_tokenizers_of_another_kind_are_not_written():
    tokenizer = keras_hub.tokenizers.WordPieceTokenizer(vocabulary=VOCABULARY, split=False)
    assert write_word_piece(tokenizer, {}) is None
    tokenizer = keras_hub.tokenizers.BertTokenizer(vocabulary=VOCABULARY, special_tokens_in_strings=True)
    assert write_word_piece(tokenizer, {}) is None
