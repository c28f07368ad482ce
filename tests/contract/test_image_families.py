"""The contract of every family of image backbones in KerasHub. Each is built small, saved as a preset and loaded."""

import inspect

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.backbones import ImageBackbone
from keras_transfer.backbones.images.channels import with_channels
from keras_transfer.backbones.images.hub import find_image_families, list_image_presets, load_hub_backbone
from keras_transfer.config.augmentation import AugmentationConfig
from keras_transfer.config.schema import ImageHeadConfig
from keras_transfer.data.readers.images import ImageReader
from keras_transfer.errors import BackboneError
from keras_transfer.export.saved_model import write_saved_model
from keras_transfer.heads import ClassificationHead
from keras_transfer.model import build_model
from keras_transfer.networks.keras_file import read_keras_file, write_keras_file
from keras_transfer.networks.stages import submodel

SIZE = 32
# Each channel has its own: what is done twice, never or in another order shows.
SCALE, OFFSET = (1 / 58.0, 1 / 57.0, 1 / 56.0), (-2.1, -2.0, -1.8)

TRANSFORMER = {
    "patch_size": 8,
    "num_layers": 3,
    "hidden_dim": 16,
    "num_heads": 2,
    "intermediate_dim": 32,
    "mlp_dim": 32,
}
TEXTS = {"vocabulary_size": 64, "embedding_dim": 16, "max_sequence_length": 16, **TRANSFORMER, "num_layers": 1}

