"""The contract of every family of text backbones. Each is built small, saved as a preset and loaded."""

import inspect
import io

import keras
import numpy as np
import pytest
import sentencepiece
from keras_hub.tokenizers import BytePairTokenizer, SentencePieceTokenizer, WordPieceTokenizer

from keras_transfer.backbones.texts.hub import find_families
from keras_transfer.backbones.texts.network import MaskedLanguageModel
from keras_transfer.backbones.texts.rows import load_text_backbone
from keras_transfer.backbones.texts.tokenizer import TextEncoder
from keras_transfer.config.weights import Weights
from keras_transfer.errors import BackboneError
from keras_transfer.networks.keras_file import read_keras_file, write_keras_file
from keras_transfer.networks.stages import submodel

LAYERS, WIDTH, POSITIONS = 3, 16, 40
WORD_PIECE, BYTE_PAIR, SENTENCE_PIECE = WordPieceTokenizer, BytePairTokenizer, SentencePieceTokenizer

# name: (tokenizer, stages of three layers, further arguments of the backbone)
FAMILIES = {
    # One block's weights run in every layer: it trains whole or not at all.
    "albert": (SENTENCE_PIECE, 3, {"embedding_dim": 8}),
    "bert": (WORD_PIECE, 4, {}),
    "bloom": (BYTE_PAIR, 4, {}),
    # Its relative positions are weights that every layer reads.
    "deberta_v3": (SENTENCE_PIECE, 2, {"bucket_size": 8}),
    "distil_bert": (WORD_PIECE, 4, {}),
    "f_net": (SENTENCE_PIECE, 5, {}),
    "falcon": (BYTE_PAIR, 4, {"num_attention_heads": 2}),
    "gemma": (SENTENCE_PIECE, 4, {}),
    "gpt2": (BYTE_PAIR, 4, {}),
    "gpt_neo_x": (BYTE_PAIR, 4, {}),
    "gpt_oss": (BYTE_PAIR, 4, {"num_experts": 2}),
    "llama": (SENTENCE_PIECE, 5, {}),
    "llama3": (BYTE_PAIR, 5, {}),
    "mistral": (SENTENCE_PIECE, 4, {}),
    "mixtral": (SENTENCE_PIECE, 4, {"num_experts": 2}),
    "opt": (BYTE_PAIR, 4, {}),
    "phi3": (SENTENCE_PIECE, 5, {}),
    "qwen": (BYTE_PAIR, 5, {}),
    "qwen3": (BYTE_PAIR, 5, {}),
    "qwen3_moe": (BYTE_PAIR, 5, {"num_experts": 2, "top_k": 1, "moe_intermediate_dim": 16}),
    "qwen_moe": (
        BYTE_PAIR,
        5,
        {"num_experts": 2, "top_k": 1, "moe_intermediate_dim": 16, "shared_expert_intermediate_dim": 16},
    ),
    "roberta": (BYTE_PAIR, 4, {}),
    "roformer_v2": (WORD_PIECE, 5, {"head_size": 8}),
    "smollm3": (
        BYTE_PAIR,
        4,
        {
            "num_attention_heads": 2,
            "attention_bias": False,
            "attention_dropout": 0.0,
            "rope_layer_enabled_list": [True] * LAYERS,
            "layer_types": ["full_attention"] * LAYERS,
            "mlp_bias": False,
            "layer_norm_epsilon": 1e-6,
            "max_position_embeddings": POSITIONS,
            "rope_theta": 10000.0,
            "partial_rotary_factor": 1.0,
        },
    ),
    "xlm_roberta": (SENTENCE_PIECE, 4, {}),
}
# KerasHub's network has no mask to take, or takes none for keys.
PADDING_CHANGES_IT = {"f_net", "roformer_v2"}
# The default tests have one family of each kind of tokenizer and of network; the others differ from those in layers.
FAST = {"albert", "bert", "gpt2"}
NAMES = [pytest.param(name, marks=[pytest.mark.slow] if name not in FAST else []) for name in FAMILIES]
# Of encoders alone: with a pooler, without one, and with a network that takes no mask.
ENCODERS = [
    pytest.param(name, marks=[pytest.mark.slow] if name != "bert" else [])
    for name in FAMILIES
    if not find_families()[name].is_decoder
]

