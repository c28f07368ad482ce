"""Data from Python gives the weights that the same images give from a folder, and a run says where it came from."""

import io

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import yaml
from PIL import Image

from keras_transfer import DataError, ImageClassification, Run
from keras_transfer.config.data import ImageDataConfig, TextDataConfig
from keras_transfer.data.sources.python_objects import describe_object
from keras_transfer.data.splits.splits import load_splits
from keras_transfer.data.targets.classes import ClassTarget

QUICK = {
    "backbone": {"name": "tiny", "weights": "none"},
    "policy": "full",
    "training": {"epochs": 1, "batch_size": 8},
    "export": {"formats": []},
    "image_size": 32,
}


@pytest.fixture
def lossless(make_images, tmp_path):
    """A folder of two classes of ten PNG files each."""
    folder = make_images(tmp_path / "p", {"cat": 10, "dog": 10}, size=32)
    for file in folder.glob("*/*.jpg"):
        Image.open(file).save(file.with_suffix(".png"))
        file.unlink()
    return folder


def forms(folder):
    """The same images in every form that Python has."""
    files = sorted(folder.glob("*/*.png"))
    names = [file.parent.name for file in files]
    images = np.stack([np.asarray(Image.open(file)) for file in files])
    contents = [file.read_bytes() for file in files]
    return {
        "arrays": (images, np.array(names)),
        "paths": [(file, name) for file, name in zip(files, names, strict=True)],
        "frame": pd.DataFrame({"path": map(str, files), "label": names}, index=range(7, 27)),
        "frame of bytes": pd.DataFrame({"png": contents, "label": names}),
        "dataset": tf.data.Dataset.from_tensor_slices((images, names)),
        "batches": tf.data.Dataset.from_tensor_slices((images.astype(np.float32), names)).batch(3),
        "encoded": tf.data.Dataset.from_tensor_slices((contents, names)),
    }


def make(data, **options):
    return ImageClassification(data, **(QUICK | options))


def weights(run):
    return [np.asarray(w) for w in run.model.get_weights()]


def test_every_form_gives_the_same_rows_as_the_folder(lossless):
    def rows_of(splits):
        return [
            (split.name, int(label), np.asarray(Image.open(io.BytesIO(split.examples.read(row)))).tolist())
            for split in splits
            for row, label in enumerate(split.targets)
        ]

    expected = rows_of(load_splits(ImageDataConfig(source=str(lossless)), seed=3))
    for form, data in forms(lossless).items():
        config = ImageDataConfig(source="<python: x>", bytes="png" if form == "frame of bytes" else None)
        splits = load_splits(config, seed=3, given={"<python: x>": data})
        assert splits.target.names == ("cat", "dog")
        assert rows_of(splits) == expected, form


@pytest.mark.slow
def test_training_gives_the_same_weights_as_from_the_folder(tiny, lossless, tmp_path):
    expected = make(lossless).fit(tmp_path / "folder")
    for form in ("arrays", "frame"):
        run = make(forms(lossless)[form]).fit(tmp_path / form)
        for a, b in zip(weights(run), weights(expected), strict=True):
            np.testing.assert_array_equal(a, b)
        assert run.reports["test"].to_json() == expected.reports["test"].to_json()


@pytest.mark.slow
def test_a_run_records_where_its_data_came_from_and_requires_it_again(tiny, lossless, tmp_path):
    data = forms(lossless)["arrays"]
    held_out = (data[0][::4], data[1][::4])
    run = make(data, test=held_out).fit(tmp_path / "run")
    recipe = yaml.safe_load((run.folder / "recipe.yaml").read_text(encoding="utf-8"))
    assert recipe["data"]["source"] == "<python: tuple of 20 examples>"
    assert recipe["data"]["test"] == "<python: tuple of 5 examples>"
    again = Run(run.folder)
    with pytest.raises(DataError, match=r"20 examples> was passed from Python .* evaluate\(data=\.\.\.\)"):
        again.evaluate()
    report = again.evaluate(held_out)
    assert report.accuracy == run.reports["test"].accuracy
    assert again.evaluate(str(lossless)).accuracy == again.evaluate(forms(lossless)["dataset"]).accuracy


