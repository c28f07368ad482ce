"""Cut points, on graphs that are hard to cut."""

import keras
import keras_hub
import numpy as np
import pytest
from keras import layers

from keras_transfer.errors import BackboneError
from keras_transfer.networks.stages import find_stages, submodel

RANDOM = np.random.default_rng(0)


def run_in_stages(network, stages, data):
    """Feed each stage what the one before gives, and those inputs of the network that it names."""
    named = dict(zip([x.name for x in network.inputs], keras.tree.flatten(data), strict=True))
    alive = keras.tree.flatten(submodel(network, stages, 0, 1)(data))
    for index in range(1, len(stages)):
        part = submodel(network, stages, index, index + 1)
        own = [named[x.name] for x in part.inputs[len(alive) :]]
        values = [keras.ops.convert_to_tensor(x) for x in [*alive, *own]]
        result = part(values[0] if len(values) == 1 else values)
        alive = keras.tree.flatten(result)
    return alive


def check(network, data):
    """Return the stages after checking what holds for the stages of every network."""
    stages = find_stages(network)
    for got, want in zip(run_in_stages(network, stages, data), keras.tree.flatten(network(data)), strict=True):
        assert np.ptp(want) > 0
        np.testing.assert_array_equal(got, want)
    in_stages = [id(weight) for stage in stages for weight in stage.weights]
    assert sorted(in_stages) == sorted({id(weight) for weight in network.weights})
    assert sum(stage.parameters for stage in stages) == network.count_params()
    assert [stage.index for stage in stages] == list(range(len(stages)))
    assert len({stage.name for stage in stages}) == len(stages)
    return stages


def numbers(*shape):
    return RANDOM.normal(size=shape).astype("float32")


def chain(names, width=4):
    x = inputs = keras.Input((width,))
    for name in names:
        x = layers.Dense(width, name=name)(x)
    return keras.Model(inputs, x)


def bert(layers_=4):
    return keras_hub.models.BertBackbone(
        vocabulary_size=50,
        num_layers=layers_,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=16,
        dropout=0.1,
    )


TOKENS = {
    "token_ids": RANDOM.integers(1, 50, (2, 8)),
    "segment_ids": np.array([[0] * 8, [0] * 4 + [1] * 4]),
    "padding_mask": np.array([[1] * 8, [1] * 5 + [0] * 3]),
}


def test_normalization_and_activation_join_the_convolution_before():
    x = inputs = keras.Input((8, 8, 3))
    for number in (1, 2, 3):
        x = layers.Conv2D(4, 3, name=f"part{number}_conv")(x)
        x = layers.BatchNormalization(name=f"part{number}_bn")(x)
        x = layers.ReLU(name=f"part{number}_relu")(x)
    stages = check(keras.Model(inputs, x), numbers(2, 8, 8, 3))
    assert [stage.name for stage in stages] == ["part1", "part2", "part3"]
    assert [layer.name for layer in stages[1].layers] == ["part2_conv", "part2_bn", "part2_relu"]


def test_normalization_ahead_of_a_block_joins_the_block_it_is_named_after():
    x = inputs = keras.Input((6, 6, 4))
    for block in (1, 2):
        y = layers.BatchNormalization(name=f"block{block}_preact_bn")(x)
        y = layers.Conv2D(4, 3, padding="same", name=f"block{block}_conv")(y)
        x = layers.Conv2D(4, 1, name=f"block{block}_last_conv")(y)
    stages = check(keras.Model(inputs, x), numbers(2, 6, 6, 4))
    assert [stage.name for stage in stages] == ["block1", "block2"]


def test_normalization_of_any_name_joins_the_layer_before():
    x = inputs = keras.Input((4,))
    x = layers.LayerNormalization(name="scale")(layers.Dense(4, name="first")(x))
    stages = check(keras.Model(inputs, layers.Dense(4, name="second")(x)), numbers(3, 4))
    assert [[layer.name for layer in stage.layers if layer.weights] for stage in stages] == [
        ["first", "scale"],
        ["second"],
    ]


def test_embeddings_join_one_another_and_not_the_layer_after():
    inputs = keras.Input((8,))
    x = layers.Embedding(50, 4, name="words")(inputs)
    x = keras_hub.layers.PositionEmbedding(8, name="positions")(x) + x
    x = layers.Dense(4, name="second")(layers.Dense(4, name="first")(x))
    stages = check(keras.Model(inputs, x), TOKENS["token_ids"])
    assert [[layer.name for layer in stage.layers if layer.weights] for stage in stages] == [
        ["words", "positions"],
        ["first"],
        ["second"],
    ]


