import re

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from rich.console import Console

from keras_transfer import Recipe, Run
from keras_transfer.config.augmentation import AugmentationConfig
from keras_transfer.config.data import AudioDataConfig, ImageDataConfig, SpeechDataConfig, TextDataConfig
from keras_transfer.data.readers.base import PLAIN
from keras_transfer.data.readers.images import ImageReader
from keras_transfer.data.sources.tfds import Dataset
from keras_transfer.data.splits.splits import load_splits
from keras_transfer.errors import DataError
from keras_transfer.storage.cache_store import FeatureStore


def define_builders(counts):
    """Two builders, in a function: TFDS registers every class that is defined."""

    class OwnImages(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "mask": tfds.features.Tensor(shape=(4,), dtype=tf.float32),
                "label": tfds.features.ClassLabel(names=["zebra", "ant"]),
                "site": tfds.features.Text(),
            }
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {name: self._generate_examples(name) for name in counts}

        def _generate_examples(self, split):
            for number in range(counts[split]):
                pixels = np.full((20, 16, 3), 10 * number, np.uint8)
                values = {"image": pixels, "mask": np.zeros(4, np.float32), "label": number % 2, "site": f"s{number}"}
                yield number, values

    class OwnTexts(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = (tfds.core.BuilderConfig(name="pairs"), tfds.core.BuilderConfig(name="single"))

        def _info(self):
            features = {
                "sentence": tfds.features.Text(),
                "reply": tfds.features.Text(),
                "kind": tfds.features.ClassLabel(names=["question", "answer"]),
            }
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(), "test": self._generate_examples()}

        def _generate_examples(self):
            for number in range(12):
                yield number, {"sentence": f"séance {number}", "reply": f"reply {number}", "kind": number % 2}

    class OwnAudio(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "audio": tfds.features.Audio(shape=(None, 2), sample_rate=8000),
                "text": tfds.features.Text(),
                "label": tfds.features.ClassLabel(names=["zebra", "ant"]),
            }
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for number in range(8):
                yield number, {"audio": AUDIO + number, "text": f"séance  {number}", "label": number % 2}

    return OwnImages, OwnTexts, OwnAudio


