"""Images that cannot be used, or not wholly: each is named before training."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_transfer import DataError, ImageClassification
from keras_transfer.config.data import ImageDataConfig
from keras_transfer.data.checks.scan import find_problem, look_at, scan
from keras_transfer.data.examples.images import Images
from keras_transfer.data.formats.decoders import decode_pixels
from keras_transfer.data.inputs import ImageInputs, collect_inputs, read_inputs
from keras_transfer.data.splits.splits import Split


def png_bomb(side=100_000):
    """A PNG of ten thousand million pixels in a few kilobytes."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1_250_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def gif_bomb():
    content = io.BytesIO()
    Image.new("L", (8, 8)).save(content, "GIF")
    return content.getvalue()[:6] + b"\xff\xff\xff\xff" + content.getvalue()[10:]


def jpeg_bomb():
    content = io.BytesIO()
    Image.new("L", (8, 8)).save(content, "JPEG")
    at = content.getvalue().index(b"\xff\xc0") + 5
    return content.getvalue()[:at] + b"\xff\xdc\xff\xdc" + content.getvalue()[at + 4 :]


def bmp_bomb():
    content = io.BytesIO()
    Image.new("P", (8, 8)).save(content, "BMP")
    return content.getvalue()[:18] + struct.pack("<ii", 100_000, 100_000) + content.getvalue()[26:]


BOMBS = {"png": png_bomb(), "gif": gif_bomb(), "jpg": jpeg_bomb(), "bmp": bmp_bomb()}


@pytest.fixture
def recipe(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text("task: image_classification\ndata: {source: x, image_size: 32}\n", encoding="utf-8")
    return file


@pytest.fixture
def no_decoding(monkeypatch):
    monkeypatch.setattr("keras_transfer.data.checks.scan.decode_pixels", lambda content: pytest.fail("it was decoded"))


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_by_name_without_being_decoded(refused, recipe, images, kind, no_decoding):
    file = images / "cat" / f"bomb.{kind}"
    file.write_bytes(BOMBS[kind])
    assert file.stat().st_size < 10_000
    refused("run", recipe, f"data.source={images}", needs=[file, "data.max_pixels=100,000,000", "data.broken=skip"])


def test_the_size_of_a_bomb_is_reported(tmp_path):
    (tmp_path / "bomb").write_bytes(BOMBS["png"])
    assert look_at(Images(tmp_path, ("bomb",)), 0, 10**8, 3).problem.startswith("100,000 x 100,000 pixels, more than")


def test_predict_refuses_a_bomb(tmp_path, no_decoding):
    inputs = ImageInputs(ImageDataConfig(source="x"))
    for kind, content in BOMBS.items():
        (tmp_path / f"bomb.{kind}").write_bytes(content)
    with pytest.raises(DataError, match=r"No prediction was made") as caught:
        read_inputs([collect_inputs(tmp_path, inputs)], inputs).refuse_broken()
    assert [f"bomb.{kind}" in str(caught.value) for kind in BOMBS] == [True] * 4


@pytest.mark.parametrize("kind", ["png", "gif", "jpg", "bmp"])
def test_the_decoder_of_a_served_model_refuses_a_bomb(kind):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_pixels(tf.constant(BOMBS[kind]))


def test_a_custom_limit(refused, recipe, images):
    Image.new("RGB", (80, 70)).save(images / "dog" / "large.png")
    needs = ["1 of 33", "large.png: 80 x 70 pixels, more than data.max_pixels=5,000"]
    refused("run", recipe, f"data.source={images}", "data.max_pixels=5000", needs=needs)


def test_a_lower_limit_checks_known_images_again(images, tmp_path):
    split = Split("train", Images(images, ("cat/000.png",)), np.zeros(1, np.int64), np.ones(1, np.float32))
    scan([split], broken="error", channels=3, max_pixels=64 * 64, memory=tmp_path / "memory")
    with pytest.raises(DataError, match="64 x 64 pixels"):
        scan([split], broken="error", channels=3, max_pixels=64 * 64 - 1, memory=tmp_path / "memory")


def test_images_that_cannot_be_decoded_are_counted_and_named(refused, recipe, images):
    foreign = {
        "phone.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        "drawing.svg": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
        "notes.txt": b"not an image",
    }
    for name, content in foreign.items():
        (images / "cat" / name).write_bytes(content)
    Image.new("RGB", (8, 8)).save(images / "dog" / "scan.tif")
    needs = [
        "4 of 36",
        "phone.heic: HEIC is not",
        "drawing.svg: SVG is not",
        "notes.txt: not an image",
        "scan.tif: TIFF is",
    ]
    refused("run", recipe, f"data.source={images}", needs=needs, most_lines=6)


def test_animations_are_counted_and_named(command, recipe, images, tiny):
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "green", "blue")]
    for kind in ("gif", "webp", "png"):
        frames[0].save(images / "cat" / f"moving.{kind}", save_all=True, append_images=frames[1:])
    for _ in range(2):  # the second time from memory
        result = command("check", recipe, f"data.source={images}", "backbone.name=tiny")
        assert result.exit_code == 0, result.output
        assert "Animated images, of which only the first frame is used: 3\n" in result.stdout
        assert [f"cat/moving.{kind}\n" in result.stdout for kind in ("gif", "webp", "png")] == [True] * 3


def test_webp_and_a_tensorflow_that_does_not_support_it(images, monkeypatch):
    Image.new("RGB", (8, 8)).save(images / "a.webp")
    assert find_problem(Images(images, ("a.webp",)), 0, 100, 3) is None
    monkeypatch.setattr("keras_transfer.data.checks.scan.DECODES_WEBP", False)
    problem = find_problem(Images(images, ("a.webp",)), 0, 100, 3)
    assert problem == f"TensorFlow {tf.__version__} does not decode WebP; upgrade it, or convert to JPEG or PNG"


def test_an_image_that_vanishes_before_its_epoch(images, tmp_path, tiny):
    recipe = ImageClassification({"source": str(images)}, backbone="tiny", policy="full", training={"epochs": 1})
    job = recipe.prepare()
    gone, broken = (Path(job.splits.train.examples.files[row]) for row in (3, 5))
    gone.unlink()
    broken.write_bytes(b"something else")
    with pytest.raises(
        DataError, match="2 examples that could be read before training can no longer be read"
    ) as caught:
        job.train()
    assert f"{gone}: No such file or directory" in str(caught.value)
    assert f"{broken}: not an image" in str(caught.value)
