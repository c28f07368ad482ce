"""Every kind of image, against what Pillow shows of it: in training, in what ``predict`` reads, and as served."""

import functools
import io
import struct
import zlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from keras_transfer.config.augmentation import AugmentationConfig
from keras_transfer.config.data import ImageDataConfig
from keras_transfer.config.schema import ImageClassificationConfig, ImageHeadConfig
from keras_transfer.data.formats.decoders import decode_pixels
from keras_transfer.data.formats.images import decode_image
from keras_transfer.data.inputs import ImageInputs
from keras_transfer.data.readers.images import ImageReader
from keras_transfer.data.splits.splits import Split
from keras_transfer.export import EXPORTERS, Served, export_run
from keras_transfer.heads import ClassificationHead
from keras_transfer.heads.evaluation import predict

SIDE = 24


def smooth(mode, width=SIDE, height=SIDE):
    """Gradients that distinguish all corners."""
    y, x = np.mgrid[:height, :width] / np.array([height, width]).reshape(2, 1, 1)
    channels = np.stack([x, y, (x + y) / 2, 0.2 + 0.8 * y], axis=-1)
    return Image.fromarray((channels * 255).astype(np.uint8), "RGBA").convert(mode)


def encode(image, kind, **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def exif(orientation, order="<", kind="H", before=()):
    """EXIF as TIFF: one directory with the orientation behind further tags."""
    tags = [*before, (0x0112, kind, orientation)]
    content = (b"II*\x00" if order == "<" else b"MM\x00*") + struct.pack(f"{order}IH", 8, len(tags))
    for tag, format, value in tags:
        packed = struct.pack(order + format, value).ljust(4, b"\x00")
        content += struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[format], 1) + packed
    return content + b"\x00" * 4


def segment(kind, content):
    return b"\xff" + bytes([kind]) + struct.pack(">H", len(content) + 2) + content


def with_segments(jpeg, *segments):
    """A JPEG with segments put before its own, as cameras do."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(pixels, colour, depth, *before):
    """A PNG of kinds that Pillow does not write; ``uint16[height, width, channels]``."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\x00" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), *before, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def wide(channels):
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    return (np.stack([x, y, (x + y) / 2, 0.2 + 0.8 * y], axis=-1)[..., :channels] * 65535).astype(np.uint16)


def insert_chunk(content, name, data, *, last=False):
    at = content.index(b"IEND" if last else b"IDAT") - 4
    return content[:at] + chunk(name, data) + content[at:]


def palette(mode="P"):
    image = smooth("RGB").quantize(60)
    return image if mode == "P" else image.convert(mode)


def gif(*, frame=(0, 0, SIDE, SIDE), transparent=None, own_palette=False, interlace=0):
    """A GIF whose first frame may leave a part of its canvas free."""
    image = palette().crop((0, 0, frame[2], frame[3]))
    content = encode(image, "GIF", interlace=interlace)
    size = 3 * 2 ** ((content[10] & 7) + 1)
    colours, frames = content[13 : 13 + size], content[13 + size :]
    flags, pixels = content[10], frames[frames.index(b"\x2c") + 9 :]
    control = b"" if transparent is None else bytes([0x21, 0xF9, 4, 1, 0, 0, transparent, 0])
    descriptor = b"\x2c" + struct.pack("<HHHH", *frame)
    screen = b"GIF89a" + struct.pack("<HH", SIDE, SIDE)
    if own_palette:
        shared, own = bytes([flags & 0x7F, 0, 0]), bytes([pixels[0] | 0x80 | flags & 7]) + colours
    else:
        shared, own = bytes([flags, 0, 0]) + colours, pixels[:1]
    return screen + shared + control + descriptor + own + pixels[1:]


def bmp_32(alpha):
    """32 bits per pixel: in a plain header the fourth byte is unused, in a V4 header with a mask it is alpha."""
    content = encode(smooth("RGBA"), "BMP")
    if not alpha:
        return content
    masks = struct.pack("<IIII", 0x00FF0000, 0x0000FF00, 0x000000FF, 0xFF000000)
    info = struct.pack("<I", 108) + content[18:30] + struct.pack("<I", 3) + content[34:54] + masks
    info = info.ljust(108, b"\x00")
    return content[:10] + struct.pack("<I", 14 + 108) + info + content[54:]


