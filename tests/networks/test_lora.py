"""Adapters: where they go, what trains, and that neither merging nor a checkpoint loses what they have learned."""

import keras
import keras_hub
import numpy as np
import pytest

from keras_transfer.backbones import BACKBONES
from keras_transfer.errors import PolicyError
from keras_transfer.networks.lora import (
    add_adapters,
    find_adapters,
    merge_adapters,
)
from keras_transfer.networks.stages import Stage, find_stages, submodel


def all_kinds(dtype=None):
    """All four kinds of layer that take adapters, and two that take none."""
    tokens = keras.Input((8,), dtype="int32")
    x = keras.layers.Embedding(11, 6, name="embedding", dtype=dtype)(tokens)
    x = keras.layers.Conv1D(6, 3, name="conv", dtype=dtype)(x)
    x = keras.layers.DepthwiseConv1D(3, name="depthwise", dtype=dtype)(x)
    x = keras.layers.BatchNormalization(name="norm", dtype=dtype)(x)
    x = keras.layers.EinsumDense("btx,xhy->bthy", (None, 2, 4), bias_axes="hy", name="einsum", dtype=dtype)(x)
    x = keras.layers.Dense(5, activation="gelu", name="dense", dtype=dtype)(x)
    return keras.Model(tokens, keras.layers.GlobalAveragePooling2D(name="pooling", dtype="float32")(x))


def conv_net():
    pixels = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, name="stem")(pixels)
    x = keras.layers.Conv2D(8, 3, groups=2, padding="same", name="grouped")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D(name="pooling")(x))


