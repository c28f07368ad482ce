import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image, ImageOps
from rich.console import Console

from keras_transfer import DataError, ImageClassification
from keras_transfer.config.data import ImageDataConfig
from keras_transfer.data.checks import image_measures
from keras_transfer.data.checks import leaks as module
from keras_transfer.data.checks.leaks import find_repeated_images
from keras_transfer.data.examples.images import Images
from keras_transfer.data.sources.find import read_source
from keras_transfer.data.splits.splits import Split


def split_of(name, folder, files):
    n = len(files)
    return Split(name, Images(folder, tuple(files)), np.zeros(n, np.int64), np.ones(n, np.float32))


@pytest.fixture
def splits(images):
    """Of 32 images, 20 to learn from and 12 to be judged by, of which four are copies of others."""
    files = [file.relative_to(images).as_posix() for file in sorted(images.glob("*/*"))]
    train, test = files[:20], files[20:]
    original = Image.open(images / train[2])
    shutil.copy(images / train[0], images / test[0])
    shutil.copy(images / train[1], images / test[5])
    original.save(images / test[3], "JPEG", quality=60)
    original.resize((32, 32), Image.Resampling.LANCZOS).save(images / test[4], "PNG")
    # These are not the same.
    ImageOps.mirror(original).save(images / test[6], "PNG")
    return split_of("train", images, train), split_of("test", images, test)


def test_copies_are_found_with_their_pairs(splits, tmp_path):
    train, test = splits
    found = find_repeated_images(splits, memory=tmp_path / "memory")
    names = test.examples.names
    first, second, third = train.examples.names[:3]
    assert found.record == {
        "test in train": {
            "exact": 2,
            "alike": 2,
            "pairs": [[names[0], first], [names[5], second], [names[3], third], [names[4], third]],
        }
    }
    assert found.lines == (
        f"2 images of test are also in train (2 more near copies), for example {names[0]} of test and {first} of train",
    )


def test_images_that_have_not_changed_are_not_hashed_again(splits, tmp_path, monkeypatch):
    first = find_repeated_images(splits, memory=tmp_path / "memory")
    monkeypatch.setattr(image_measures, "measure_image", lambda *_: pytest.fail("an image was opened"))
    assert find_repeated_images(splits, memory=tmp_path / "memory") == first


def test_solar_cells_are_not_mistaken_for_one_another_and_copies_are_found(tmp_path):
    """They are as much alike as images can be; every tenth is looked at."""
    source = read_source("solar_cells", ImageDataConfig(source="solar_cells"))
    files = source.rows["path"][::10].tolist()
    for number, file in enumerate(files[:40]):
        cell = Image.open(source.root / file).convert("RGB")
        # A large image is not decoded in full.
        (cell if number % 2 else cell.resize((1200, 1200))).save(tmp_path / f"{number}.jpg", quality=50)
    looks = hashes(Images(source.root, tuple(files)))
    assert module._find_near(looks[1::2], looks[::2]) == {}
    copies = hashes(Images(tmp_path, tuple(f"{number}.jpg" for number in range(40))))
    assert module._find_near(looks, copies) == {row: row for row in range(40)}


def hashes(images):
    return [image_measures.measure_image(images, row).grey for row in range(len(images))]


def test_files_that_pillow_cannot_open_are_not_copies(tmp_path):
    for name in "ab":
        (tmp_path / name).write_bytes(b"no image " + name.encode())
    parts = split_of("train", tmp_path, ["a"]), split_of("test", tmp_path, ["b"])
    assert find_repeated_images(parts, memory=tmp_path / "memory").record == {}


def test_leaks_are_reported_recorded_refused_or_ignored(tiny, make_images, tmp_path):
    root = make_images(tmp_path / "p", {"cat": 8, "dog": 8}, size=32)
    for name in ("cat", "dog"):
        shutil.copy(root / name / "000.png", root / name / "copy.png")
    table = tmp_path / "t.csv"
    rows = [f"{file},{file.parent.name},{'test' if file.stem == 'copy' else 'train'}" for file in root.glob("*/*")]
    table.write_text("path,label,split\n" + "\n".join(rows), encoding="utf-8")

    def recipe(leaks):
        data = {"source": str(table), "split": "split", "validation": 0.25, "leaks": leaks, "image_size": 32}
        return ImageClassification(
            data,
            backbone={"name": "tiny", "weights": "none"},
            training={"epochs": 1},
            policy="full",
            export={"formats": []},
            report=False,
        )

    console = Console(file=io.StringIO(), width=500)
    run = recipe("warn").fit(tmp_path / "run", console=console)
    recorded = json.loads((run.folder / "data.json").read_text(encoding="utf-8"))["repeated"]
    assert sum(part["exact"] for part in recorded.values()) == 2
    assert "also in" in console.file.getvalue()
    with pytest.raises(DataError, match=r"are in two splits:\n  .*also in.*\n.*data\.group"):
        recipe("error").fit(tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    console = Console(file=io.StringIO(), width=500)
    recipe("off").check(console)
    assert "also in" not in console.file.getvalue()