def test_a_depthwise_convolution_joins_the_pointwise_one_after_it():
    x = inputs = keras.Input((8, 8, 3))
    for name in ("a", "b"):
        x = layers.DepthwiseConv2D(3, padding="same", name=f"spatial_{name}")(x)
        x = layers.BatchNormalization(name=f"spatial_{name}_bn")(x)
        x = layers.Conv2D(4, 1, name=f"channels_{name}")(x)
    stages = check(keras.Model(inputs, x), numbers(2, 8, 8, 3))
    assert [stage.name for stage in stages] == ["channels_a", "channels_b"]


def test_no_cut_inside_a_shortcut():
    x = inputs = keras.Input((4,))
    for number in range(3):
        y = layers.Dense(4, name=f"left_{number}")(x)
        y = layers.Dense(4, name=f"right_{number}")(y)
        x = layers.Add(name=f"sum_{number}")([x, y]) if number else layers.Add(name="sum_0")([layers.Dense(4)(x), y])
    stages = check(keras.Model(inputs, x), numbers(3, 4))
    assert [stage.name for stage in stages][-2:] == ["sum_1", "sum_2"]


def test_a_boundary_may_have_two_tensors_if_the_network_is_never_narrower():
    before = x = inputs = keras.Input((4,))
    for number in range(16):
        y = layers.Concatenate(name=f"cell_{number}")(
            [layers.Dense(2, name=f"a_{number}")(x), layers.Dense(2, name=f"b_{number}")(before)]
        )
        before, x = x, y
    stages = check(keras.Model(inputs, layers.Add()([before, x])), numbers(3, 4))
    assert 5 <= len(stages) <= 25
    assert [len(stage.outputs) for stage in stages].count(2) > 10
    assert all(stage.name.startswith("cell_") for stage in stages[2:-1])


def test_a_small_network_is_only_cut_where_one_tensor_is_alive():
    before = x = inputs = keras.Input((4,))
    for number in range(4):
        before, x = x, layers.Dense(4, name=f"cell_{number}")(layers.Add()([x, before]))
    stages = check(keras.Model(inputs, layers.Add()([before, x])), numbers(3, 4))
    assert all(len(stage.outputs) == 1 for stage in stages)


@pytest.mark.parametrize("count", [1, 3, 25])
def test_a_chain_has_a_stage_for_each_layer(count):
    names = [f"layer{number}" for number in range(count)]
    assert [stage.name for stage in check(chain(names), numbers(2, 4))] == names