# What TFDS stores of a file of 16 bits and two channels.
AUDIO = np.stack([np.arange(100), -3 * np.arange(100)], 1) * 100


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with own_images and own_texts. Their code is taken away again: the files are all that is left."""
    folder = tmp_path_factory.mktemp("tfds")
    kinds = define_builders({"train": 20, "validation": 4, "test": 6, "extra": 2})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tfds.core.utils.gcs_utils, "_is_gcs_disabled", True)
        kinds[0](data_dir=str(folder)).download_and_prepare()
        for config in ("pairs", "single"):
            kinds[1](config=config, data_dir=str(folder)).download_and_prepare()
    kinds[2](data_dir=str(folder)).download_and_prepare()
    from tensorflow_datasets.core import registered

    for kind in kinds:
        registered._DATASET_REGISTRY.pop(kind.name)
    return folder


def load(source, prepared, **options):
    return load_splits(ImageDataConfig(source=source, data_dir=str(prepared), **options), seed=0)


def pixels_of(split):
    reader = ImageReader(
        image_size=16,
        channels=3,
        resize="crop",
        augmentation=AugmentationConfig(horizontal_flip=False),
        seed=0,
        max_pixels=10**6,
    )
    batches = reader.evaluation_batches(split, batch_size=4, view=PLAIN)
    return np.concatenate([batch.numpy() for batch in batches])


def test_splits_classes_and_images_are_those_of_the_dataset(prepared):
    splits = load("tfds:own_images", prepared)
    assert splits.target.names == ("zebra", "ant")
    assert [len(split) for split in splits] == [20, 4, 6]
    for split, expected in zip(splits, ("train", "validation", "test"), strict=True):
        assert all(name.startswith(f"own_images-{expected}.") for name in split.examples.names)
        # Each image's grey is ten times its number, and the class follows from that.
        numbers = pixels_of(split)[:, 8, 8, 0] / 10
        assert sorted(numbers) == list(range(len(split)))
        assert split.targets.tolist() == (numbers % 2).tolist()


@pytest.mark.parametrize(
    ("source", "options", "counts"),
    [
        ("tfds:own_images[train[:50%]]", {"validation": 0.2, "test": 0.2}, [6, 2, 2]),
        ("tfds:own_images[train+test]", {"validation": 0, "test": 0.5}, [13, 0, 13]),
        (
            "tfds:own_images:1.0.0[train[:80%]]",
            {"validation": "tfds:own_images[train[80%:]]", "test": 0},
            [16, 4, 0],
        ),
        ("tfds:own_images[test]", {"validation": 0, "test": "tfds:own_images[extra]"}, [6, 0, 2]),
    ],
)
def test_slices_are_written_as_in_tfds(prepared, source, options, counts):
    assert [len(split) for split in load(source, prepared, **options)] == counts


def test_further_features_are_columns(prepared):
    splits = load("tfds:own_images[train]", prepared, group="site", test=0.5, validation=0)
    assert len(splits.train) == len(splits.test) == 10
    with pytest.raises(DataError, match=r"no column 'mask'.*Columns: label, site"):
        load("tfds:own_images", prepared, group="mask")


def test_a_second_load_reads_nothing_from_the_dataset(prepared, monkeypatch, cache):
    first = load("tfds:own_images", prepared)
    (entry,) = FeatureStore(cache / "features", max_bytes=None).entries()
    assert entry.description == "30 images of tfds:own_images"
    monkeypatch.setattr(Dataset, "rows", lambda *_: pytest.fail("the dataset was read"))
    second = load("tfds:own_images", prepared)
    assert second.describe() == first.describe()
    assert second.train.examples.read(3) == first.train.examples.read(3)


def test_a_folder_of_images_as_tfds_lays_it_out(make_images, tmp_path):
    for name, counts in (("train", (6, 4)), ("holdout", (2, 2))):
        make_images(tmp_path / "p" / name, dict(zip(("cat", "dog"), counts, strict=True)), size=16)
    splits = load("tfds:image_folder[train]", tmp_path / "p", test="tfds:image_folder[holdout]", validation=0)
    assert splits.target.names == ("cat", "dog")
    assert [np.bincount(split.targets).tolist() for split in (splits.train, splits.test)] == [[6, 4], [2, 2]]
    for split in (splits.train, splits.test):
        files = [tmp_path / "p" / name for name in split.examples.names]
        assert [split.examples.read(row) for row in range(len(split))] == [file.read_bytes() for file in files]


@pytest.mark.parametrize("pair", [None, "reply"])
def test_texts(prepared, pair):
    config = TextDataConfig(
        source="tfds:own_texts/pairs",
        data_dir=str(prepared),
        text="sentence",
        text_pair=pair,
        label="kind",
        validation=0.5,
    )
    splits = load_splits(config, seed=0)
    assert splits.target.names == ("question", "answer")
    assert [len(split) for split in splits] == [6, 6, 12]
    for segments, label in zip(splits.test.examples.segments, splits.test.targets, strict=True):
        number = int(segments[0].removeprefix("séance "))
        assert label == number % 2
        assert segments[1:] == (() if pair is None else (f"reply {number}",))


@pytest.mark.parametrize(
    ("source", "options", "needs"),
    [
        ("tfds:beans", {}, ["beans", "not prepared", "downloads nothing", "download_and_prepare()", "data.data_dir"]),
        ("tfds:glue/sst2", {}, ["tfds.builder('glue/sst2', data_dir="]),
        ("tfds:minst", {}, ["TFDS has no such dataset", "Did you mean mnist"]),
        ("tfds:glue/sst3", {}, ["sst3"]),
        ("tfds:own_images[trian]", {}, ["no split 'trian'", "train (20 rows)"]),
        ("tfds:own_images[extra]", {"test": "tfds:own_images"}, ["Name the one to use", "[test]"]),
        ("tfds:own images", {}, ["Write tfds:NAME"]),
        ("tfds:own_images", {"label": "kind"}, ["no column 'kind'", "label, site"]),
        ("tfds:own_images", {"bytes": "photo"}, ["1 image feature: image", "data.bytes=photo"]),
        ("tfds:own_texts/pairs", {"label": "kind"}, ["0 image features: none"]),
        ("tfds:image_folder", {"data_dir": "/nowhere"}, ["split/class/image", "/nowhere"]),
    ],
)
def test_unavailable_data_is_refused_in_one_line(prepared, source, options, needs):
    with pytest.raises(DataError) as refusal:
        load_splits(ImageDataConfig(source=source, **{"data_dir": str(prepared), "validation": 0, **options}), seed=0)
    message = str(refusal.value)
    assert [need for need in needs if need not in message] == [], message
    assert len(message.splitlines()) == 1


def test_the_command_that_is_named_would_prepare_what_is_missing(prepared):
    with pytest.raises(DataError) as refusal:
        load("tfds:beans", prepared)
    (code,) = re.findall(r'python -c "(.*?)"', str(refusal.value))
    compile(code, "command", "exec")
    assert f"data_dir='{prepared}'" in code


@pytest.mark.slow
def test_a_run_from_recipe_to_served_model(tiny, prepared, tmp_path):
    recipe = tmp_path / "own.yaml"
    recipe.write_text(
        f"""
