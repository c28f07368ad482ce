"""Grad-CAM against computations by hand, and where its heat has to be."""

import gc
import io
import weakref

import keras
import numpy as np
import pytest
from PIL import Image

from keras_transfer.explain.grad_cam import GradCam, find_grid
from keras_transfer.explain.images import explain_images, to_shown
from keras_transfer.explain.opened import open_model

OUTPUTS = 3


def join(network, *, pool=keras.layers.GlobalAveragePooling2D, hidden=0, flips=False, rescale=True):
    """A predictor with the parts of a run's model: contract, network, pooling, head, final layer."""
    features = keras.Input(network.output_shape[1:])
    pooling = keras.Model(features, pool()(features) if pool else keras.layers.Identity()(features), name="pooling")
    pooled = keras.Input(pooling.output_shape[1:])
    x = keras.layers.Dense(hidden, activation="relu")(pooled) if hidden else pooled
    top = keras.Model(pooled, keras.layers.Dense(OUTPUTS, name="head_logits")(x), name="head")
    inputs = keras.Input(network.input_shape[1:])
    prepared = keras.layers.Rescaling(1 / 255)(inputs) if rescale else inputs
    views = [keras.ops.flip(prepared, axis=2), prepared] if flips else [prepared]
    each = [keras.layers.Softmax()(top(pooling(network(view)))) for view in views]
    return keras.Model(inputs, keras.layers.Average()(each) if flips else each[0])


def convolutional(size=8, channels=4):
    inputs = keras.Input((size, size, 3))
    x = keras.layers.Conv2D(6, 3, 2, padding="same", activation="relu", name="block1_conv")(inputs)
    x = keras.layers.Conv2D(channels, 3, padding="same", activation="relu", name="block2_conv")(x)
    return keras.Model(inputs, x, name="network")


def transformer(*, class_token, pools_class_token=False, size=8, width=6):
    """Patches of 2 x 2 pixels as tokens, two blocks in which each sees all."""
    inputs = keras.Input((size, size, 3))
    x = keras.layers.Conv2D(width, 2, 2, name="patch_conv")(inputs)
    x = keras.layers.Reshape((-1, width), name="patch_reshape")(x)
    if class_token:
        x = keras.layers.ZeroPadding1D((1, 0), name="patch_pad")(x)
    for block in ("block1", "block2"):
        attended = keras.layers.MultiHeadAttention(2, 3, name=f"{block}_attention")(x, x)
        x = keras.layers.LayerNormalization(name=f"{block}_norm")(keras.layers.Add(name=f"{block}_add")([x, attended]))
    return keras.Model(inputs, x[:, 0] if pools_class_token else x, name="network")


def compute(model, images, *outputs):
    directions = np.zeros((len(outputs), len(images), OUTPUTS), np.float32)
    for number, output in enumerate(outputs):
        directions[number, :, output] = 1.0
    return GradCam(open_model(model))(
        keras.ops.convert_to_tensor(images), [*map(keras.ops.convert_to_tensor, directions)]
    )


@pytest.fixture
def images():
    keras.utils.set_random_seed(0)
    return np.random.default_rng(0).uniform(0, 255, (5, 8, 8, 3)).astype(np.float32)


@pytest.mark.parametrize("options", [{}, {"flips": True}, {"rescale": False}], ids=["plain", "flips", "raw"])
def test_average_and_dense_layer_match_the_map_derived_from_their_weights(images, options):
    network = convolutional()
    model = join(network, **options)
    features = np.asarray(network(images / (255 if options.get("rescale", True) else 1)))
    kernel = np.asarray(model.get_layer("head").get_layer("head_logits").kernel)
    maps = compute(model, images, 2, 0)
    # The gradient of logit k at channel c of any place is kernel[c, k] / places: so is its mean over places.
    for number, output in enumerate((2, 0)):
        expected = np.einsum("bhwc,c->bhw", features, kernel[:, output] / 16)
        np.testing.assert_allclose(maps[number], expected, rtol=1e-4, atol=1e-6)