# name: (stages, arguments of the backbone besides the usual ones)
FAMILIES = {
    "clip": (4, {"projection_dim": 16}),
    "cspnet": (
        3,
        {
            "stem_filters": 8,
            "stem_kernel_size": 3,
            "stem_strides": 2,
            "stackwise_depth": [1, 1],
            "stackwise_strides": [2, 2],
            "stackwise_num_filters": [8, 16],
            "block_type": "dark_block",
            "stage_type": "dark",
        },
    ),
    # Its blocks have more than one output, so that its encoder is one stage.
    "deit": (2, {}),
    "densenet": (7, {"stackwise_num_repeats": [1, 2, 1], "growth_rate": 4}),
    "dinov2": (4, {"position_embedding_shape": (SIZE, SIZE, 3)}),
    "dinov3": (4, {}),
    "efficientnet": (
        5,
        {
            "stackwise_width_coefficients": [1.0, 1.0],
            "stackwise_depth_coefficients": [1.0, 1.0],
            "stackwise_kernel_sizes": [3, 3],
            "stackwise_num_repeats": [1, 2],
            "stackwise_input_filters": [8, 8],
            "stackwise_output_filters": [8, 16],
            "stackwise_expansion_ratios": [1, 4],
            "stackwise_squeeze_and_excite_ratios": [0.25, 0.25],
            "stackwise_strides": [1, 2],
            "stackwise_block_types": ["v1", "v1"],
            "stackwise_force_input_filters": [0, 0],
            "stackwise_nores_option": [False, False],
        },
    ),
    "hgnetv2": (
        3,
        {
            "depths": [1, 1],
            "embedding_size": 8,
            "hidden_sizes": [16, 16],
            "stem_channels": [3, 8, 8],
            "hidden_act": "relu",
            "use_learnable_affine_block": False,
            "stackwise_stage_filters": [(8, 8, 16, 1, 1, 3), (16, 8, 16, 1, 1, 3)],
            "apply_downsample": [False, True],
            "use_lightweight_conv_block": [False, False],
        },
    ),
    "metaclip_2": (4, {"projection_dim": 16}),
    "mit": (
        4,
        {
            "num_layers": 2,
            "layerwise_depths": [1, 1],
            "layerwise_num_heads": [1, 2],
            "layerwise_sr_ratios": [2, 1],
            "layerwise_patch_sizes": [7, 3],
            "layerwise_strides": [4, 2],
            "max_drop_path_rate": 0.1,
            "hidden_dims": [8, 16],
        },
    ),
    "mobilenet": (
        5,
        {
            "stackwise_expansion": [[4], [4, 4]],
            "stackwise_num_blocks": [1, 2],
            "stackwise_num_filters": [[8], [8, 8]],
            "stackwise_kernel_size": [[3], [3, 3]],
            "stackwise_num_strides": [[2], [2, 1]],
            "stackwise_se_ratio": [[None], [0.25, 0.25]],
            "stackwise_activation": [["relu"], ["relu", "relu"]],
            "stackwise_padding": [[1], [1, 1]],
            "input_num_filters": 8,
            "output_num_filters": 16,
            "depthwise_filters": 8,
            "depthwise_stride": 1,
            "depthwise_residual": False,
            "last_layer_filter": 16,
        },
    ),
    "mobilenetv5": (
        4,
        {
            "stackwise_block_types": [["er"], ["uir", "uir"]],
            "stackwise_num_blocks": [1, 2],
            "stackwise_num_filters": [[8], [16, 16]],
            "stackwise_strides": [[2], [2, 1]],
            "stackwise_act_layers": [["relu"], ["relu", "relu"]],
            "stackwise_exp_ratios": [[4.0], [4.0, 4.0]],
            "stackwise_se_ratios": [[0.0], [0.0, 0.0]],
            "stackwise_dw_kernel_sizes": [[0], [3, 3]],
            "stackwise_dw_start_kernel_sizes": [[0], [0, 0]],
            "stackwise_dw_end_kernel_sizes": [[0], [0, 0]],
            "stackwise_exp_kernel_sizes": [[3], [0, 0]],
            "stackwise_pw_kernel_sizes": [[1], [0, 0]],
            "stackwise_num_heads": [[0], [0, 0]],
            "stackwise_key_dims": [[0], [0, 0]],
            "stackwise_value_dims": [[0], [0, 0]],
            "stackwise_kv_strides": [[0], [0, 0]],
            "stackwise_use_cpe": [[False], [False, False]],
            "stem_size": 8,
            "num_features": 16,
            "use_msfa": False,
        },
    ),
    "resnet": (
        4,
        {
            "input_conv_filters": [64],
            "input_conv_kernel_sizes": [7],
            "stackwise_num_filters": [64, 64],
            "stackwise_num_blocks": [1, 2],
            "stackwise_num_strides": [1, 2],
            "block_type": "basic_block",
        },
    ),
    "siglip": (5, {}),
    "swin_transformer": (
        3,
        {"embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2], "window_size": 2, "patch_size": 2},
    ),
    "vgg": (2, {"stackwise_num_repeats": [1, 1], "stackwise_num_filters": [8, 16]}),
    "vit": (4, {"patch_size": (8, 8)}),
    "xception": (5, {"stackwise_conv_filters": [[8, 8], [16, 16], [16, 16]], "stackwise_pooling": [True, True, False]}),
}
# The default tests have one family of each kind; the others differ from those in layers.
FAST = {"dinov3", "resnet"}
NAMES = [pytest.param(name, marks=[pytest.mark.slow] if name not in FAST else []) for name in FAMILIES]


def make(cls, arguments, size=SIZE):
    known = inspect.signature(cls).parameters
    usual = {"image_shape": (size, size, 3), "input_shape": (size, size, 3), **TRANSFORMER}
    return cls(**{**{key: value for key, value in usual.items() if key in known}, **arguments})


def build(name, size=SIZE, **more):
    """KerasHub's own network, with random weights."""
    family = find_image_families()[name]
    keras.utils.set_random_seed(0)
    arguments = {**FAMILIES[name][1], **more}
    if family.is_tower:
        # The towers' classes are not public.
        module = inspect.getmodule(family.backbone)
        models = module.__name__.rsplit(".", 1)[0]
        stem = family.backbone.__name__.removesuffix("Backbone")
        towers = {}
        for kind, given in (("Vision", {}), ("Text", TEXTS)):
            path = f"{models}.{name}_{kind.lower()}_encoder"
            cls = getattr(__import__(path, fromlist=["x"]), f"{stem}{kind}Encoder")
            known = inspect.signature(cls).parameters
            towers[f"{kind.lower()}_encoder"] = make(cls, {key: x for key, x in given.items() if key in known}, size)
        arguments = {**arguments, **towers}
    body = make(family.backbone, arguments, size)
    return family, body


def save(name, folder, *, size=SIZE, image_size=None, **more):
    family, body = build(name, size, **more)
    body.save_to_preset(str(folder))
    classes = [x for x in vars(keras_hub.layers).values() if inspect.isclass(x)]
    converter = next(x for x in classes if getattr(x, "backbone_cls", None) is family.backbone)
    converter = converter(image_size=image_size or (size, size), scale=SCALE, offset=OFFSET)
    converter.save_to_preset(str(folder))
    # DINOv2 makes positions for the size of its images of its weights, when it loads them.
    return family, keras_hub.models.Backbone.from_preset(str(folder)), converter


@pytest.fixture(scope="module", autouse=True)
def forget_networks():
    yield
    keras.backend.clear_session()


def pixels(size=SIZE):
    return np.random.default_rng(0).uniform(0, 255, (2, size, size, 3)).astype("float32")


def test_every_family_is_covered():
    assert set(find_image_families()) == set(FAMILIES)


def test_presets_are_found():
    presets = list_image_presets()
    found = {
        presets[name] for name in ("vit_base_patch16_224_imagenet", "resnet_50_imagenet", "siglip_base_patch16_224")
    }
    assert found == {"vit", "resnet", "siglip"}
    assert set(presets.values()) == set(FAMILIES)
    assert "bert_tiny_en_uncased" not in presets


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_classifies_and_is_reloaded(name, tmp_path):
    family, body, converter = save(name, tmp_path / "preset")
    backbone = load_hub_backbone(str(tmp_path / "preset"))
    assert (backbone.image_size, len(backbone.stages)) == (SIZE, FAMILIES[name][0])

    # Each weight is in one stage, and all that were saved are present.
    held = [weight for stage in backbone.stages for weight in stage.weights]
    assert len({id(weight) for weight in held}) == len(held) == len(backbone.network.weights)
    own = getattr(body, "vision_encoder", body)
    sizes = [sum(int(np.prod(x.shape)) for x in network.weights) for network in (own, backbone.network)]
    assert sizes[0] == sizes[1]

    # The same numbers as KerasHub's own network and preprocessing.
    features = backbone.network(backbone.prepare(pixels()))
    inputs = converter(pixels())
    expected = own({key: inputs for key in own.input} if isinstance(own.input, dict) else inputs)
    if isinstance(expected, dict):
        expected = expected[own.stage_names[-1]]
    if len(expected.shape) == 3 and family.has_class_token:
        expected = expected[:, 0]
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)

    # After the first stage nothing reads pixels: cached features of frozen stages suffice.
    assert [stage.name for stage in backbone.stages[1:] if stage.inputs] == []

    # Stages one after another give what the whole gives.
    x = backbone.prepare(pixels())
    for index in range(len(backbone.stages)):
        x = submodel(backbone.network, backbone.stages, index, index + 1)(x)
    np.testing.assert_allclose(x, features, rtol=1e-4, atol=1e-4)

    pooling = {} if len(expected.shape) == 2 else {"pooling": "both"}  # a class token needs none
    model = build_model(backbone, ClassificationHead(("a", "b", "c"), ImageHeadConfig(**pooling)))
    probabilities = model.predictor(pixels()).numpy()
    assert probabilities.sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    assert np.abs(np.diff(features, axis=0)).max() > 1e-3
    write_keras_file(model.predictor, tmp_path / "model.keras")
    again = read_keras_file(tmp_path / "model.keras", BackboneError)
    np.testing.assert_allclose(again(pixels()), probabilities, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_adapted_to_other_channels(name, tmp_path):
    save(name, tmp_path / "preset")
    backbone = load_hub_backbone(str(tmp_path / "preset"))
    adapted = with_channels(backbone, 4)
    assert [stage.name for stage in adapted.stages] == [stage.name for stage in backbone.stages]
    pairs = list(zip(adapted.network.weights, backbone.network.weights, strict=True))
    widened = [(keras.ops.convert_to_numpy(mine), theirs) for mine, theirs in pairs if mine.shape != theirs.shape]
    for mine, theirs in widened:
        np.testing.assert_array_equal(mine[:, :, :3], theirs)
        np.testing.assert_allclose(mine[:, :, 3], np.mean(theirs, axis=2), atol=1e-6)
    assert len(widened) == 1
    write_keras_file(adapted.network, tmp_path / "adapted.keras")
    again = read_keras_file(tmp_path / "adapted.keras", BackboneError)
    x = np.random.default_rng(0).uniform(-1, 1, (2, SIZE, SIZE, 4)).astype("float32")
    np.testing.assert_allclose(again(x), adapted.network(x), atol=1e-5)


EXPORTED = [pytest.param(name, marks=[pytest.mark.slow] if name != "siglip" else []) for name in FAMILIES]


@pytest.mark.parametrize("name", EXPORTED)
def test_a_preset_is_exported(name, tmp_path):
    save(name, tmp_path / "preset")
    model = build_model(
        load_hub_backbone(str(tmp_path / "preset")), ClassificationHead(("a", "b", "c"), ImageHeadConfig())
    )
    augmentation = AugmentationConfig()
    reader = ImageReader(
        image_size=SIZE, channels=3, resize="crop", augmentation=augmentation, seed=0, max_pixels=10**6
    )
    write_saved_model(model.predictor, model.head, reader, tmp_path / "saved")
    served = tf.saved_model.load(str(tmp_path / "saved")).signatures["serve_tensor"](pixels=tf.constant(pixels()))
    np.testing.assert_allclose(served["probabilities"], model.predictor(pixels()), atol=1e-5)


@pytest.mark.parametrize("name", ["resnet", pytest.param("dinov2", marks=pytest.mark.slow)])
def test_another_size_if_the_family_supports_it(name, tmp_path):
    save(name, tmp_path / "preset")
    backbone = load_hub_backbone(str(tmp_path / "preset"), image_size=48)
    small = load_hub_backbone(str(tmp_path / "preset"))
    assert backbone.image_size == 48 and isinstance(backbone, ImageBackbone)
    assert backbone.network(backbone.prepare(pixels(48))).shape[-1] == small.network.output_shape[-1]
    pairs = list(zip(backbone.network.weights, small.network.weights, strict=True))
    others = [mine.name for mine, theirs in pairs if mine.shape != theirs.shape]
    assert {*others} == ({"interpolated_position_embeddings"} if name == "dinov2" else set())
    for mine, theirs in pairs:
        if mine.name not in others:
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("name", ["vit", pytest.param("siglip", marks=pytest.mark.slow)])
def test_another_size_is_refused_if_positions_have_weights(name, tmp_path):
    save(name, tmp_path / "preset")
    with pytest.raises(BackboneError, match=r"does not take images of 48x48 pixels.*or set it to 32\."):
        load_hub_backbone(str(tmp_path / "preset"), image_size=48)


def test_a_network_for_any_size_uses_the_size_of_its_preprocessing(tmp_path):
    save("vgg", tmp_path / "preset", size=None, image_size=(40, 40))
    assert load_hub_backbone(f"hub:{tmp_path / 'preset'}").image_size == 40


@pytest.mark.slow
def test_trained_positions_of_dinov2_are_reloaded(tmp_path):
    _, body, converter = save("dinov2", tmp_path / "preset", position_embedding_shape=(56, 56, 3))
    backbone = load_hub_backbone(str(tmp_path / "preset"))
    expected = body({"images": converter(pixels())})[:, 0]
    np.testing.assert_allclose(backbone.network(backbone.prepare(pixels())), expected, rtol=1e-4, atol=1e-4)
    (positions,) = [x for x in backbone.network.weights if x.name == "interpolated_position_embeddings"]
    positions.assign_add(np.random.default_rng(0).normal(size=positions.shape))
    trained = backbone.network(pixels())
    write_keras_file(backbone.network, tmp_path / "model.keras")
    again = read_keras_file(tmp_path / "model.keras", BackboneError)
    np.testing.assert_allclose(again(pixels()), trained, rtol=1e-4, atol=1e-4)
