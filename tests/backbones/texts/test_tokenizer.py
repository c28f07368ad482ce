import json
import os
import runpy
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.backbones.texts.tokenizer import TextEncoder
from keras_transfer.errors import BackboneError

# Tiny tokenizers of every family.
FAMILIES = runpy.run_path(str(Path(__file__).parents[2] / "contract" / "test_text_families.py"))
NAMES = ("bert", "roberta", "xlm_roberta", "gpt2", "qwen", "gemma")
TEXTS = ["a cat sat on the mat", "", "dogs, dogs", "the cat " * 40]
# Tracing byte pairs takes seconds each time.
SOME = ["bert", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gpt2", "roberta", "xlm_roberta"))]
PAIRS = [("a cat", "the dog"), ("the cat " * 20, "a dog"), ("", "the dog"), ("the dog", "a cat " * 20)]


@pytest.fixture(scope="module")
def preprocessors():
    return {name: FAMILIES["build"](name)[1] for name in NAMES}


@pytest.fixture(scope="module")
def encoders(preprocessors):
    return {name: TextEncoder(preprocessor) for name, preprocessor in preprocessors.items()}


def encode(encoder, *texts, length=12):
    """The rows of tokens, without what pads them."""
    columns = encoder.encode([text if isinstance(text, tuple) else (text,) for text in texts], length)
    return [
        row[:count].tolist()
        for row, count in zip(columns["token_ids"], columns["padding_mask"].sum(axis=1), strict=True)
    ]


def same(a, b):
    assert set(a) == set(b)
    for name in a:
        np.testing.assert_array_equal(np.asarray(a[name]), np.asarray(b[name]))


def test_columns_and_their_padding(encoders):
    assert encoders["bert"].columns == ("token_ids", "segment_ids", "padding_mask")
    assert encoders["gpt2"].columns == encoders["xlm_roberta"].columns == ("token_ids", "padding_mask")
    assert encoders["xlm_roberta"].padding == {"token_ids": 1, "padding_mask": 0}
    columns = encoders["xlm_roberta"].encode([("a cat",)], 12)
    assert all(column.dtype == np.int32 and column.shape == (1, 12) for column in columns.values())
    outside = columns["padding_mask"] == 0
    assert outside.any() and (columns["token_ids"][outside] == 1).all()


@pytest.mark.parametrize("name", NAMES)
def test_special_tokens_are_named_with_their_own_ids(encoders, preprocessors, name):
    described, tokenizer = encoders[name].describe(), preprocessors[name].tokenizer
    assert set(described["special_tokens"].values()) == {int(token) for token in tokenizer.special_token_ids}
    for word, token in described["special_tokens"].items():
        assert tokenizer.id_to_token(token) == word


@pytest.mark.parametrize("name", SOME)
def test_every_way_of_calling_gives_the_same_tokens(encoders, name):
    encoder = encoders[name]
    same(encoder((tf.constant(TEXTS),), 12), encoder.encode([(text,) for text in TEXTS], 12))
    segments = tuple(tf.constant(column) for column in zip(*PAIRS, strict=True))
    eager = encoder(segments, 12)
    same(eager, encoder.encode(PAIRS, 12))
    same(eager, tf.function(lambda *x: encoder(x, 12))(*segments))
    batches = tf.data.Dataset.from_tensor_slices(segments).batch(3).map(lambda *x: encoder(x, 12)).as_numpy_iterator()
    parts = list(batches)
    same(eager, {column: np.concatenate([part[column] for part in parts]) for column in eager})


@pytest.mark.parametrize("name", [name for name in SOME if name != SOME[2]])
def test_encoder_inputs_are_packed_as_in_a_keras_hub_pipeline(encoders, name):
    theirs = FAMILIES["build"](name)[1]
    theirs.sequence_length = 12
    segments = tuple(tf.constant(column) for column in zip(*PAIRS, strict=True))
    pairs = next(iter(tf.data.Dataset.from_tensors(segments).map(lambda a, b: theirs((a, b), None, None))))
    same(encoders[name].encode(PAIRS, 12), pairs)
    if name == "bert":
        single = next(iter(tf.data.Dataset.from_tensors(tf.constant(TEXTS)).map(theirs)))
        same(encoders[name].encode([(text,) for text in TEXTS], 12), single)


@pytest.mark.parametrize("name", [pytest.param("gpt2", marks=pytest.mark.slow), "gemma"])
def test_decoder_inputs_start_as_in_keras_hub_and_have_no_end_token(encoders, name):
    theirs = FAMILIES["build"](name)[1]
    batch = tf.data.Dataset.from_tensors(tf.constant(TEXTS)).map(lambda x: theirs.generate_preprocess(x, 12))
    same(encoders[name].encode([(text,) for text in TEXTS], 12), next(iter(batch)))


@pytest.mark.slow
def test_setting_a_seed_does_not_lose_the_vocabulary(encoders):
    # TensorFlow Text's SentencePiece lives in a kernel, and TensorFlow forgets kernels when a seed is set.
    names = ("xlm_roberta", "gemma", "gpt2")
    before = {name: encoders[name].encode([(text,) for text in TEXTS], 12) for name in names}
    keras.utils.set_random_seed(1)
    for name in names:
        same(encoders[name].encode([(text,) for text in TEXTS], 12), before[name])


def test_pairs_for_decoders_have_an_end_token_between_and_are_cut_by_turns(encoders, preprocessors):
    tokenizer = preprocessors["gemma"].tokenizer
    cat, dog = encode(encoders["gemma"], "a cat", "the dog")
    start, end = tokenizer.start_token_id, tokenizer.end_token_id
    assert cat[0] == dog[0] == start
    assert encode(encoders["gemma"], ("a cat", "the dog"), length=30) == [[*cat, end, *dog[1:]]]
    many = encode(encoders["gemma"], "a cat " * 9, length=40)[0][1:]
    assert encode(encoders["gemma"], ("a cat " * 9,) * 2, length=12) == [[start, *many[:5], end, *many[:5]]]
    # Qwen has no start token.
    assert encode(encoders["qwen"], ("cat", "dog"))[0][1] == preprocessors["qwen"].tokenizer.end_token_id


def test_a_text_without_tokens_is_one_token_of_padding(encoders, preprocessors):
    assert encode(encoders["qwen"], "") == [[preprocessors["qwen"].tokenizer.pad_token_id]]
    assert encode(encoders["gpt2"], "") == [[preprocessors["gpt2"].tokenizer.start_token_id]]
    special = preprocessors["bert"].tokenizer
    assert encode(encoders["bert"], "", " \n") == [[special.cls_token_id, special.sep_token_id]] * 2
    assert encode(encoders["bert"], ("", "")) == [[special.cls_token_id, *[special.sep_token_id] * 2]]


@pytest.mark.parametrize("name", ["bert", "gemma", "gpt2"])
def test_odd_texts(encoders, name):
    encoder = encoders[name]
    # TensorFlow Text would take a NUL for the end of the text.
    assert encode(encoder, "cat\0dog", "\0") == encode(encoder, "cat dog", " ")
    # Halves of characters, and bytes that are not UTF-8.
    broken = encoder((tf.constant([b"cat \xff"]),), 12)
    same(broken, encoder.encode([("cat \ufffd",)], 12))
    assert len(encode(encoder, "cat \ud800")[0]) >= len(encode(encoder, "cat")[0])
    for text in ("😀👍🏽", "שלום עולם", "\u202eכן", "日本語"):
        assert len(encode(encoder, text, length=40)[0]) >= len(encode(encoder, "", length=40)[0])
    columns = encoder.encode([("word " * 10_000,), ("cat",)], 12)
    assert columns["padding_mask"][0].all() and not columns["padding_mask"][1].all()


def test_a_long_word_is_read_as_several(encoders):
    # One that is not would take minutes: KerasHub merges pairs one at a time, in all words of a batch together.
    long = encode(encoders["gpt2"], "-" * 5000 + "a" * 5000 + "\n" * 5000 + "é" * 5000, length=400)[0]
    assert long[:66] == encode(encoders["gpt2"], "-" * 64 + " ", length=66)[0][:66]
    # A space after 64 of them.
    assert [len(encode(encoders["gpt2"], "x" * count, length=99)[0]) for count in (63, 64, 65)] == [64, 66, 67]


def test_a_padding_token_spelled_in_a_text_is_encoded_and_the_text_continues(encoders, preprocessors):
    tokenizer = preprocessors["roberta"].tokenizer
    row = encode(encoders["roberta"], "cat <pad> dog")[0]
    after = row[row.index(tokenizer.pad_token_id) + 1 :]
    assert after == [*tokenizer(" dog"), tokenizer.end_token_id]


@pytest.mark.slow
def test_a_byte_that_the_vocabulary_lacks():
    tokenizer = keras_hub.models.GPT2Tokenizer({"<|endoftext|>": 0, "a": 1, "b": 2, "ab": 3}, ["a b"])
    encoder = TextEncoder(keras_hub.models.GPT2CausalLMPreprocessor(tokenizer))
    assert encode(encoder, "abca") == [[0, 3, 0, 1]]


def test_a_traced_function_keeps_its_length(encoders):
    encoder = encoders["bert"]
    strings = tf.constant(TEXTS)
    short = tf.function(lambda x: encoder((x,), 8))
    assert short(strings)["token_ids"].shape == (4, 8)
    assert encoder((strings,), 20)["token_ids"].shape == (4, 20)
    same(short(strings), encoder.encode([(text,) for text in TEXTS], 8))


@pytest.mark.slow
def test_threads_can_request_different_lengths(preprocessors):
    encoder = TextEncoder(preprocessors["bert"])
    lengths = [6, 7, 8, 9] * 3
    start = threading.Barrier(4)

    def work(length):
        start.wait(timeout=60)
        return encoder.encode([(text,) for text in TEXTS], length)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, lengths))
    for length, columns in zip(lengths, results, strict=True):
        same(columns, encoder.encode([(text,) for text in TEXTS], length))


