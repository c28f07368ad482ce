import io
import json
import os

import numpy as np
import pytest
from blake3 import blake3
from PIL import Image

from keras_transfer.data.checks import scan as module
from keras_transfer.data.checks.scan import find_problem, look_at, scan
from keras_transfer.data.examples.images import Images
from keras_transfer.data.splits.splits import Split
from keras_transfer.errors import DataError


def encode(kind, mode="RGB", **options):
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 255, (24, 20, 3), dtype=np.uint8)).convert(mode)
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


JPEG, PNG = encode("JPEG"), encode("PNG")


MOST = 10**6


def problem_of(file):
    return find_problem(Images(file.parent, (file.name,)), 0, MOST, 3)


def scan_one(split, max_pixels=MOST, **options):
    found = scan([split], max_pixels=max_pixels, channels=3, **options)
    (kept,) = found.splits
    return kept, found.broken


@pytest.fixture
def split(tmp_path):
    folder = tmp_path / "p"
    folder.mkdir()
    names = [f"{number}.{'jpg' if number % 2 else 'png'}" for number in range(6)]
    for number, name in enumerate(names):
        (folder / name).write_bytes(JPEG if number % 2 else PNG)
    return Split("train", Images(folder, tuple(names)), np.arange(6), np.arange(6, dtype=np.float32))


@pytest.fixture
def opened(monkeypatch):
    """The names of the files that were opened, in no certain order."""
    names = []

    def count(images, row, *options):
        names.append(os.path.basename(images.names[row]))
        return look_at(images, row, *options)

    monkeypatch.setattr(module, "look_at", count)
    return names


def break_three(split):
    (split.examples.root / "1.jpg").write_bytes(JPEG[:-60])
    (split.examples.root / "2.png").write_bytes(b"")
    (split.examples.root / "4.png").write_text("no image at all")


@pytest.mark.parametrize(
    "content",
    [
        *(encode("JPEG", mode) for mode in ("RGB", "L", "CMYK")),
        encode("JPEG", progressive=True),
        *(encode("PNG", mode) for mode in ("RGB", "RGBA", "L", "LA", "P", "1")),
        encode("GIF"),
        encode("BMP"),
        encode("BMP", "P"),
        encode("WEBP"),
        encode("MPO", save_all=True, append_images=[Image.new("RGB", (20, 24))]),
    ],
)
def test_whole_images_pass(tmp_path, content):
    file = tmp_path / "image"
    file.write_bytes(content)
    assert problem_of(file) is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "zero bytes"),
        (b"no image at all", "not an image"),
        (b"%PDF-1.7 and so on", "not an image"),
        (JPEG[:-60], "truncated"),
        (PNG[: len(PNG) // 2], "truncated"),
        (encode("TIFF"), "TIFF is not supported; convert it to JPEG or PNG"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC is not supported; convert it to JPEG or PNG"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG is not supported"),
        (b"<svg/>", "SVG is not supported; convert it to JPEG or PNG"),
        (encode("ICO"), "ICO is not supported"),
        (encode("WEBP")[:200], "could not create decoder object"),
        # Pillow forgives a wrong checksum of the whole; TensorFlow does not.
        (PNG.replace(b"IEND\xaeB`\x82", b"IEND\xaeB`\x83").replace(PNG[-16:-12], b"\0\0\0\0"), "TensorFlow"),
    ],
)
def test_problems_are_named(tmp_path, content, problem):
    file = tmp_path / "image.png"
    file.write_bytes(content)
    assert problem in problem_of(file)


def test_a_missing_file_is_a_problem_of_one_plain_line(tmp_path):
    assert problem_of(tmp_path / "gone.png") == "No such file or directory"


def test_random_damage_raises_nothing_and_images_that_pass_can_be_decoded(tmp_path):
    import tensorflow as tf

    random = np.random.default_rng(0)
    file = tmp_path / "image"
    passed = 0
    for _ in range(300):
        content = bytearray((JPEG, PNG)[int(random.integers(2))])
        content[int(random.integers(len(content)))] = int(random.integers(256))
        file.write_bytes(content)
        if problem_of(file) is None:
            passed += 1
            tf.io.decode_image(bytes(content), expand_animations=False)
    assert 0 < passed < 300


def test_all_broken_images_are_listed_at_once_with_their_reasons(split, tmp_path):
    break_three(split)
    with pytest.raises(DataError) as caught:
        scan_one(split, broken="error", memory=tmp_path / "memory")
    first, *lines, last = str(caught.value).splitlines()
    assert first == "3 of 6 images cannot be read:"
    assert [line.split(":")[0].strip() for line in lines] == [
        str(split.examples.root / n) for n in ("1.jpg", "2.png", "4.png")
    ]
    assert ["truncated" in lines[0], "zero bytes" in lines[1], "not an image" in lines[2]] == [True] * 3
    assert "data.broken=skip" in last