def test_a_single_changed_pixel_changes_the_fingerprint(lossless):
    images, labels = forms(lossless)["arrays"]
    changed = images.copy()
    changed[4, 0, 0, 0] ^= 1
    config = ImageDataConfig(source="<python: x>", validation=0, test=0)
    first, same, other = (
        load_splits(config, seed=0, given={"<python: x>": (pixels, labels)}).train.fingerprint(
            ClassTarget(("cat", "dog"))
        )
        for pixels in (images, images.copy(), changed)
    )
    assert first == same != other


def test_grey_and_transparent_arrays_keep_their_values():
    random = np.random.default_rng(0)
    for shape in ((4, 9, 7), (4, 9, 7, 1), (4, 9, 7, 4)):
        images = random.integers(0, 256, shape, np.uint8)
        config = ImageDataConfig(source="<python: x>", validation=0, test=0)
        train = load_splits(config, seed=0, given={"<python: x>": (images, [0, 1, 0, 1])}).train
        for row in range(4):
            decoded = tf.io.decode_image(train.examples.read(row)).numpy()
            assert np.array_equal(decoded.reshape(shape[1:]), images[row])


TEXTS = [(f"text {number}", "ab"[number % 2]) for number in range(20)]


@pytest.mark.parametrize(
    "data",
    [
        TEXTS,
        ([text for text, _ in TEXTS], [label for _, label in TEXTS]),
        pd.DataFrame(TEXTS, columns=["text", "label"]),
        tf.data.Dataset.from_tensor_slices(tuple(map(list, zip(*TEXTS, strict=True)))),
        tf.data.Dataset.from_tensor_slices(tuple(map(list, zip(*TEXTS, strict=True)))).batch(7),
    ],
    ids=["list", "pair", "frame", "dataset", "batches"],
)
def test_texts_in_every_form_match_those_of_a_table(tmp_path, data):
    table = tmp_path / "t.csv"
    pd.DataFrame(TEXTS, columns=["text", "label"]).to_csv(table, index=False)
    expected = load_splits(TextDataConfig(source=str(table)), seed=0)
    splits = load_splits(TextDataConfig(source="<python: x>"), seed=0, given={"<python: x>": data})
    assert splits.describe() == expected.describe()


def test_a_frame_without_the_column_of_bytes_is_refused():
    frame = pd.DataFrame({"image": [b"x"], "label": ["b"]})
    config = ImageDataConfig(source="x", bytes="imag")
    with pytest.raises(DataError, match=r"DataFrame of 1 rows> has no column 'imag'\. Did you mean image\?"):
        load_splits(config, seed=0, given={"x": frame})


@pytest.mark.parametrize(
    ("data", "needs"),
    [
        ((np.zeros((4, 8, 8, 3), np.float32) + 0.5, [0, 1, 0, 1]), ["0.5 to 0.5", "images * 255"]),
        ((np.zeros((4, 8, 8, 7, 2), np.uint8), [0, 1, 0, 1]), ["shape [8, 8, 7, 2]", "[height, width, channels]"]),
        ((np.zeros((4, 8), np.uint8), [0, 1, 0, 1]), ["shape [8]"]),
        ((np.zeros((4, 8, 8), np.uint8), [0, 1]), ["4 examples and 2 labels"]),
        ((np.zeros((4, 8, 8), np.uint8), [0, None, 0, 1]), ["'label' is empty in 1 rows: row 2"]),
        ([("gone.png", 0), ("gone2.png", 1)], ["2 of 2 files that do not exist", "gone.png"]),
        (
            tf.data.Dataset.from_tensor_slices(np.zeros((4, 8, 8, 3))),
            ["Expected a tf.data.Dataset of (image, label)", "TensorSpec"],
        ),
        ({1, 2}, ["Received: set"]),
        (pd.DataFrame({"file": ["a"], "label": ["b"]}), ["no column 'path'", "Columns: file, label"]),
    ],
)
def test_what_is_not_data_is_refused(data, needs):
    with pytest.raises(DataError) as refusal:
        load_splits(ImageDataConfig(source="x"), seed=0, given={"x": data, describe_object(data): data})
    assert [need for need in needs if need not in str(refusal.value)] == [], refusal.value
