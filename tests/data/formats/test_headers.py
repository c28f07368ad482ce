import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_transfer.data.formats.decoders import decode_pixels
from keras_transfer.data.formats.headers import Header, read_header


def encode(kind, mode="RGB", size=(40, 24), **options):
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)).convert(mode)
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


WHOLE = {
    **{f"png {mode}": encode("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")},
    **{f"jpeg {mode}": encode("JPEG", mode) for mode in ("L", "RGB", "CMYK")},
    **{f"jpeg progressive {mode}": encode("JPEG", mode, progressive=True) for mode in ("L", "RGB", "CMYK")},
    "jpeg restarts": encode("JPEG", restart_marker_blocks=1),
    "jpeg comment": encode("JPEG", comment=b"\xff\xd9 is no end here"),
    "mpo": encode("MPO", save_all=True, append_images=[Image.new("RGB", (20, 24))]),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_file_has_a_header(name):
    assert read_header(WHOLE[name]) == Header(40, 24)
    assert read_header(WHOLE[name] + b"what some programs write behind") == Header(40, 24)


def test_an_animation_is_known():
    assert read_header(encode("PNG", save_all=True, append_images=[Image.new("RGB", (40, 24))])).animated


@pytest.mark.parametrize("name", WHOLE)
def test_a_truncated_file_has_no_header(name):
    content = WHOLE[name]
    end = content.index(b"\xff\xd9", 200) if name == "mpo" else len(content) - 2  # its second image is not used
    for length in np.linspace(0, end, 40).astype(int):
        assert read_header(content[:length]) is None, length


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"\xff\xd8", b"GIF89a", encode("GIF"), encode("BMP"), encode("WEBP")]
)
def test_files_other_than_jpeg_and_png_have_no_header(content):
    assert read_header(content) is None


@pytest.mark.parametrize(
    "change",
    [
        {"IHDR": struct.pack(">IIBBBBB", 8, 8, 3, 0, 0, 0, 0)},  # no such depth
        {"IHDR": struct.pack(">IIBBBBB", 8, 8, 8, 3, 0, 0, 0)},  # a palette is missing
        {"UNKN": b""},  # that must be understood
        {"IDAT": None},
    ],
)
def test_a_broken_png_with_valid_checksums_has_no_header(change):
    chunks = {"IHDR": struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0), "IDAT": zlib.compress(bytes(72)), "IEND": b""}

    def png(parts):
        written = [(name.encode(), content) for name, content in parts.items() if content is not None]
        body = [
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
            for name, content in written
        ]
        return b"\x89PNG\r\n\x1a\n" + b"".join(body)

    assert read_header(png(chunks)) == Header(8, 8)
    middle = {**chunks, **change}
    middle["IEND"] = middle.pop("IEND")
    assert read_header(png(middle)) is None


def test_files_with_a_header_can_be_decoded():
    """One wrong byte: a header is found only if TensorFlow decodes the file."""
    random = np.random.default_rng(0)
    names, passed = list(WHOLE), 0
    for number in range(600):
        content = bytearray(WHOLE[names[number % len(names)]])
        content[int(random.integers(2, min(len(content), 800)))] = int(random.integers(256))
        header = read_header(bytes(content))
        if header is not None and header.width * header.height < 10**6:
            decode_pixels(tf.constant(bytes(content)))
            passed += 1
    assert passed > 100