TEXTS = ["a cat sat on the mat", "", "the dog", "cats and dogs\nsat on mats, the cat on the dog"]
SPECIAL = (
    "<|endoftext|> <s> </s> <pad> <mask> <|im_end|> <|begin_of_text|> <|end_of_text|> <|start_header_id|> "
    "<|end_header_id|> <|eot_id|> <think> </think>"
).split()


def word_piece(cls):
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ",", "cat", "dog", "the", "##s"]
    return cls([*words, *letters, *(f"##{letter}" for letter in letters if letter != "s")], lowercase=True)


def byte_pair(cls):
    # Bytes as GPT-2 spells them: printable ones unchanged, others from 256 on.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in printable] + [chr(256 + n) for n in range(256 - len(printable))]
    merges = ["c a", "ca t", "d o", "do g", "Ġ t", "h e", "Ġt he"]
    tokens = [*SPECIAL, *letters, *(merge.replace(" ", "") for merge in merges)]
    return cls({token: number for number, token in enumerate(tokens)}, merges)


def sentence_piece(cls):
    model = io.BytesIO()
    special = ["[CLS]", "[SEP]", "[PAD]", "[MASK]", "<bos>", "<eos>", "<|endoftext|>"]
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(TEXTS * 9),
        model_writer=model,
        vocab_size=36,
        pad_id=3,
        user_defined_symbols=special,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return cls(model.getvalue())


MAKERS = {WORD_PIECE: word_piece, BYTE_PAIR: byte_pair, SENTENCE_PIECE: sentence_piece}


def build(name):
    """Return KerasHub's backbone and preprocessor of a family, with random weights."""
    family = find_families()[name]
    kind, _, more = FAMILIES[name]
    usual = {
        "vocabulary_size": 400,
        "num_layers": LAYERS,
        "hidden_dim": WIDTH,
        "intermediate_dim": 32,
        "num_heads": 2,
        "num_query_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "max_sequence_length": POSITIONS,
    }
    known = inspect.signature(family.backbone).parameters
    keras.utils.set_random_seed(0)
    body = family.backbone(**{**{key: value for key, value in usual.items() if key in known}, **more})
    # A fresh network hardly distinguishes tokens: 0.02 is the usual scale of its weights.
    for weight in body.weights:
        if len(weight.shape) > 1:
            weight.assign(8 * weight)
    return body, family.preprocessor(tokenizer=MAKERS[kind](family.tokenizer))


@pytest.fixture(scope="module", autouse=True)
def forget_networks():
    yield
    keras.backend.clear_session()


def load(name, folder, **options):
    """Return a family loaded from a folder, and KerasHub's own network."""
    body, preprocessor = build(name)
    body.save_to_preset(str(folder))
    preprocessor.save_to_preset(str(folder))
    return load_text_backbone(str(folder), **options), body


def run(network, inputs):
    return keras.ops.convert_to_numpy(network({name: keras.ops.convert_to_tensor(x) for name, x in inputs.items()}))


def pool(body, inputs, pooling):
    """The same in NumPy."""
    outputs = body({name: inputs[name] for name in body.input})
    tokens = keras.ops.convert_to_numpy(outputs["sequence_output"] if isinstance(outputs, dict) else outputs)
    masks = [mask.astype(bool) for mask in inputs["padding_mask"]]
    rows = [row[mask] for row, mask in zip(tokens, masks, strict=True)]
    return np.stack([row[-1] if pooling == "last" else row.mean(axis=0) for row in rows])


def test_the_table_has_every_family():
    assert list(find_families()) == sorted(FAMILIES)
    for name, (kind, _, _) in FAMILIES.items():
        assert issubclass(find_families()[name].tokenizer, kind), name