def test_more_than_25_blocks_are_joined_evenly():
    stages = check(chain([f"block{number}" for number in range(60)]), numbers(2, 4))
    sizes = [len(stage.weights) // 2 for stage in stages]
    assert len(stages) == 25
    assert sum(sizes) == 60 and max(sizes) <= 4
    assert stages[0].name.startswith("block0..block")


@pytest.mark.parametrize("nested", [False, True])
def test_joining_does_not_cross_a_stride(nested):
    x, rescaling = keras.Input((64, 64, 1)), [5, 15, 25]
    inputs = x
    for number in range(30):
        stride = 2 if number in rescaling else 1
        layer = layers.Conv2D(1, 3, strides=stride, padding="same", name=f"conv{number}")
        if nested:
            inner = keras.Input(x.shape[1:])
            layer = keras.Model(inner, layer(inner), name=f"conv{number}")
        x = layer(x)
    stages = find_stages(keras.Model(inputs, x))
    assert len(stages) == 25
    first = {stage.layers[0].name for stage in stages[1:]}
    assert {f"conv{number}" for number in rescaling} <= first


@pytest.mark.slow
def test_stages_do_not_depend_on_the_size_of_the_input_nor_on_what_was_built_before():
    def names(size):
        network = keras.applications.DenseNet121(include_top=False, weights=None, input_shape=(size, size, 3))
        return [(stage.name, len(stage.layers)) for stage in find_stages(network)]

    assert names(32) == names(64) == names(None)
    inception = [
        [
            stage.name
            for stage in find_stages(
                keras.applications.InceptionV3(include_top=False, weights=None, input_shape=(75, 75, 3))
            )
        ]
        for _ in range(2)
    ]
    assert inception[0] == inception[1]
    assert "mixed0" in inception[0]


def test_names_that_keras_counts_over_the_process_name_no_stage():
    def names():
        x = inputs = keras.Input((8, 8, 3))
        for _ in range(3):
            x = layers.ReLU()(layers.Conv2D(3, 3)(x))
        return [stage.name for stage in find_stages(keras.Model(inputs, x))]

    assert names() == names() == ["conv2d", "conv2d_2", "conv2d_3"]


def test_the_common_prefix_of_names_is_removed():
    stages = find_stages(chain(["my_net2_stem", "my_net2_block1", "my_net2_block2"]))
    assert [stage.name for stage in stages] == ["stem", "block1", "block2"]
    assert [stage.name for stage in find_stages(chain(["net_stem", "net_top"]))] == ["stem", "top"]


def test_a_name_that_equals_the_common_prefix_is_not_removed():
    names = ["net", "net_a", "net_b"]
    assert [stage.name for stage in find_stages(chain(names))] == names


def test_a_numbered_block_may_repeat_a_word_that_is_not_its_last():
    stages = find_stages(chain(["block1_conv", "block1_project", "block1_conv2", "block2_conv", "block2_conv2"]))
    assert [[layer.name for layer in stage.layers if layer.weights] for stage in stages] == [
        ["block1_conv", "block1_project", "block1_conv2"],
        ["block2_conv"],
        ["block2_conv2"],
    ]


def test_no_stage_spans_an_encoder_and_its_decoder():
    sound, tokens = keras.Input((4,), name="sound"), keras.Input((4,), name="tokens")
    encoded, x = sound, tokens
    for number in range(19):
        encoded = layers.Dense(4, name=f"enc{number}")(encoded)
    for number in range(21):
        x = layers.Dense(4, name=f"dec{number}")(layers.Add()([x, encoded]) if number else x)
    network = keras.Model([sound, tokens], x)
    stages = find_stages(network, branches=2)
    assert len(stages) == 25
    sides = [{layer.name[:3] for layer in stage.layers if layer.weights} for stage in stages]
    assert sides == sorted(sides, key=lambda side: side == {"dec"}) and {len(side) for side in sides} == {1}
    data = [numbers(2, 4), numbers(2, 4)]
    np.testing.assert_array_equal(run_in_stages(network, stages, data)[0], network(data))


def test_the_first_layer_of_a_decoder_is_a_stage_of_its_own():
    sound, tokens = keras.Input((4,), name="sound"), keras.Input((4,), name="tokens")
    encoded = layers.Dense(4, name="enc1")(layers.Dense(4, name="enc0")(sound))
    x = layers.Dense(4, name="dec0")(tokens)
    for number in (1, 2):
        x = layers.Dense(4, name=f"dec{number}")(layers.Add()([x, encoded]))
    stages = find_stages(keras.Model([sound, tokens], x), branches=2)
    assert [[layer.name for layer in stage.layers if layer.weights] for stage in stages] == [
        ["enc0"],
        ["enc1"],
        ["dec0"],
        ["dec1"],
        ["dec2"],
    ]


def test_a_shared_layer_is_in_one_stage():
    shared = layers.Dense(4, name="shared")
    x = inputs = keras.Input((4,))
    for number in range(3):
        x = layers.Dense(4, name=f"own{number}")(x)
        if number < 2:
            x = shared(x)
    stages = check(keras.Model(inputs, x), numbers(2, 4))
    assert [layer.name for layer in stages[1].layers if layer.weights] == ["shared", "own1"]
    assert len(stages) == 3


def test_layers_without_weights_may_be_shared():
    relu = layers.ReLU()
    x = inputs = keras.Input((6, 6, 3))
    for number in range(4):
        y = relu(layers.Conv2D(3, 3, padding="same", name=f"conv{number}")(x))
        x = relu(layers.Add()([x, y]))
    assert len(check(keras.Model(inputs, x), numbers(2, 6, 6, 3))) == 4


def test_a_layer_first_used_in_another_model():
    network = chain(["first", "second", "third"])
    again = keras.Input((4,))
    x = again
    for layer in network.layers[1:]:
        x = layer(x)
    assert [stage.name for stage in check(keras.Model(again, x), numbers(2, 4))] == ["first", "second", "third"]


def test_stages_can_be_found_again_after_the_network_was_split():
    network = chain(["first", "second", "third"])
    stages = find_stages(network)
    part = submodel(network, stages, 1, 3)
    assert [stage.outputs for stage in find_stages(network)] == [stage.outputs for stage in stages]
    assert [stage.name for stage in check(part, numbers(2, 4))] == ["second", "third"]


def test_a_nested_model_counts_as_one_layer():
    inner = chain(["inner_a", "inner_b"])
    inputs = keras.Input((4,))
    network = keras.Model(inputs, layers.Dense(2, name="last")(inner(layers.Dense(4, name="first")(inputs))))
    stages = check(network, numbers(2, 4))
    assert [stage.layers[-1] for stage in stages][1] is inner


def test_several_inputs_and_outputs():
    left, right = keras.Input((8,), name="left"), keras.Input((4,), name="right")
    a = layers.Dense(8, name="a")(left)
    b = layers.Dense(8, name="b")(layers.Rescaling(0.5)(right))
    c = layers.Dense(3, name="c")(layers.Add()([a, b]))
    network = keras.Model({"left": left, "right": right}, {"wide": c, "narrow": layers.Dense(2, name="d")(c)})
    stages = check(network, {"left": numbers(2, 8), "right": numbers(2, 4)})
    assert [x.name for x in stages[1].inputs] in (["right"], ["left"])
    assert len(stages) == 4


def test_what_follows_from_an_input_without_weights_is_computed_where_it_is_read():
    values, gate = keras.Input((4,), name="values"), keras.Input((4,), name="gate")
    halved, x = layers.Rescaling(0.5, name="halved")(gate), values
    for number in range(3):
        x = layers.Dense(4, name=f"part{number}")(layers.Multiply(name=f"gate{number}")([x, halved]))
    stages = check(keras.Model([values, gate], x), [numbers(2, 4), numbers(2, 4)])
    assert [stage.name for stage in stages] == ["part0", "part1", "part2"]
    # A layer without weights belongs to the stage before it.
    assert [[x.name for x in stage.inputs] for stage in stages[1:]] == [["gate"], []]


def test_an_output_may_follow_from_an_input_alone():
    values, mask = keras.Input((4,), name="values"), keras.Input((4,), name="mask")
    x = layers.Dense(4, name="second")(layers.Dense(4, name="first")(values))
    network = keras.Model([values, mask], {"x": x, "y": layers.Rescaling(2.0)(mask)})
    stages = check(network, [numbers(2, 4), numbers(2, 4)])
    assert [x.name for x in stages[-1].inputs] == ["mask"]


def test_a_random_layer_is_not_run_again():
    """What follows from the inputs through a random layer must reach all its users alike, so it is not free."""
    inputs = keras.Input((4,))
    noisy = layers.GaussianNoise(1.0, seed=1, name="noise")(inputs)
    x = layers.Dense(4, name="a")(noisy)
    x = layers.Dense(4, name="b")(layers.Add()([x, noisy]))
    stages = find_stages(keras.Model(inputs, x))
    assert [stage.name for stage in stages] == ["a", "b"] or len(stages) == 1
    assert all(not stage.inputs for stage in stages[1:])


def test_no_cut_that_would_lose_an_implicit_mask():
    inputs = keras.Input((8,))
    x = layers.Embedding(50, 4, mask_zero=True, name="embedding")(inputs)
    x = layers.LSTM(5, return_sequences=True, name="first")(x)
    x = layers.LSTM(5, name="second")(x)
    stages = check(keras.Model(inputs, layers.Dense(2, name="last")(x)), TOKENS["token_ids"] * TOKENS["padding_mask"])
    assert [[layer.name for layer in stage.layers if layer.weights] for stage in stages] == [
        ["embedding", "first", "second"],
        ["last"],
    ]


def test_bert_with_its_padding_mask():
    network = bert()
    stages = check(network, TOKENS)
    assert len(stages) == 6
    assert [stage.name for stage in stages[1:5]] == [f"transformer_layer_{number}" for number in range(4)]
    assert all([x.name for x in stage.inputs] == ["padding_mask"] for stage in stages[1:5])
    top = submodel(network, stages, 3, len(stages))
    assert [x.name for x in top.inputs[1:]] == ["padding_mask"]
    assert set(top.output) == {"sequence_output", "pooled_output"}


def test_submodel_shares_its_layers_and_keeps_the_structure():
    network = chain([f"layer{number}" for number in range(5)])
    stages = find_stages(network)
    part = submodel(network, stages, 1, 3)
    assert {id(weight) for weight in part.weights} == {id(w) for stage in stages[1:3] for w in stage.weights}
    whole = submodel(network, stages, 0, 5)
    x = numbers(2, 4)
    np.testing.assert_array_equal(whole(x), network(x))


def test_a_sequential_model():
    network = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="first"), layers.Dense(2, name="second")])
    assert [stage.name for stage in check(network, numbers(2, 4))] == ["first", "second"]


def test_a_model_without_a_graph_is_refused():
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(BackboneError, match=r"graph of a functional model\. Received: 'own', a Own"):
        find_stages(Own(name="own"))
    with pytest.raises(BackboneError, match="functional"):
        find_stages(keras.Sequential([layers.Dense(2)]))


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (2, 1), (-1, 2), (0, 4)])
def test_an_invalid_range_is_refused(start, stop):
    network = chain(["a", "b", "c"])
    with pytest.raises(BackboneError, match=f"3 stages.*start={start}, stop={stop}"):
        submodel(network, find_stages(network), start, stop)
