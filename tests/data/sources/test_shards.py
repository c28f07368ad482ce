import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc, parquet

from keras_transfer.config.data import ImageDataConfig
from keras_transfer.data.examples.images import EncodedImages
from keras_transfer.data.sources.encoded_bytes import Record, cache_records
from keras_transfer.data.splits.splits import load_splits
from keras_transfer.errors import DataError
from keras_transfer.storage.cache_store import FeatureStore


@pytest.fixture
def rows(images):
    """Sixteen rows with the bytes of image files, as Hugging Face's datasets have them, and further columns."""
    files = sorted(images.glob("*/*"))[::2]
    return [
        {
            "image": {"bytes": file.read_bytes(), "path": file.name},
            "raw": file.read_bytes(),
            "label": int(file.parent.name == "cat"),
            "part": ("train", "test")[number % 4 == 0],
            "w": float(number),
        }
        for number, file in enumerate(files)
    ]


def load(source, **options):
    return load_splits(ImageDataConfig(source=str(source), **options), seed=0)


def write(file, rows, metadata=None):
    table = pa.Table.from_pylist(rows).replace_schema_metadata(metadata)
    if file.suffix == ".parquet":
        parquet.write_table(table, file, row_group_size=3)
    else:
        with (ipc.new_stream if "stream" in file.name else ipc.new_file)(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=5)
    return file


@pytest.mark.parametrize("column", ["image", "raw"])
@pytest.mark.parametrize("name", ["a.parquet", "file.arrow", "stream.arrow"])
def test_images_and_columns_are_those_of_the_rows(tmp_path, rows, name, column):
    file = write(tmp_path / name, rows)
    splits = load(file, bytes=column, split="part", validation=0, weight="w")
    assert splits.target.names == ("0", "1")
    assert splits.test.examples.names == ("row 1", "row 5", "row 9", "row 13")
    for split in (splits.train, splits.test):
        numbers = [int(place.removeprefix("row ")) - 1 for place in split.examples.names]
        assert [split.examples.read(row) for row in range(len(split))] == [rows[n]["raw"] for n in numbers]
        assert split.targets.tolist() == [rows[n]["label"] for n in numbers]
    assert splits.train.weights.tolist() == [1.0, 2.0, 3.0, 5.0, 6.0, 7.0, 9.0, 10.0, 11.0, 13.0, 14.0, 15.0]


@pytest.mark.parametrize("pattern", ["", "*.parquet", "**/*.parquet"])
def test_shards_of_a_folder_are_read_in_the_order_of_their_paths(tmp_path, rows, pattern):
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in (2, 0, 1):
        write(folder / f"{number}.parquet", rows[number * 5 : number * 5 + 6])
    train = load(folder / pattern if pattern else folder, bytes="raw", validation=0, test=0).train
    assert train.examples.names[:7] == (*(f"0.parquet row {n}" for n in range(1, 7)), "1.parquet row 1")
    assert len(train) == 18


def test_classes_named_by_hugging_face_keep_name_and_order(tmp_path, rows):
    features = {"label": {"names": ["wolf", "cat"], "_type": "ClassLabel"}}
    file = write(tmp_path / "a.parquet", rows, {"huggingface": json.dumps({"info": {"features": features}})})
    splits = load(file, bytes="image", validation=0, test=0)
    assert splits.target.names == ("wolf", "cat")
    assert splits.train.targets.tolist() == [row["label"] for row in rows]


def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not(tmp_path, rows, cache):
    file = write(tmp_path / "a.parquet", rows)
    before = load(file, bytes="raw").describe()
    assert load(file, bytes="raw").describe() == before
    assert len(FeatureStore(cache / "features", max_bytes=None).entries()) == 1
    write(file, [rows[0] | {"raw": rows[-1]["raw"]}, *rows[1:]])
    assert load(file, bytes="raw").describe() != before


def test_one_image_at_a_time_is_in_memory(tmp_path):
    """What a million of them would take of memory, a hundred must not."""
    import tracemalloc

    def records():
        for number in range(100):
            yield Record(f"row {number}", bytes([number]) * 1_000_000, {"label": str(number % 2)})

    tracemalloc.start()
    images, table = cache_records(records(), source="test", plural="images", facts=None)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 40_000_000  # checksums are made of 16 MB at a time
    assert [len(images), len(table)] == [100, 100]
    assert images.select([7, 99]).read(1) == bytes([99]) * 1_000_000
    rows = np.array([3, 1], np.int64)
    assert [content[:1] for content in EncodedImages.of(images).contents()(rows).numpy()] == [b"\x03", b"\x01"]


def test_a_full_disk_is_reported(tmp_path, monkeypatch):
    def fill(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("keras_transfer.data.sources.encoded_bytes._write", fill)
    with pytest.raises(
        DataError, match=r"Cannot write the images of x to .*: No space left on device\. Free some space, or .*CACHE"
    ):
        cache_records([], source="x", plural="images", facts=None)


@pytest.mark.parametrize(
    ("source", "options", "needs"),
    [
        ("a.parquet", {"bytes": "imag"}, ["no column 'imag'", "Did you mean image?"]),
        (
            "a.parquet",
            {"bytes": "w"},
            ["column 'w' has type double; expected the bytes of files", "Columns of bytes: image, raw"],
        ),
        ("a.parquet", {"bytes": "raw", "label": "kind"}, ["no column 'kind'"]),
        ("a.parquet", {"bytes": "raw", "group": "site"}, ["no column 'site'", "data.group"]),
        ("*.arrow", {"bytes": "raw"}, ["*.arrow has no such files"]),
        ("bad.parquet", {"bytes": "raw"}, ["Cannot read ", "bad.parquet: ", "Fix the file"]),
        ("bad.arrow", {"bytes": "raw"}, ["Cannot read ", "bad.arrow: "]),
    ],
)
def test_unreadable_shards_are_refused(tmp_path, rows, source, options, needs):
    write(tmp_path / "a.parquet", rows)
    if source.startswith("bad"):
        (tmp_path / source).write_bytes(b"no table at all")
    with pytest.raises(DataError) as refusal:
        load(tmp_path / source, **options)
    assert [need for need in needs if need not in str(refusal.value)] == [], refusal.value