@pytest.mark.parametrize("name", NAMES)
def test_family(name, tmp_path):
    backbone, body = load(name, tmp_path)
    network, stages, family = backbone.network, backbone.stages, find_families()[name]

    assert (backbone.family, backbone.weights) == (name, Weights.PRETRAINED)
    assert backbone.pooling.kind == ("last" if family.is_decoder else "mean")
    assert backbone.maximum_length == (
        POSITIONS if hasattr(body, "max_sequence_length") or name == "smollm3" else 2**15
    )
    assert backbone.pads_to_longest == (name not in PADDING_CHANGES_IT)
    assert set(backbone.inputs()) == set(backbone.encoder.columns) == set(network.input)
    assert network.output.shape == (None, WIDTH) and network.output.dtype == "float32"

    assert len(stages) == FAMILIES[name][1]
    assert [stage.index for stage in stages] == list(range(len(stages)))
    assert len({stage.name for stage in stages}) == len(stages)
    assert all(stage.weights for stage in stages), "a stage without weights"
    in_stages = [id(weight) for stage in stages for weight in stage.weights]
    assert len(in_stages) == len(set(in_stages)), "a weight lies in two stages"
    assert set(in_stages) == {id(weight) for weight in network.weights}, "a weight lies in no stage"
    for stage in stages[:-1]:
        # What the cache stores of a text: one vector per token.
        assert [tensor.shape[:2] for tensor in stage.outputs] == [(None, None)] and len(stage.outputs[0].shape) == 3

    inputs = backbone.encoder.encode([(text,) for text in TEXTS], 16)
    assert (inputs["padding_mask"].sum(axis=1) >= 1).all()
    whole = run(network, inputs)
    assert np.isfinite(whole).all() and np.ptp(whole, axis=0).max() > 1e-2
    np.testing.assert_allclose(whole, pool(body, inputs, backbone.pooling.kind), atol=1e-5)

    alive = {name: keras.ops.convert_to_tensor(x) for name, x in inputs.items()}
    for index in range(len(stages)):
        part = submodel(network, stages, index, index + 1)
        if index:
            beside = [keras.ops.convert_to_tensor(inputs[x.name]) for x in part.inputs[1:]]
            alive = [alive, *beside] if beside else alive
        alive = part(alive)
    assert np.abs(keras.ops.convert_to_numpy(alive) - whole).max() == 0.0

    padded = {
        column: np.pad(x, ((0, 0), (0, 9)), constant_values=backbone.encoder.padding[column])
        for column, x in inputs.items()
    }
    further = np.abs(run(network, padded) - whole).max()
    assert (further <= 1e-4) == backbone.pads_to_longest
    assert np.isfinite(run(network, {**inputs, "padding_mask": np.zeros_like(inputs["padding_mask"])})).all()

    write_keras_file(network, tmp_path / "network.keras")
    assert np.array_equal(run(read_keras_file(tmp_path / "network.keras", BackboneError), inputs), whole)

    backbone.encoder.save(tmp_path / "first")
    (tmp_path / "first").rename(tmp_path / "moved")
    encoder = TextEncoder.load(tmp_path / "moved")
    again = encoder.encode([(text,) for text in TEXTS], 16)
    assert all(np.array_equal(again[column], inputs[column]) for column in inputs)
    assert (encoder.columns, encoder.padding) == (backbone.encoder.columns, backbone.encoder.padding)
    assert encoder.fingerprint == backbone.encoder.fingerprint


@pytest.mark.parametrize("name", ENCODERS)
def test_own_pooling_matches_the_classifier_of_the_family(name, tmp_path):
    backbone, body = load(name, tmp_path, pooling="own")
    inputs = backbone.encoder.encode([(text,) for text in TEXTS], 16)
    outputs = body({column: inputs[column] for column in body.input})
    own = outputs["pooled_output"] if isinstance(outputs, dict) else outputs[:, 0]
    np.testing.assert_allclose(run(backbone.network, inputs), own, atol=1e-5)
    assert len(backbone.network.weights) == len(body.weights)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_masked_language_model_is_reloaded_and_passes_its_network_to_a_classifier(name, tmp_path):
    backbone, _ = load(name, tmp_path, pooling="masked")
    assert backbone.encoder.mask_id in backbone.encoder.special_ids
    model = MaskedLanguageModel(network=backbone.network)
    inputs = {**backbone.encoder.encode([(text,) for text in TEXTS], 12), "mask_positions": np.array([[1, 2]] * 4)}
    inputs = {key: np.asarray(value) for key, value in inputs.items()}
    logits = model.predict_on_batch(inputs)
    assert logits.shape == (4, 2, 400)
    write_keras_file(model, tmp_path / "model.keras")
    again = read_keras_file(tmp_path / "model.keras", BackboneError)
    np.testing.assert_allclose(again.predict_on_batch(inputs), logits, atol=1e-5)
    assert len(again.weights) == len(model.weights) == len(backbone.network.weights) + 5
    weights = str(tmp_path / "model.keras")
    classifier = load_text_backbone(str(tmp_path), weights=weights, pooling="mean").network
    for a, b in zip(classifier.get_weights(), backbone.network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