def test_skip_leaves_out_broken_images_and_the_rest_stays_aligned(split, tmp_path):
    break_three(split)
    kept, found = scan_one(split, broken="skip", memory=tmp_path / "memory")
    assert kept.examples.names == ("0.png", "3.jpg", "5.jpg")
    assert kept.targets.tolist() == [0, 3, 5]
    assert kept.weights.tolist() == [0.0, 3.0, 5.0]
    assert [line.split(":")[0] for line in found] == [str(split.examples.root / n) for n in ("1.jpg", "2.png", "4.png")]


def test_skip_with_none_left_is_an_error_that_does_not_advise_to_skip(split, tmp_path):
    for name in split.examples.names:
        (split.examples.root / name).write_bytes(b"")
    with pytest.raises(DataError, match="6 of 6 images") as caught:
        scan_one(split, broken="skip", memory=tmp_path / "memory")
    assert "data.broken=skip" not in str(caught.value)


def test_a_long_list_is_cut_short_and_counted(tmp_path):
    names = tuple(f"{number:02}.png" for number in range(25))
    for name in names:
        (tmp_path / name).write_bytes(b"")
    split = Split("test", Images(tmp_path, names), np.zeros(25, np.int64), np.ones(25, np.float32))
    with pytest.raises(DataError) as caught:
        scan_one(split, broken="error", memory=tmp_path / "memory")
    lines = str(caught.value).splitlines()
    assert (lines[0], lines[21], len(lines)) == ("25 of 25 images cannot be read:", "  and 5 more", 23)


def test_unchanged_images_are_not_opened_again(split, tmp_path, opened):
    first, _ = scan_one(split, broken="error", memory=tmp_path / "memory")
    assert sorted(opened) == sorted(split.examples.names)
    opened.clear()
    second, found = scan_one(split, broken="error", memory=tmp_path / "memory")
    assert (opened, found) == ([], [])
    assert second.examples.names == first.examples.names == split.examples.names


def test_formats_are_detected_from_file_content_and_cached(split, tmp_path, opened):
    (split.examples.root / "0.png").write_bytes(JPEG)
    for _ in range(2):
        kept, _ = scan_one(split, broken="error", memory=tmp_path / "memory")
        assert kept.examples.kinds == {b"\x89P", b"\xff\xd8"}
        kept, _ = scan_one(split.select([0, 1]), broken="error", memory=tmp_path / "memory")
        assert kept.examples.kinds == {b"\xff\xd8"}
    assert len(opened) == len(split)
    (split.examples.root / "4.png").write_bytes(b"broken")
    kept, _ = scan_one(split.select([1, 4]), broken="skip", memory=tmp_path / "memory")
    assert kept.examples.kinds == {b"\xff\xd8"}


def test_a_changed_or_added_image_is_opened_and_no_other(split, tmp_path, opened):
    scan_one(split.select(range(5)), broken="error", memory=tmp_path / "memory")
    opened.clear()
    (split.examples.root / "0.png").write_bytes(encode("PNG", "L"))
    # The same size, written later.
    status = os.stat(split.examples.root / "3.jpg")
    os.utime(split.examples.root / "3.jpg", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    scan_one(split, broken="error", memory=tmp_path / "memory")
    assert sorted(opened) == ["0.png", "3.jpg", "5.jpg"]


def test_a_broken_image_is_opened_every_time_and_passes_once_fixed(split, tmp_path, opened):
    break_three(split)
    for _ in range(2):
        opened.clear()
        with pytest.raises(DataError):
            scan_one(split, broken="error", memory=tmp_path / "memory")
    assert sorted(opened) == ["1.jpg", "2.png", "4.png"]
    for name in opened:
        (split.examples.root / name).write_bytes(PNG)
    assert len(scan_one(split, broken="error", memory=tmp_path / "memory")[0]) == 6


def test_splits_of_one_folder_share_a_memory(split, tmp_path, opened):
    for part in (range(3), range(3, 6)) * 2:
        scan_one(split.select(part), broken="error", memory=tmp_path / "memory")
    assert sorted(opened) == sorted(split.examples.names)


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 100_000, '{"x": 1}', "\x00"])
def test_a_damaged_memory_is_ignored(split, tmp_path, opened, content):
    scan_one(split, broken="error", memory=tmp_path / "memory")
    (record,) = (tmp_path / "memory").iterdir()
    record.write_text(content, encoding="utf-8")
    opened.clear()
    assert len(scan_one(split, broken="error", memory=tmp_path / "memory")[0]) == 6
    assert sorted(opened) == sorted(split.examples.names)
    assert set(json.loads(record.read_text(encoding="utf-8"))) == {blake3(JPEG).hexdigest(), blake3(PNG).hexdigest()}


def test_a_memory_that_cannot_be_written_does_not_stop_a_scan(split, tmp_path):
    (tmp_path / "file").write_text("in the way")
    kept, _ = scan_one(split, broken="error", memory=tmp_path / "file" / "memory")
    assert len(kept) == 6


def test_an_empty_split_passes(split, tmp_path):
    kept, found = scan_one(split.select([]), broken="error", memory=tmp_path / "memory")
    assert (len(kept), found) == (0, [])