def top_down(bmp):
    (start, height, bits, width) = (
        *struct.unpack_from("<I", bmp, 10),
        *struct.unpack_from("<i", bmp, 22),
        *struct.unpack_from("<H", bmp, 28),
        *struct.unpack_from("<i", bmp, 18),
    )
    stride = (width * bits + 31) // 32 * 4
    rows = [bmp[start + row * stride : start + (row + 1) * stride] for row in range(height)]
    return bmp[:22] + struct.pack("<i", -height) + bmp[26:start] + b"".join(rows[::-1])


def four_bits(image):
    """A BMP of 16 colours, which Pillow reads and does not write."""
    bmp = encode(image.quantize(16), "BMP")
    (start,) = struct.unpack_from("<I", bmp, 10)
    places = np.frombuffer(bmp[start:], np.uint8).reshape(SIDE, -1)[:, :SIDE]
    stride = (SIDE * 4 + 31) // 32 * 4
    rows = b"".join(((row[::2] << 4) | row[1::2]).astype(np.uint8).tobytes().ljust(stride, b"\0") for row in places)
    colours = bmp[54 : 54 + 64]
    info = bmp[14:28] + struct.pack("<H", 4) + bmp[30:46] + struct.pack("<II", 16, 0)
    return bmp[:10] + struct.pack("<I", 54 + 64) + info + colours + rows


def not_inverted(jpeg):
    """CMYK without Adobe's mark: 0 is no ink."""
    at = jpeg.index(b"\xff\xee")
    return jpeg[:at] + jpeg[at + 2 + struct.unpack_from(">H", jpeg, at + 2)[0] :]