def test_a_head_with_a_hidden_layer_and_maximum_pooling_as_derived_by_hand(images):
    network = convolutional()
    model = join(network, pool=keras.layers.GlobalMaxPooling2D, hidden=5)
    features = np.asarray(network(images / 255))
    first, second = (layer.get_weights() for layer in model.get_layer("head").layers if layer.weights)
    (maps,) = compute(model, images, 1)
    for row, one in enumerate(features):
        flat = one.reshape(16, -1)
        before = flat.max(axis=0) @ first[0] + first[1]
        slope = first[0] @ (second[0][:, 1] * (before > 0))
        # Only the largest place of a channel has a gradient, and ties share it (all are 0 then).
        expected = flat @ (slope / 16)
        np.testing.assert_allclose(maps[row], expected.reshape(4, 4), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "pooled"),
    [
        pytest.param({"class_token": False}, False, id="mean-of-patches"),
        pytest.param({"class_token": True}, False, id="class-token-and-mean"),
        pytest.param({"class_token": True, "pools_class_token": True}, True, id="class-token-alone"),
    ],
)
def test_tokens_are_a_map_and_differences_confirm_it(images, options, pooled):
    """If the map is computed from a gradient, small steps in each channel give the same map."""
    network = transformer(**options)
    model = join(network, pool=None if pooled else keras.layers.GlobalAveragePooling1D)
    (maps,) = compute(model, images, 1)
    assert maps.shape == (5, 4, 4)
    assert (np.abs(maps).max(axis=(1, 2)) > 1e-5).all()
    opened = open_model(model)
    cut = opened.cut(opened.boundaries(3)[0])
    features = np.asarray(cut.before(keras.ops.convert_to_tensor(images)), np.float64)
    prefix = int(options["class_token"])
    slopes = np.zeros(features.shape[-1])
    step = 1e-2
    for channel in range(features.shape[-1]):
        moved = []
        for sign in (1, -1):
            changed = features.copy()
            changed[0, prefix:, channel] += sign * step
            moved.append(float(cut.behind(keras.ops.convert_to_tensor(changed, "float32"), images)[0, 1]))
        slopes[channel] = (moved[0] - moved[1]) / (2 * step) / 16
    np.testing.assert_allclose(maps[0].ravel(), features[0, prefix:] @ slopes, rtol=2e-2, atol=2e-4)


def test_grids():
    assert [find_grid(shape) for shape in [(None, 7, 7, 9), (None, 5, 8, 9), (None, 1, 1, 9), (None, 9)]] == [
        (0, 7, 7),
        (0, 5, 8),
        None,
        None,
    ]
    tokens = {196: 0, 197: 1, 198: 2, 201: 5, 199: None, 1: None}
    found = {count: find_grid((None, count, 9)) for count in tokens}
    assert found == {count: None if prefix is None else (prefix, 14, 14) for count, prefix in tokens.items()}


def test_another_last_stage_gives_another_map(images):
    """The sanity check of Adebayo et al. 2018 (arXiv 1810.03292)."""
    network = convolutional(channels=16)
    model = join(network)
    before = compute(model, images, 1)[0]
    layer = network.get_layer("block2_conv")
    layer.set_weights([np.random.default_rng(1).normal(0, 0.2, weight.shape) for weight in layer.get_weights()])
    after = compute(model, images, 1)[0]
    likeness = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(before, after, strict=True)]
    assert np.mean(likeness) < 0.6


@pytest.fixture
def reader():
    from keras_transfer.config.augmentation import AugmentationConfig
    from keras_transfer.data.readers.images import ImageReader

    augmentation = AugmentationConfig(horizontal_flip=False)
    return ImageReader(image_size=8, channels=3, resize="crop", augmentation=augmentation, seed=0, max_pixels=10**6)


def encode(image, format="PNG", **options):
    with io.BytesIO() as file:
        image.save(file, format, **options)
        return file.getvalue()


