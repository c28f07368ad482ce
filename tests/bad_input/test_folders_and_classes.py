"""What people's folders and tables contain besides valid images in valid classes."""

import json
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from keras_transfer import DataError, ImageClassification
from keras_transfer.config.data import ImageDataConfig
from keras_transfer.data.splits.splits import load_splits


def load(source, **options):
    return load_splits(ImageDataConfig(source=str(source), **options), seed=0)


def make(data, **options):
    backbone = {"name": "tiny", "weights": "none"}
    training = {"epochs": 1, "batch_size": 16}
    return ImageClassification(
        data, backbone=backbone, policy="full", training=training, export={"formats": []}, image_size=32, **options
    )


def test_files_next_to_the_classes_are_named_and_hidden_ones_are_counted(images, make_images, tmp_path):
    (images / "notes.txt").write_text("x")
    (images / ".DS_Store").write_text("x")
    assert load(images).notes == (
        f"Ignored, not in a class folder of {images}: notes.txt",
        f"Left out in {images}: 1 hidden file or folder",
    )
    root = tmp_path / "divided"
    for name in ("train", "test", "raw"):
        make_images(root / name, {"cat": 6, "dog": 6}, size=8)
    (root / "test" / "readme.md").write_text("x")
    assert load(root).notes[0].endswith(f"not in a class folder of {root}: raw, test/readme.md")


def test_circular_links_are_named(images, tiny):
    (images / "cat" / "self.png").symlink_to("self.png")
    (images / "cat" / "gone.png").symlink_to("nowhere.png")
    (images / "dog" / "up").symlink_to("..")
    with pytest.raises(DataError) as refusal:
        make(images).check()
    lines = str(refusal.value).splitlines()
    assert lines[0] == "2 of 34 images cannot be read:"
    assert "gone.png: No such file or directory" in lines[1] + lines[2]
    assert "self.png: Too many levels of symbolic links" in lines[1] + lines[2]
    assert load(images).notes[-1] == "Ignored, links to folders inside a class, which are not followed: dog/up"
    (images / "all").symlink_to(".")
    with pytest.raises(DataError, match=r"all is a link to a folder that contains it\. Remove the link"):
        load(images)


def test_a_folder_that_cannot_be_read(images, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError, match=r"Cannot read \S+images: Permission denied"):
        load(images)


def test_an_image_that_cannot_be_read(images, tiny, monkeypatch):
    read = Path.read_bytes

    def refuse(file):
        if file.name == "003.jpg":
            raise PermissionError(13, "Permission denied", str(file))
        return read(file)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"(?s)2 of 32 images cannot be read:\n.*cat/003\.jpg: Permission denied"):
        make(images).check()


NAMES = ["red car", "red/car", "🐱", "кошка", "[bold]猫[/bold]", "Ant", "ant"]  # the last two are twins


def test_classes_may_have_any_name(images, tiny, tmp_path):
    files = sorted(images.glob("*/*"))
    table = tmp_path / "t.csv"
    labels = [NAMES[n % len(NAMES)] for n in range(len(files))]
    pd.DataFrame({"path": files, "label": labels}).to_csv(table, index=False)
    console = Console(record=True, width=300)
    run = make(table, test=0.25, validation=0.3, merge_labels=False).fit(tmp_path / "run", console=console)
    assert run.target.names == tuple(sorted(NAMES))
    text = console.export_text()
    assert [name for name in NAMES if name not in text] == []
    recorded = json.loads((run.folder / "data.json").read_text(encoding="utf-8"))
    assert set(recorded["splits"]["test"]["classes"]) == set(NAMES)
    (prediction,) = run.predict([files[0]])
    assert prediction.label in NAMES


@pytest.mark.parametrize("key", ["validation", "test"])
def test_a_separate_source_may_lack_classes_but_not_add_any(images, make_images, tmp_path, key):
    other = make_images(tmp_path / "other", {"dog": 3, "cat": 2}, size=8)
    part = getattr(load(images, **{key: str(other)}), key)
    assert part.targets.tolist() == [0, 0, 1, 1, 1]
    make_images(other, {"dog": 1, "cat": 1, "owl": 1}, size=8)
    with pytest.raises(DataError, match=r"classes that are not in the training data: owl\. Classes: cat, dog"):
        load(images, **{key: str(other)})


def test_a_column_of_unique_names_is_not_a_column_of_classes(images):
    files = sorted(images.glob("*/*"))
    table = images.parent / "t.csv"
    pd.DataFrame({"path": files, "label": range(len(files))}).to_csv(table, index=False)
    with pytest.raises(DataError, match=r"32 classes in 32 rows, and 32 of them have only one row: .*data\.label"):
        load(table)


@pytest.mark.parametrize(
    ("weights", "fits"), [([-1.0], False), ([0.0], False), ([float("nan")], False), ([0, 2], True)]
)
def test_weights(images, weights, fits):
    files = sorted(images.glob("*/*"))
    frame = pd.DataFrame({"path": map(str, files), "label": [file.parent.name for file in files]})
    frame["w"] = [weights[n % len(weights)] for n in range(len(files))]
    config = ImageDataConfig(source="x", weight="w")
    if weights == [0, 2]:
        assert set(load_splits(config, seed=0, given={"x": frame}).train.weights) == {0.0, 2.0}
    else:
        with pytest.raises(DataError, match="must have numbers of at least 0, and not only zeros"):
            load_splits(config, seed=0, given={"x": frame})


def test_the_nearest_name_of_a_key_is_suggested(refused, images, tmp_path):
    recipe = tmp_path / "own.yaml"
    recipe.write_text(f"task: image_classification\ndata: {{source: {images}}}\n", encoding="utf-8")
    overrides = ["data.groups=patient", "data.leaks=wran", "data.per_class=0", "data.datadir=x"]
    refused(
        "run",
        recipe,
        *overrides,
        needs=[
            "data.groups: unknown key. Did you mean group",
            "data.leaks",
            "'warn', 'error'",
            "data.per_class",
            "data_dir",
        ],
    )