@functools.cache
def table():
    """The files by name."""
    rgb = smooth("RGB")
    plain = encode(rgb, "JPEG", quality=92)
    files = {f"png {mode}": encode(smooth(mode), "PNG") for mode in ("1", "L", "LA", "RGB", "RGBA")}
    files |= {
        f"webp {mode} {kind}": encode(smooth(mode), "WEBP", lossless=kind == "lossless")
        for mode in ("RGB", "RGBA")
        for kind in ("lossless", "lossy")
    }
    files |= {
        f"jpeg {mode} {kind}": encode(smooth(mode), "JPEG", quality=90, progressive=kind == "progressive")
        for mode in ("L", "RGB", "CMYK")
        for kind in ("baseline", "progressive")
    }
    files |= {f"jpeg subsampling {kind}": encode(rgb, "JPEG", subsampling=kind) for kind in (0, 1, 2)}
    files |= {
        "jpeg cmyk not inverted": not_inverted(encode(smooth("CMYK"), "JPEG", quality=90)),
        "jpeg mpo": encode(rgb, "MPO", save_all=True, append_images=[smooth("RGB").rotate(90)]),
        "png palette": encode(palette(), "PNG"),
        "png palette of 4 colours": encode(rgb.quantize(4), "PNG"),
        "png palette transparent": encode(palette(), "PNG", transparency=3),
        "png palette translucent": encode(palette(), "PNG", transparency=bytes(range(60))),
        "png grey key": encode(smooth("L"), "PNG", transparency=80),
        "png rgb key": encode(rgb.quantize(60).convert("RGB"), "PNG", transparency=palette("RGB").getpixel((3, 3))),
        "png 1-bit key": encode(smooth("1"), "PNG", transparency=0),
        "png 16-bit grey": png(wide(1), 0, 16),
        "png 16-bit grey alpha": png(wide(4)[..., [0, 3]], 4, 16),
        "png 16-bit rgb": png(wide(3), 2, 16),
        "png 16-bit rgba": png(wide(4), 6, 16),
        "png animated": encode(rgb, "PNG", save_all=True, append_images=[rgb.rotate(90)]),
        "gif": gif(),
        "gif interlaced": gif(interlace=1),
        "gif grey": encode(smooth("L"), "GIF"),
        "gif transparent": gif(transparent=7),
        "gif with its own palette": gif(own_palette=True),
        "gif transparent with its own palette": gif(transparent=7, own_palette=True),
        "gif transparent, a part": gif(transparent=7, frame=(3, 5, 12, 10)),
        "gif, a part": gif(frame=(3, 5, 12, 10)),
        "gif transparent, a part, with its own palette": gif(transparent=7, frame=(3, 5, 12, 10), own_palette=True),
        "gif animated": encode(rgb, "GIF", save_all=True, append_images=[rgb.rotate(90)], comment=b"a comment"),
        "gif animated transparent": encode(
            smooth("RGBA"), "GIF", save_all=True, append_images=[smooth("RGBA").rotate(90)]
        ),
        "webp grey alpha": encode(smooth("LA"), "WEBP"),
        "webp animated": encode(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(90)], lossless=True),
        "webp animated alpha": encode(
            smooth("RGBA"), "WEBP", save_all=True, append_images=[smooth("RGBA").rotate(90)], lossless=True
        ),
        "bmp 1": encode(smooth("1"), "BMP"),
        "bmp 4": four_bits(rgb),
        "bmp palette": encode(palette(), "BMP"),
        "bmp grey": encode(smooth("L"), "BMP"),
        "bmp rgb": encode(rgb, "BMP"),
        "bmp 32": bmp_32(alpha=False),
        "bmp 32 alpha": bmp_32(alpha=True),
        "bmp top down": top_down(encode(rgb, "BMP")),
        "bmp palette top down": top_down(encode(palette(), "BMP")),
    }
    for number in range(1, 9):
        files |= {
            f"jpeg exif {number} little": with_segments(plain, segment(0xE1, b"Exif\0\0" + exif(number))),
            f"jpeg exif {number} big": with_segments(plain, segment(0xE1, b"Exif\0\0" + exif(number, ">"))),
            f"png exif {number}": insert_chunk(encode(rgb, "PNG"), b"eXIf", exif(number, ">")),
            f"webp exif {number}": encode(rgb, "WEBP", exif=exif(number), lossless=True),
        }
    maker = [(0x010F, "I", 7), (0x0110, "H", 6)]
    other = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"<x/>" * 300)
    thumbnail = segment(0xED, b"Photoshop 3.0\0" + with_segments(plain, segment(0xE1, b"Exif\0\0" + exif(6))))
    files |= {
        "jpeg exif behind others": with_segments(
            plain, other, segment(0xFE, b"so"), segment(0xE1, b"Exif\0\0" + exif(8, before=maker))
        ),
        "jpeg exif long": with_segments(plain, segment(0xE1, b"Exif\0\0" + exif(6, ">", "I"))),
        "jpeg exif of a thumbnail alone": with_segments(plain, thumbnail),
        "jpeg exif of a second image": plain + with_segments(plain, segment(0xE1, b"Exif\0\0" + exif(6))),
        "jpeg exif out of range": with_segments(plain, segment(0xE1, b"Exif\0\0" + exif(9))),
        "jpeg exif cut off": with_segments(plain, segment(0xE1, b"Exif\0\0" + exif(6)[:12])),
        "jpeg exif of another kind": with_segments(plain, segment(0xE1, b"Exif\0\0" + b"XX" + exif(6)[2:])),
        "jpeg exif of nothing": with_segments(plain, segment(0xE1, b"Exif\0\0")),
        "png exif at the end": insert_chunk(encode(rgb, "PNG"), b"eXIf", exif(5), last=True),
        "webp exif with a prefix": encode(rgb, "WEBP", exif=b"Exif\0\0" + exif(3), lossless=True),
    }
    return files