def test_many_texts_keep_their_order(encoders):
    words = ["cat", "dog", "the", "a cat", "the dog s"]
    texts = [words[number % 5] for number in range(333)]
    rows = encode(encoders["bert"], *texts)
    assert rows == [encode(encoders["bert"], word)[0] for word in words] * 66 + rows[330:]
    assert {name: column.shape for name, column in encoders["bert"].encode([], 7).items()} == {
        "token_ids": (0, 7),
        "segment_ids": (0, 7),
        "padding_mask": (0, 7),
    }


def test_fingerprint(encoders, preprocessors):
    assert len({encoder.fingerprint for encoder in encoders.values()}) == len(NAMES)
    tokenizer = preprocessors["bert"].tokenizer
    make = keras_hub.models.BertTextClassifierPreprocessor
    assert TextEncoder(make(tokenizer, sequence_length=9)).fingerprint == encoders["bert"].fingerprint
    other = keras_hub.models.BertTokenizer(tokenizer.get_vocabulary(), lowercase=False)
    assert TextEncoder(make(other)).fingerprint != encoders["bert"].fingerprint
    assert TextEncoder(make(tokenizer, truncate="waterfall")).fingerprint != encoders["bert"].fingerprint


@pytest.mark.parametrize("name", ["bert", "gpt2", "gemma"])
def test_saved_tokenizers_are_plain_files(encoders, name, tmp_path):
    encoders[name].save(tmp_path)
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert {file.suffix for file in files} <= {".json", ".txt", ".spm"}
    assert str(tmp_path) not in "".join(file.read_text() for file in files if file.suffix == ".json")