task: image_classification
data:
  source: tfds:own_images[train]
  data_dir: {prepared}
  validation: tfds:own_images[validation]
  test: tfds:own_images[test]
  image_size: 16
backbone: {{name: tiny, weights: none}}
policy: {{name: full}}
training: {{epochs: 1, batch_size: 8}}
""",
        encoding="utf-8",
    )
    console = Console(record=True, width=500)
    run = Recipe.from_file(recipe).fit(tmp_path / "run", console=console)
    assert "Data: tfds:own_images[train]: 2 classes; rows: 20 train, 4 validation, 6 test" in console.export_text()
    again, expected = Run(run.folder).evaluate().to_json(), run.reports["test"].to_json()
    keras.tree.assert_same_structure(again, expected)
    for one, other in zip(keras.tree.flatten(again), keras.tree.flatten(expected), strict=True):
        assert one == (pytest.approx(other, abs=1e-6) if isinstance(other, float) else other)
    assert (run.folder / "export" / "saved_model" / "1").is_dir()


def test_recordings_are_samples_at_the_rate_of_the_feature(prepared):
    config = AudioDataConfig(source="tfds:own_audio", data_dir=str(prepared), validation=0, test=0)
    splits = load_splits(config, seed=0)
    assert splits.target.names == ("zebra", "ant")
    found = [splits.train.examples.decode(row, 8000) for row in range(8)]
    numbers = [round(float(samples[0]) * 32768) for samples in found]
    assert sorted(numbers) == list(range(8))
    assert splits.train.targets.tolist() == [number % 2 for number in numbers]
    for number, samples in zip(numbers, found, strict=True):
        # The mean of the two channels.
        np.testing.assert_allclose(samples, (-np.arange(100) * 100 + number) / 32768, atol=1e-7)
    assert len(splits.train.examples.decode(0, 16000)) == 200


def test_recordings_and_their_transcripts_are_two_features(prepared):
    config = SpeechDataConfig(source="tfds:own_audio", data_dir=str(prepared), validation=0, test=0)
    train = load_splits(config, seed=0).train
    numbers = [round(float(train.examples.decode(row, 8000)[0]) * 32768) for row in range(8)]
    assert train.targets.tolist() == [f"séance {number}" for number in numbers]