def shown(content):
    """What Pillow shows of an image, upright and on white: ``float[height, width, 3]``."""
    with Image.open(io.BytesIO(content)) as opened:
        opened.load()
        image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    layer = image.convert("RGBA")
    paper = Image.new("RGBA", layer.size, "white")
    paper.alpha_composite(layer)
    return np.asarray(paper.convert("RGB"), np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The table on disk, under names that do not show the formats."""
    folder = tmp_path_factory.mktemp("table")
    for number, content in enumerate(table().values()):
        (folder / f"{number:03}").write_bytes(content)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def reader():
    plain = AugmentationConfig(horizontal_flip=False)
    return ImageReader(image_size=SIDE, channels=3, resize="crop", augmentation=plain, seed=0, max_pixels=10_000)


@pytest.fixture(scope="module")
def read(reader, files):
    """What ``predict`` reads, by a model that passes pixels through."""
    inputs = keras.Input((SIDE, SIDE, 3))
    model = keras.Model(inputs, keras.layers.Flatten()(inputs))
    n = len(files)
    images, problems = ImageInputs(ImageDataConfig(source="x", max_pixels=10_000)).read(files, list(map(str, files)))
    assert problems == {}
    split = Split("inputs", images, np.zeros(n, np.int64), np.ones(n, np.float32))
    return model, split, predict(model, reader.evaluation_batches(split, batch_size=32))


def differing(pixels):
    """Files whose pixels differ from Pillow's by more than two levels."""
    differences = {
        name: float(np.abs(own.reshape(SIDE, SIDE, 3) - shown(content)).max())
        for own, (name, content) in zip(pixels, table().items(), strict=True)
    }
    return {name: difference for name, difference in differences.items() if not difference <= 2.0}


def test_predict_sees_what_a_person_sees(read):
    assert differing(read[2]) == {}


def test_training_sees_what_a_person_sees(reader, read):
    split = read[1]
    weights = np.arange(len(split), dtype=np.float32)
    batches = reader.training_batches(
        split, np.zeros((len(split), 2), np.float32), weights, batch_size=16, seed=0, epochs=range(1)
    )
    rows = {
        int(row): own
        for pixels, _, numbers in batches
        for own, row in zip(pixels.numpy(), numbers.numpy(), strict=True)
    }
    assert differing([rows[row] for row in range(len(split))]) == {}


def test_a_served_model_sees_what_a_person_sees(reader, read, files, tmp_path):
    model, _, pixels = read
    assert differing(pixels) == {}
    # In a fresh process; it raises an error if the two differ.
    head = ClassificationHead(tuple(map(str, range(SIDE * SIDE * 3))), ImageHeadConfig())
    config = ImageClassificationConfig(task="image_classification", data={"source": "images"})
    served = Served(model, head, reader, tmp_path, config, {})
    exporter = EXPORTERS["saved_model"]()
    parity = export_run(exporter, served, tmp_path / "1", samples=files[0].parent, expected=pixels)
    assert parity.examples == len(table())


def test_the_table_distinguishes_orientations():
    upright = shown(table()["jpeg exif 1 little"])
    for number in range(2, 9):
        for kind in ("jpeg exif {} little", "jpeg exif {} big", "png exif {}", "webp exif {}"):
            assert np.abs(shown(table()[kind.format(number)]) - upright).max() > 50.0


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3)])
def test_a_transparent_colour_of_16_bits_is_transparent(colour, channels):
    # Pillow compares it with the pixels' high bytes.
    pixels = wide(channels)
    key = np.zeros(3, ">u2")
    key[:channels] = pixels[3, 3]
    content = png(pixels, colour, 16, chunk(b"tRNS", key[:channels].tobytes()))
    alpha = decode_pixels(tf.constant(content)).numpy()[..., 3]
    assert alpha.tolist() == (255 * (pixels != pixels[3, 3]).any(axis=-1)).tolist()


@pytest.mark.parametrize("resize", ["crop", "pad"])
def test_an_image_is_rotated_before_it_is_resized(resize):
    upright = smooth("RGB", 20, 60)
    for number, turn in ((6, Image.Transpose.ROTATE_90), (8, Image.Transpose.ROTATE_270)):
        content = encode(upright.transpose(turn), "PNG", exif=exif(number))
        assert shown(content).shape == (60, 20, 3)
        expected = decode_image(tf.constant(encode(upright, "PNG")), size=30, resize=resize, channels=3)
        turned = decode_image(tf.constant(content), size=30, resize=resize, channels=3)
        assert turned.numpy() == pytest.approx(expected.numpy(), abs=1e-3)


@pytest.mark.parametrize(
    "name", ["jpeg exif 6 little", "png exif 6", "webp exif 6", "gif transparent, a part", "bmp palette"]
)
def test_a_damaged_file_is_an_error_or_an_image(name):
    content = table()[name]
    decode = tf.function(decode_pixels, input_signature=[tf.TensorSpec([], tf.string)])
    random = np.random.default_rng(0)
    outcomes = set()
    for number in range(120):
        damaged = bytearray(content)
        damaged[int(random.integers(2, len(damaged)))] = int(random.integers(256))
        if number % 3 == 0:
            damaged = damaged[: int(random.integers(2, len(damaged)))]
        try:
            outcomes.add(decode(tf.constant(bytes(damaged))).dtype)
        except tf.errors.OpError:
            outcomes.add("error")
    assert outcomes == {tf.uint8, "error"}