@pytest.mark.parametrize(
    "what", ["nothing", "no vocabulary", "half a vocabulary", "no JSON", "no preprocessor", "a class"]
)
def test_a_tokenizer_that_cannot_be_read(encoders, tmp_path, what):
    encoders["bert"].save(tmp_path)
    config, vocabulary = tmp_path / "preprocessor.json", tmp_path / "assets" / "tokenizer" / "vocabulary.txt"
    if what == "nothing":
        config.unlink()
    elif what == "no vocabulary":
        vocabulary.unlink()
    elif what == "half a vocabulary":
        vocabulary.write_text("cat\n")
    elif what == "no JSON":
        config.write_text("{")
    elif what == "no preprocessor":
        config.write_text(json.dumps(keras.saving.serialize_keras_object(keras.layers.Dense(2))))
    else:
        foreign = {"module": "os", "class_name": "system", "config": {}, "registered_name": "system"}
        config.write_text(json.dumps({**json.loads(config.read_text()), **foreign}))
    with pytest.raises(
        BackboneError, match=r"The tokenizer in .* cannot be read: .*\. Use a complete copy of the folder\.$"
    ):
        TextEncoder.load(tmp_path)


PROBE = """
import json, sys
import tensorflow as tf
import tensorflow_text
texts, answers = json.load(open(sys.argv[1])), {}
for artifact in sys.argv[3:]:
    serve = tf.saved_model.load(artifact).signatures["serving_default"]
    answers[artifact.split("/")[-1]] = [serve(text=tf.constant(part))["output"].numpy().tolist() for part in texts]
foreign = sorted({name.split(".")[0] for name in sys.modules} & {"keras_hub", "keras_transfer"})
assert not foreign, foreign
json.dump(answers, open(sys.argv[2], "w"))
"""