def test_odd_images_look_right_and_missing_ones_have_a_note(reader, tmp_path):
    from keras_transfer.data.examples.images import GivenImages

    left = np.zeros((8, 8, 3), np.uint8)
    left[:, :4] = (200, 40, 40)  # red on the left
    turned = Image.fromarray(np.rot90(left).copy())
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter to the right shows it upright
    alpha = np.dstack([left, np.full((8, 8), 255, np.uint8)])
    alpha[:, 4:, 3] = 0
    deep = Image.fromarray((np.arange(64).reshape(8, 8) * 1000).astype(np.uint16))
    values = {
        "turned.jpg": encode(turned, "JPEG", quality=95, exif=exif),
        "alpha.png": encode(Image.fromarray(alpha)),
        "grey.png": encode(Image.fromarray(left[..., 0])),
        "deep.png": encode(deep),
        "gone.png": str(tmp_path / "gone.png"),
        "broken.png": b"\x89PNG\r\n\x1a\nnothing",
    }
    images = GivenImages(tuple(values), tuple(values.values()))
    explained = explain_images(None, reader, images, [(0,)] * 6, OUTPUTS, signed=False)
    shown = [to_shown(name, ("a",), one) for name, one in zip(values, explained, strict=True)]
    pixels = {
        one.name: np.asarray(Image.open(io.BytesIO(one.image.content)).convert("RGB"), float)
        for one in shown
        if one.image is not None
    }
    assert {image.shape for image in pixels.values()} == {(160, 160, 3)}
    expected = {
        "turned.jpg": ([200, 40, 40], [0, 0, 0]),
        "alpha.png": ([200, 40, 40], [255, 255, 255]),
        "grey.png": ([200, 200, 200], [0, 0, 0]),
    }
    for name, sides in expected.items():
        found = pixels[name][80, 30], pixels[name][80, 130]
        np.testing.assert_allclose(found, sides, atol=25, err_msg=name)
    brightness = pixels["deep.png"][:, 80, 0]
    assert brightness[5] < 20 and brightness[155] > 200  # 63,000 of 65,535
    assert "No such file" in shown[4].problem and "not an image" in shown[5].problem
    assert [one.note for one in shown[:4]] == ["No heat map: no stage of the network has a spatial map."] * 4


def test_the_heat_is_on_planted_evidence(reader, tmp_path):
    """A network that learns that a green square means class 1 has its heat on the square."""
    from keras_transfer.data.examples.images import GivenImages

    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    places = random.integers(0, 3, (96, 2)) * 2 + 1
    images = random.integers(0, 90, (96, 8, 8, 3)).astype(np.uint8)
    labels = np.arange(96) % 2
    for image, (top, left), label in zip(images, places, labels, strict=True):
        if label:
            image[top : top + 2, left : left + 2] = (20, 220, 20)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="block1_conv")(inputs)
    x = keras.layers.Conv2D(8, 1, activation="relu", name="block2_conv")(x)
    model = join(keras.Model(inputs, x, name="network"))
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    model.fit(images.astype(np.float32), labels, epochs=100, batch_size=32, verbose=0)
    assert (model.predict(images.astype(np.float32), verbose=0).argmax(axis=1) == labels).all()
    chosen = np.flatnonzero(labels)[:16]
    given = GivenImages(tuple(map(str, chosen)), tuple(images[chosen]))
    explained = explain_images(open_model(model), reader, given, [(1,)] * 16, OUTPUTS, signed=False)
    shares = []
    for one, (top, left) in zip(explained, places[chosen], strict=True):
        (heat,) = one.maps
        assert heat.dtype == np.float32 and heat.min() >= 0 and heat.max() == 1.0
        shares.append(heat[max(top - 1, 0) : top + 3, max(left - 1, 0) : left + 3].sum() / heat.sum())
    # The square with a border of one pixel is a quarter of the image.
    assert np.mean(shares) > 0.8


def test_a_model_of_another_structure_has_no_map(reader, images):
    plain = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(OUTPUTS)])
    assert open_model(plain) is None
    network = keras.Model(
        inputs := keras.Input((8, 8, 3)), keras.layers.GlobalAveragePooling2D()(inputs), name="network"
    )
    assert compute(join(network, pool=None), images, 0) is None


def test_a_model_is_opened_once_and_garbage_collected():
    """A server explains for months."""
    model = join(convolutional())
    opened = open_model(model)
    assert open_model(model) is opened
    assert opened.explainer(GradCam) is opened.explainer(GradCam)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
    assert opened.network is not None
