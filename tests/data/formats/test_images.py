import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_transfer.data.formats.images import decode_image


def encode(image, kind="PNG", **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def decode(content, size=16, resize="crop"):
    return decode_image(tf.constant(content), size=size, resize=resize, channels=3).numpy()


def on_white(image):
    """What Pillow shows of an image on white paper: ``float[height, width, 3]``."""
    layer = image.convert("RGBA")
    paper = Image.new("RGBA", layer.size, "white")
    paper.alpha_composite(layer)
    return np.asarray(paper.convert("RGB"), np.float32)


def smooth(mode, size=16):
    """A gradient without hard edges, so that JPEG decoders agree."""
    y, x = np.mgrid[:size, :size] / size
    channels = np.stack([x, y, (x + y) / 2, 0.2 + 0.8 * y], axis=-1)
    return Image.fromarray((channels * 255).astype(np.uint8), "RGBA").convert(mode)


@pytest.mark.parametrize(
    ("kind", "mode"), [*(("PNG", m) for m in ("L", "RGB", "LA", "RGBA", "P", "1")), ("GIF", "L"), ("GIF", "P")]
)
def test_lossless_images_match_pillow_on_white(kind, mode):
    content = encode(smooth(mode), kind)
    image = Image.open(io.BytesIO(content))
    # At its own size nothing is resized; alpha is rounded by Pillow alone.
    assert decode(content) == pytest.approx(on_white(image), abs=1.0)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_matches_pillow(mode, progressive):
    content = encode(smooth(mode), "JPEG", quality=95, progressive=progressive)
    difference = np.abs(decode(content) - on_white(Image.open(io.BytesIO(content))))
    # TensorFlow's inverse cosine transform is the fast one: some pixels are a few levels off.
    assert (difference.mean() < 4.0, difference.max() < 12.0) == (True, True)


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_range_and_channel_order(kind):
    content = encode(Image.new("RGB", (16, 16), (255, 128, 0)), kind)
    pixels = decode(content)
    assert pixels.dtype == np.float32
    assert pixels.shape == (16, 16, 3)
    assert np.unique(pixels.reshape(-1, 3), axis=0).tolist() == [[255.0, 128.0, 0.0]]


@pytest.mark.parametrize(
    ("colour", "seen"),
    [((0, 0, 0, 0), 255.0), ((0, 0, 0, 255), 0.0), ((0, 0, 0, 51), 204.0), ((100, 100, 100, 127), 177.8)],
)
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_composed_on_white(colour, seen, mode):
    content = encode(Image.new("RGBA", (16, 16), colour).convert(mode))
    assert decode(content) == pytest.approx(seen, abs=0.1)


def test_palette_with_transparency_is_composed_on_white():
    image = Image.new("P", (16, 16), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(1, (8, 0, 16, 16))
    pixels = decode(encode(image, transparency=0))
    assert pixels[0, 0].tolist() == [255.0, 255.0, 255.0]
    assert pixels[0, 15].tolist() == [200.0, 100.0, 50.0]


def three_bands(across):
    """Red, green, blue, each 20 px wide and 20 px high, side by side or one below the other."""
    bands = np.zeros((20, 60, 3), np.uint8)
    for band in range(3):
        bands[:, band * 20 : band * 20 + 20, band] = 255
    return Image.fromarray(bands if across else bands.transpose(1, 0, 2))


@pytest.mark.parametrize("across", [True, False])
def test_crop_takes_the_middle_and_cuts_the_longer_side(across):
    pixels = decode(encode(three_bands(across)), size=20, resize="crop")
    assert np.unique(pixels.reshape(-1, 3), axis=0).tolist() == [[0.0, 255.0, 0.0]]


@pytest.mark.parametrize("across", [True, False])
def test_pad_keeps_everything_and_adds_white_on_both_sides(across):
    pixels = decode(encode(three_bands(across)), size=60, resize="pad")
    pixels = pixels if across else pixels.transpose(1, 0, 2)
    assert (pixels[:20] == 255.0).all()
    assert (pixels[40:] == 255.0).all()
    assert np.array_equal(pixels[20:40], np.asarray(three_bands(True), np.float32))


@pytest.mark.parametrize("across", [True, False])
def test_stretch_fills_the_square_with_everything(across):
    pixels = decode(encode(three_bands(across)), size=60, resize="stretch")
    pixels = pixels if across else pixels.transpose(1, 0, 2)
    for band in range(3):
        middle = pixels[:, band * 20 + 4 : band * 20 + 16]
        assert np.unique(middle.reshape(-1, 3), axis=0).round(3).tolist() == [[255.0 * (band == c) for c in range(3)]]


@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (200, 1), (37, 91), (16, 16)])
def test_every_shape_becomes_square_within_the_range(resize, shape):
    random = np.random.default_rng(0)
    content = encode(Image.fromarray(random.integers(0, 256, (*shape, 3), dtype=np.uint8)))
    pixels = decode(content, size=16, resize=resize)
    assert pixels.shape == (16, 16, 3)
    assert 0.0 <= pixels.min() <= pixels.max() <= 255.0


def test_shrinking_averages_instead_of_dropping_pixels():
    fine = np.zeros((160, 160, 3), np.uint8)
    fine[:, ::2] = 255
    pixels = decode(encode(Image.fromarray(fine)), size=16, resize="stretch")
    assert pixels[2:-2, 2:-2] == pytest.approx(127.5, abs=2.0)


def test_a_graph_decodes_as_eager_code_does():
    contents = [encode(smooth(mode, 40)) for mode in ("L", "RGB", "LA", "RGBA")]
    graph = tf.function(lambda content: decode_image(content, size=16, resize="pad", channels=3))
    for content in contents:
        assert graph(tf.constant(content)).numpy() == pytest.approx(decode(content, resize="pad"), abs=1e-3)


def test_bytes_that_are_not_an_image_are_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(b"no image")
