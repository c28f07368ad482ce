"""Tokens of transcripts: as the packages' own tokenizers and KerasHub's make them, and what they may not be."""

import json

import keras_hub
import numpy as np
import pytest

from keras_transfer import BackboneError, ConfigError
from keras_transfer.backbones.audio.hub import load_speech_tokenizer
from keras_transfer.backbones.audio.speech_tokenizer import SpeechTokenizer
from keras_transfer.backbones.audio.whisper import BASE, TINY_EN

TEXTS = ["the cat sat on the mat", "Příliš žluťoučký kůň", "a\ttest  12% <|en|> <|endoftext|></s>", "日本語 🎉", ""]


@pytest.fixture
def load(speech_preset):
    def call(family):
        folder = speech_preset(family)
        network = keras_hub.models.Backbone.from_preset(str(folder), load_weights=False)
        return load_speech_tokenizer(str(folder), str(folder), network)

    return call


@pytest.mark.parametrize("family", ["whisper", "moonshine"])
def test_tokens_match_keras_hub_and_are_decoded_again(family, load, speech_preset, tmp_path):
    tokenizer, folder = load(family), speech_preset(family)
    if family == "whisper":
        theirs = keras_hub.tokenizers.WhisperTokenizer.from_preset(str(folder))
    else:
        (file,) = folder.rglob("vocabulary.spm")
        theirs = keras_hub.tokenizers.MoonshineTokenizer(file.read_bytes())
    for text in TEXTS[:2]:
        given = f" {text}" if family == "whisper" else text
        assert tokenizer.encode(text) == np.asarray(theirs(given)).tolist()
    tokenizer.save(tmp_path / "tokenizer")
    again = SpeechTokenizer.load(tmp_path / "tokenizer")
    assert again.fingerprint == tokenizer.fingerprint
    for text in TEXTS:
        ids = tokenizer.encode(text)
        if family == "moonshine":
            text = " ".join(text.split())  # SentencePiece's own normalization
        assert not {*ids} & tokenizer.special_ids, "a text has special tokens in it"
        start = tokenizer.prompt(language="cs" if family == "whisper" else None)
        for one in (tokenizer, again):
            assert one.decode([*start, *ids, one.end, one.end]) == text
            assert b"".join(one.pieces[token] for token in [*start, *ids, one.end]).strip().decode() == text
    assert len(tokenizer.pieces) == tokenizer.vocabulary_size
    assert all(tokenizer.pieces[token] == b"" for token in tokenizer.special_ids)


def test_prompts_name_language_and_task(load):
    whisper, moonshine = load("whisper"), load("moonshine")
    end = whisper.end  # the special tokens are numbered from there
    assert whisper.languages == ("en", "cs", "de")
    assert whisper.prompt(language="cs") == [end + 1, end + 3, end + 6, end + 10]
    assert whisper.prompt(language="de", task="translate", timestamps=True) == [end + 1, end + 4, end + 5]
    assert (whisper.special.no_speech, whisper.timestamp_begin) == (end + 9, end + 11)
    # What OpenAI's code leaves out, as far as these bytes are tokens: "(" and "[" among them, letters not.
    assert {whisper.encode("x")[-1]} & {*whisper.suppressed} == set()
    assert {*map(whisper.pieces.index, [b"(", b"[", b"#"]), end + 1, end + 5, end + 9} <= {*whisper.suppressed}
    assert whisper.suppressed_first == (whisper.pieces.index(b" "), end)
    assert (moonshine.prompt(language=None), moonshine.end, moonshine.languages) == ([1], 2, ())


@pytest.mark.parametrize(
    ("family", "settings", "message"),
    [
        pytest.param(
            "whisper", {"language": "cz"}, r"3 languages.* Received: cz\. Codes with that letter: cs", id="unknown"
        ),
        pytest.param("whisper", {"language": None}, r"such as en, cs, de\. Received: None\. Set it to", id="none"),
        pytest.param("whisper", {"language": "en", "task": "sing"}, "transcribe, translate. Received: sing", id="task"),
        pytest.param("moonshine", {"language": "en"}, "no languages to choose from. Received: en", id="language"),
        pytest.param("moonshine", {"language": None, "task": "translate"}, "are transcribe. Received", id="one task"),
        pytest.param(
            "moonshine", {"language": None, "timestamps": True}, "head.timestamps: .* not support", id="timestamps"
        ),
    ],
)
def test_unsupported_prompts_are_refused(family, settings, message, load):
    with pytest.raises(ConfigError, match=message):
        load(family).prompt(**settings)


@pytest.mark.parametrize("change", ["missing", "damaged", "other"])
def test_damaged_folders_are_refused(change, load, tmp_path):
    load("whisper").save(tmp_path)
    if change == "missing":
        (tmp_path / "tokenizer.json").unlink()
    if change == "damaged":
        (tmp_path / "tokenizer.json").write_text("{")
    if change == "other":
        (tmp_path / "speech_tokenizer.json").write_text('{"kind": "pickle", "special": {}}')
    with pytest.raises(BackboneError, match=r"cannot be read: .* Use a complete copy of the folder"):
        SpeechTokenizer.load(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("size", [TINY_EN, BASE], ids=lambda size: size.name)
def test_packages(size):
    if size.find_files() is None:
        pytest.skip(f"{size.package} is not installed")
    from tokenizers import Tokenizer

    tokenizer, folder = size.read_tokenizer(), size.find_files()[0].parent
    theirs, config = (
        Tokenizer.from_file(str(folder / "tokenizer.json")),
        json.loads((folder / "config.json").read_text()),
    )
    for text in [*TEXTS[:2], TEXTS[3], "it's  1,234.5 — «a»"]:
        assert tokenizer.encode(text) == theirs.encode(f" {text}", add_special_tokens=False).ids
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert [*tokenizer.suppressed_first] == config["suppress_ids_begin"]
    # By OpenAI's rule, as presets of KerasHub, which have no list, get theirs.
    ids = {
        token["content"]: token["id"] for token in json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    }
    vocabulary = (folder / "tokenizer.json").read_bytes()
    ruled = SpeechTokenizer.of_whisper(vocabulary, ids, size.vocabulary, multilingual=size is BASE)
    assert [*ruled.suppressed] == sorted(config["suppress_ids"]) == sorted(tokenizer.suppressed)
    names = ["startoftranscript", *(["cs", "transcribe"] if size is BASE else []), "notimestamps"]
    assert tokenizer.prompt(language="cs" if size is BASE else None) == [ids[f"<|{name}|>"] for name in names]
    assert len(tokenizer.languages) == (99 if size is BASE else 0)
    assert tokenizer.vocabulary_size - tokenizer.timestamp_begin == 1501