def serving(encoder, model):
    return lambda text: {"output": model(encoder((text,), 9))}


@pytest.mark.slow
def test_export(preprocessors, tmp_path):
    texts = [["a cat sat", "", "secretword", "cats 😀\0 dogs"], ["an unseen word"]]
    expected = {}
    for name in ("bert", "gpt2", "gemma"):
        encoder = TextEncoder(preprocessors[name])
        inputs = {column: keras.Input((None,), dtype="int32", name=column) for column in encoder.columns}
        embedded = keras.layers.Embedding(400, 3)(inputs["token_ids"])
        mask = keras.ops.cast(inputs["padding_mask"], "float32")
        model = keras.Model(inputs, keras.ops.einsum("bt,btw->bw", mask, embedded))
        expected[name] = [np.asarray(model(encoder.encode([(text,) for text in part], 9))) for part in texts]

        archive = keras.export.ExportArchive()
        archive.track(model)
        for resource in encoder.resources:
            archive.track(resource)
        archive.add_endpoint("serving_default", serving(encoder, model), [tf.TensorSpec([None], tf.string, "text")])
        archive.write_out(str(tmp_path / "here" / name), verbose=False)
    # KerasHub's table of words that were seen is not in it.
    files = [file.read_bytes() for file in (tmp_path / "here").rglob("*") if file.is_file()]
    assert not any(b"s e c r e t" in content or b"secretword" in content for content in files)

    (tmp_path / "here").rename(tmp_path / "there")
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    artifacts = [str(tmp_path / "there" / name) for name in expected]
    command = [sys.executable, "-I", "-c", PROBE, str(tmp_path / "texts.json"), str(tmp_path / "out.json"), *artifacts]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    )
    assert result.returncode == 0, result.stderr
    answers = json.loads((tmp_path / "out.json").read_text())
    for name, parts in expected.items():
        for answer, part in zip(answers[name], parts, strict=True):
            np.testing.assert_allclose(answer, part, atol=1e-6)