def bert():
    sizes = {"vocabulary_size": 13, "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
    backbone = keras_hub.models.BertBackbone(**sizes, max_sequence_length=8, dropout=0.0)
    return keras.Model(backbone.input, backbone.output["pooled_output"])


def efficientnet():
    """Its first stages, for speed."""
    network = BACKBONES["efficientnet_lite0"].load(image_size=32, weights="none").network
    part = submodel(network, find_stages(network), 0, 4)
    return keras.Model(part.input, keras.layers.GlobalAveragePooling2D(name="pooling")(part.output))


NETWORKS = {"all_kinds": all_kinds, "conv_net": conv_net, "bert": bert, "efficientnet": efficientnet}
FAST_AND_SLOW = ["all_kinds", "conv_net", "bert", pytest.param("efficientnet", marks=pytest.mark.slow)]


class Setup:
    """A network with a head, as a trainer and a predictor that share every layer."""

    def __init__(self, name, *, seed=0, **options):
        keras.utils.set_random_seed(seed)
        self.network = NETWORKS[name](**options)
        self.stages = find_stages(self.network)
        self.every = tuple(range(len(self.stages)))
        self.head = keras.layers.Dense(2, dtype="float32", name="head")
        logits = self.head(self.network.output)
        self.trainer = keras.Model(self.network.input, logits)
        self.predictor = keras.Model(self.network.input, keras.layers.Softmax(dtype="float32")(logits))

    @property
    def weights(self):
        return {id(w): np.array(w) for w in self.trainer.weights}

    def inputs(self, rows=4):
        random = np.random.default_rng(1)

        def draw(x):
            shape = (rows, *(8 if size is None else size for size in x.shape[1:]))
            return random.integers(0, 2, shape) if x.dtype == "int32" else random.normal(size=shape).astype("float32")

        return keras.tree.map_structure(draw, self.network.input)

    def predict(self):
        return self.predictor.predict(self.inputs(), verbose=0)

    def compile(self, optimizer=None):
        """Set what trains as training.set_trainable does: everything is frozen, then the factors are not."""
        for layer in (layer for stage in self.stages for layer in stage.layers):
            layer.trainable = False
        for factor in (factor for adapter in find_adapters(self.stages) for factor in adapter.factors):
            factor.trainable = True
        self.trainer.compile(optimizer or keras.optimizers.SGD(0.5), "mse", run_eagerly=True)

    def train(self, steps=1):
        for _ in range(steps):
            self.trainer.train_on_batch(self.inputs(), np.array([[0.0, 3.0], [1.0, 0.0]] * 2, "float32"))


def names(adapters):
    return [adapter.layer.name for adapter in adapters]


def learned(setup, **options):
    """Adapt all stages and train for a little, so that no factor is zero."""
    adapters = add_adapters(setup.stages, setup.every, rank=2, **options)
    setup.compile()
    setup.train(2)
    return adapters


# Where they go.


def test_all_four_kinds_of_layer_have_adapters_and_others_have_none():
    setup = Setup("all_kinds")
    adapters = add_adapters(setup.stages, setup.every, rank=2)
    assert names(adapters) == ["embedding", "conv", "einsum", "dense"]
    shapes = [tuple(tuple(w.shape) for w in (a.weight, *a.factors)) for a in adapters]
    assert shapes == [
        ((11, 6), (11, 2), (2, 6)),
        ((3, 6, 6), (3, 6, 2), (2, 6)),
        ((6, 2, 4), (6, 2, 2), (2, 4)),
        ((4, 5), (4, 2), (2, 5)),
    ]
    assert find_adapters(setup.stages) == adapters


def test_layers_inside_composite_layers_are_found():
    """By a private method of Keras: if it moves, this fails, and ``keras_internals.parts`` has to be rewritten."""
    setup = Setup("bert")
    inside = ["query", "key", "value", "attention_output", "feedforward_intermediate_dense", "feedforward_output_dense"]
    adapters = add_adapters(setup.stages, setup.every, rank=2)
    expected = ["token_embedding", "segment_embedding", *inside, *inside, "pooled_dense"]
    assert sorted(names(adapters)) == sorted(expected)
    attention = keras.layers.MultiHeadAttention(2, 4)
    attention.build((None, 3, 8), (None, 3, 8))
    found = add_adapters([Stage(0, "attention", (attention,), ())], [0], rank=2)
    assert sorted(names(found)) == ["attention_output", "key", "query", "value"]


def test_only_the_chosen_stages_are_adapted():
    setup = Setup("bert")
    add_adapters(setup.stages, setup.every[-1:], rank=2)
    assert names(find_adapters(setup.stages)) == names(find_adapters(setup.stages[-1:])) != []
    assert find_adapters(setup.stages[:-1]) == ()


def test_depthwise_convolutions_have_no_adapters():
    setup = Setup("efficientnet")
    adapters = add_adapters(setup.stages, setup.every, rank=4)
    layers = [layer for stage in setup.stages for layer in stage.layers]
    convolutions = [layer for layer in layers if isinstance(layer, keras.layers.Conv2D)]
    assert [a.layer for a in adapters] == convolutions
    depthwise = [layer for layer in layers if isinstance(layer, keras.layers.DepthwiseConv2D)]
    assert len(depthwise) == 3
    assert not any(hasattr(layer, "lora_kernel_a") for layer in depthwise)


def test_a_layer_that_is_smaller_than_the_rank_gets_its_own_size_at_the_same_scale():
    setup = Setup("all_kinds")
    adapters = add_adapters(setup.stages, setup.every, rank=5, alpha=10.0)
    assert [(a.layer.name, a.layer.lora_rank) for a in adapters] == [
        ("embedding", 5),
        ("conv", 5),
        ("einsum", 4),
        ("dense", 4),
    ]
    assert {a.layer.lora_alpha / a.layer.lora_rank for a in adapters} == {2.0}


def test_stages_without_layers_to_adapt_are_refused_with_those_that_have_some():
    layers = {
        "stem": keras.layers.Conv2D(4, 3),
        "middle": keras.layers.DepthwiseConv2D(3),
        "limited": keras.layers.Dense(4, kernel_constraint="non_neg"),
    }
    for layer in layers.values():
        layer.build((None, 5, 5, 4))
    stages = [Stage(index, name, (layer,), ()) for index, (name, layer) in enumerate(layers.items())]
    with pytest.raises(PolicyError) as refused:
        add_adapters(stages, [1, 2], rank=2)
    message = str(refused.value)
    assert "Dense, EinsumDense, Embedding, Conv1D, Conv2D, Conv3D" in message
    assert "Received: stages 1 (middle), 2 (limited)" in message
    assert "Stages that have some: 0 (stem)" in message
    with pytest.raises(PolicyError, match=r"Received: stages none\. .*0 \(stem\)"):
        add_adapters(stages, [], rank=2)
    with pytest.raises(PolicyError, match="No stage of this backbone has"):
        add_adapters(stages[1:], [1, 2], rank=2)


def test_a_second_adapter_is_refused_before_anything_changes():
    setup = Setup("bert")
    add_adapters(setup.stages, setup.every[-1:], rank=2)
    with pytest.raises(PolicyError, match=r"pooled_dense.* has an adapter already, of rank 2\. Received: .*rank 3"):
        add_adapters(setup.stages, setup.every, rank=3)
    assert names(find_adapters(setup.stages)) == names(find_adapters(setup.stages[-1:]))


# What trains.


@pytest.mark.parametrize("name", FAST_AND_SLOW)
def test_new_adapters_change_no_output_and_training_updates_only_them_and_the_head(name):
    setup = Setup(name)
    expected = setup.predict()
    before = setup.weights
    total = setup.trainer.count_params()
    adapters = add_adapters(setup.stages, setup.every, rank=2)
    setup.predictor.make_predict_function(force=True)
    np.testing.assert_array_equal(setup.predict(), expected)

    setup.compile(keras.optimizers.Adam(0.01, epsilon=1e-30))  # changes weights where SGD steps would round to nothing
    factors = [factor for adapter in adapters for factor in adapter.factors]
    trained = setup.trainer.trainable_weights
    assert {id(w) for w in trained} == {id(w) for w in [*factors, *setup.head.weights]}
    # A has a number for each row and rank, B for each rank and column.
    sizes = [(np.prod(a.weight.shape[:-1]), a.weight.shape[-1], a.layer.lora_rank) for a in adapters]
    added = sum(rank * (rows + columns) for rows, columns, rank in sizes)
    assert sum(np.prod(w.shape) for w in trained) == added + setup.head.count_params()
    assert setup.trainer.count_params() == total + added

    new = setup.weights
    setup.train(2)  # in the first step A has no gradient, because B is zero
    after = setup.weights
    # BatchNorm in these stages stays on its stored statistics.
    still = before.keys() - {id(w) for w in setup.head.weights}
    assert all(np.array_equal(before[key], after[key]) for key in still)
    assert [w.path for w in trained if np.array_equal(new[id(w)], after[id(w)])] == []


def test_keras_makes_the_adapted_weight_trainable_again_with_its_layer():
    """The reason why the layers stay frozen and the factors alone are set."""
    setup = Setup("all_kinds")
    for adapter in add_adapters(setup.stages, setup.every, rank=2):
        assert not adapter.weight.trainable
        adapter.layer.trainable = False
        adapter.layer.trainable = True
        assert adapter.weight.trainable


# Merging.


@pytest.mark.parametrize("name", FAST_AND_SLOW)
def test_merged_layers_are_ordinary_ones_that_predict_the_same(name, tmp_path):
    setup = Setup(name)
    shapes = [w.shape for w in setup.trainer.weights]
    plain = setup.predict()
    adapters = learned(setup, alpha=3.0)
    setup.predictor.make_predict_function(force=True)
    expected = setup.predict()
    assert np.abs(expected - plain).max() > 1e-3

    merge_adapters(setup.stages)
    # The function that predict had traced before, and a new one.
    np.testing.assert_allclose(setup.predict(), expected, rtol=0, atol=1e-5)
    setup.predictor.make_predict_function(force=True)
    np.testing.assert_allclose(setup.predict(), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(keras.ops.softmax(setup.trainer(setup.inputs())), expected, rtol=0, atol=1e-5)
    assert find_adapters(setup.stages) == ()
    assert [w.shape for w in setup.trainer.weights] == shapes
    assert not any(hasattr(adapter.layer, "lora_kernel_a") for adapter in adapters)

    setup.predictor.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert "lora_rank" not in loaded.to_json()
    assert [w.shape for w in loaded.weights] == shapes
    np.testing.assert_allclose(loaded.predict(setup.inputs(), verbose=0), expected, rtol=0, atol=1e-5)


def test_merged_layers_can_be_trained_and_adapted_again():
    setup = Setup("all_kinds")
    learned(setup)
    merge_adapters(setup.stages)
    merge_adapters(setup.stages)  # nothing left to do
    for layer in (layer for stage in setup.stages for layer in stage.layers):
        layer.trainable = True
    assert {w.name for w in setup.trainer.trainable_weights} >= {"kernel", "embeddings", "gamma"}
    expected = setup.predict()
    learned(setup)
    setup.predictor.make_predict_function(force=True)
    assert np.abs(setup.predict() - expected).max() > 1e-3


def test_merging_is_exact_under_mixed_precision():
    setup = Setup("all_kinds", dtype="mixed_bfloat16")
    adapters = learned(setup)
    exact = [np.array(a.weight) + np.matmul(a.a, a.b) for a in adapters]
    merge_adapters(setup.stages)
    for adapter, expected in zip(adapters, exact, strict=True):
        assert adapter.weight.dtype == "float32"
        np.testing.assert_allclose(adapter.weight, expected, rtol=1e-5, atol=1e-7)


# Checkpoints.


def test_saving_by_keras_merges_adapters_and_the_loaded_ones_cannot_learn(tmp_path):
    """The trap, and why checkpoints contain variables: if Keras closes it, this fails."""
    setup = Setup("all_kinds")
    adapters = learned(setup)
    expected = setup.predict()
    bases = [np.array(adapter.weight) for adapter in adapters]
    setup.trainer.save_weights(tmp_path / "run.weights.h5")

    resumed = Setup("all_kinds", seed=1)
    adapters = add_adapters(resumed.stages, resumed.every, rank=2)
    resumed.trainer.load_weights(tmp_path / "run.weights.h5")
    np.testing.assert_allclose(resumed.predict(), expected, rtol=0, atol=1e-5)
    assert all(not np.array_equal(a.weight, base) for a, base in zip(adapters, bases, strict=True))
    resumed.compile()
    resumed.train(3)
    assert not any(np.any(factor) for adapter in adapters for factor in adapter.factors)
