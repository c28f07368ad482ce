"""An example is its content: caches, records, comparisons and splits depend on it alone."""

import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from blake3 import blake3
from PIL import Image
from pyarrow import parquet

from keras_transfer import DataError, ImageClassification, Run, TrainingError, TransferWarning
from keras_transfer.backbones.weights import BackboneError
from keras_transfer.config.data import ImageDataConfig, TextDataConfig
from keras_transfer.data.checks.scan import scan
from keras_transfer.data.examples.images import Images
from keras_transfer.data.splits.splits import Split, load_splits
from keras_transfer.recipe.resume_checks import check_rows
from keras_transfer.storage import cache_store
from keras_transfer.storage.cache_store import FeatureStore
from keras_transfer.storage.content_hashes import FileHashes
from keras_transfer.training.checkpointing import Checkpointer

pytestmark = pytest.mark.usefixtures("pebble")

CAT, DOG = (200, 40, 40), (40, 40, 200)
"""Two colours; a bitmap of one has the size of a bitmap of the other."""


def draw(file, colour, number):
    noise = np.random.default_rng([*colour, number]).integers(-30, 30, (16, 16, 3))
    Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(file, "BMP")


def make_folder(folder, colours, count=12, start=0):
    for name, colour in colours.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(start, start + count):
            draw(folder / name / f"{number:02}.bmp", colour, number)
            os.utime(folder / name / f"{number:02}.bmp", (1_700_000_000, 1_700_000_000))
    return folder


def replace(file, content):
    """As ``cp -p`` would: the same inode, size and modification time."""
    before = os.stat(file)
    assert len(content) == before.st_size
    with open(file, "r+b") as opened:
        opened.write(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = os.stat(file)
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)


def recipe(source, policy="head", **sections):
    data = {"source": str(source), "image_size": 16, "test": 0.25, "validation": 0.25, **sections.pop("data", {})}
    backbone = {"name": "pebble", **sections.pop("backbone", {})}
    training = {"epochs": 3, "batch_size": 8, **sections.pop("training", {})}
    return ImageClassification(
        data, backbone=backbone, policy=policy, training=training, export={"formats": []}, report=False, **sections
    )


@pytest.fixture(scope="module")
def first(tmp_path_factory, pebble):
    """A finished run on twelve images of each class. Tests change copies of it and of its images."""
    root = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_TRANSFER_CACHE", str(root / "cache"))
        return recipe(make_folder(root / "images", {"cat": CAT, "dog": DOG})).fit(root / "run")


def source_of(run):
    return Path(run.config.data.source)


@pytest.fixture
def moved(first, tmp_path):
    """The run and its images, copied."""
    source = shutil.copytree(source_of(first), tmp_path / "images")
    folder = shutil.copytree(first.folder, tmp_path / "run")
    text = (folder / "recipe.yaml").read_text().replace(str(source_of(first)), str(source))
    (folder / "recipe.yaml").write_text(text)
    return Run(folder)


def test_two_data_sets_of_equal_names_sizes_and_times_share_no_features(first, tmp_path, monkeypatch):
    """The second has its colours swapped: features of the first would call every cat a dog."""
    monkeypatch.setenv("KERAS_TRANSFER_CACHE", str(first.folder.parent / "cache"))
    other = make_folder(tmp_path / "images", {"cat": DOG, "dog": CAT})
    for file in other.rglob("*.bmp"):
        mine, theirs = os.stat(file), os.stat(source_of(first) / file.relative_to(other))
        assert (mine.st_size, mine.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)
    run = recipe(other).fit(tmp_path / "run")
    for each in (first, run):
        assert each.reports["test"].accuracy == each.evaluate().accuracy == 1.0


# What an example is known by.


def hashes(splits):
    return {content for split in splits for content in split.examples.content_hashes}


def parquet_of(folder, contents):
    table = pa.table({"image": contents, "label": ["a", "b"] * (len(contents) // 2)})
    parquet.write_table(table, folder / "rows.parquet", compression="none")
    return folder / "rows.parquet"


def bitmaps(seed):
    found = []
    for number in range(12):
        file = io.BytesIO()
        draw(file, CAT if number % 2 else DOG, 100 * seed + number)
        found.append(file.getvalue())
    return found


def test_images_in_a_folder_in_parquet_and_in_python_have_the_hashes_of_their_bytes(tmp_path):
    contents = bitmaps(0)
    for number, content in enumerate(contents):
        (tmp_path / "images" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / "ab"[number % 2] / f"{number}.bmp").write_bytes(content)
    expected = {blake3(content).hexdigest() for content in contents}
    frame = pd.DataFrame({"image": contents, "label": ["a", "b"] * 6})
    config = ImageDataConfig(source="x", bytes="image")
    assert hashes(load_splits(ImageDataConfig(source=str(tmp_path / "images")), seed=0)) == expected
    shards = config.model_copy(update={"source": str(parquet_of(tmp_path, contents))})
    assert hashes(load_splits(shards, seed=0)) == expected
    assert hashes(load_splits(config, seed=0, given={"x": frame})) == expected


def test_a_parquet_file_that_was_replaced_is_read_again(tmp_path):
    file = parquet_of(tmp_path, bitmaps(0))
    config = ImageDataConfig(source=str(file), bytes="image")
    before = hashes(load_splits(config, seed=0))
    (tmp_path / "other").mkdir()
    replace(file, parquet_of(tmp_path / "other", bitmaps(1)).read_bytes())
    after = hashes(load_splits(config, seed=0))
    assert after == {blake3(content).hexdigest() for content in bitmaps(1)}
    assert after.isdisjoint(before)


def test_texts_in_a_table_have_the_hashes_of_their_utf_8(tmp_path):
    pd.DataFrame({"text": [f"caf\u00e9 {n}" for n in range(12)], "label": ["a", "b"] * 6}).to_csv(tmp_path / "t.csv")
    found = hashes(load_splits(TextDataConfig(source=str(tmp_path / "t.csv")), seed=0))
    assert found == {blake3(f"caf\u00e9 {n}".encode()).hexdigest() for n in range(12)}


@pytest.mark.parametrize(
    "row",
    [
        None,
        [],
        [1, 2],
        ["1", "2", "3", "4", "5"],
        [1, 2, 3, 4, 5],
        [1.0, 2, 3, 4, "x"],
        [True, 2, 3, 4, "x"],
        {"a": 1},
        "text",
    ],
    ids=str,
)
def test_a_cached_hash_of_the_wrong_type_is_ignored(tmp_path, cache, row):
    file = tmp_path / "file"
    file.write_bytes(b"content")
    for _ in range(2):
        assert FileHashes(str(tmp_path)).hash_all([str(file)]) == [blake3(b"content").hexdigest()]
        (record,) = (cache / "contents").iterdir()
        record.write_text(json.dumps({str(file): row, "another": row}))


def test_an_unchanged_file_is_not_read_again_and_a_replaced_one_is(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_bytes(b"content")
    assert FileHashes("x").hash_all([str(file)]) == [blake3(b"content").hexdigest()]
    with monkeypatch.context() as patch:
        patch.setattr("keras_transfer.storage.content_hashes.hash_file", lambda _: pytest.fail("it was read"))
        assert FileHashes("x").hash_all([str(file)]) == [blake3(b"content").hexdigest()]
    replace(file, b"another")
    assert FileHashes("x").hash_all([str(file), str(tmp_path / "gone")]) == [blake3(b"another").hexdigest(), ""]


# Runs that are evaluated and resumed.


def test_evaluate_refuses_images_that_were_replaced_by_others_of_equal_size_and_time(moved):
    names = [name for name, _ in moved.record["splits"]["test"]["rows"]]
    assert moved.evaluate().accuracy == moved.reports["test"].accuracy
    draw(moved.folder / "other", CAT, 999)
    replace(source_of(moved) / names[0], (moved.folder / "other").read_bytes())
    with pytest.raises(DataError, match=r"The test rows of .*images have changed since the run\. Name a source"):
        moved.evaluate()


def test_evaluate_finds_the_rows_of_the_run_in_a_source_that_has_grown(moved):
    make_folder(source_of(moved), {"cat": CAT, "dog": DOG}, start=50, count=9)
    again, recorded = moved.evaluate(), moved.reports["test"]
    assert (again.n, again.accuracy) == (recorded.n, recorded.accuracy)
    assert again.loss == pytest.approx(recorded.loss, abs=1e-5)


def test_evaluate_reports_that_it_cannot_compare_a_run_of_an_early_version(moved):
    record = json.loads((moved.folder / "data.json").read_text())
    for split in record["splits"].values():
        del split["hashes"]
        split["fingerprint"] = "0" * 64
    (moved.folder / "sums.json").unlink()  # nor did it record these
    (moved.folder / "data.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="cannot be compared: the run was made by a version that did not record"):
        Run(moved.folder).evaluate()


def test_a_killed_run_is_not_resumed_on_images_that_were_replaced(tmp_path, killed):
    source = make_folder(tmp_path / "images", {"cat": CAT, "dog": DOG})
    made = recipe(source, "full", training={"epochs": 1})
    killed(lambda: made.fit(tmp_path / "run"), Checkpointer, "on_train_batch_end", 2)
    checkpoints = tmp_path / "run" / "checkpoints"
    record = json.loads((tmp_path / "run" / "data.json").read_text())
    assert checkpoints.is_dir()
    other = tmp_path / "other.bmp"
    draw(other, CAT, 999)
    replace(source / record["splits"]["train"]["rows"][0][0], other.read_bytes())
    if not any(checkpoints.glob("checkpoint-*")):
        pytest.fail("there is no checkpoint to resume from")
    with pytest.raises(DataError, match=r"The data has changed since .*\n  train: 13 rows as before, but other ones"):
        made.fit(tmp_path / "run", resume=True)


def test_a_checkpoint_of_an_early_version_cannot_be_compared(first):
    splits = first.record["splits"]
    check_rows({"splits": splits, "hash": "blake3"}, splits)
    with pytest.raises(DataError, match=r"cannot be compared: .* did not record their content\. Choose another --out"):
        check_rows({"splits": splits}, splits)


# Data that grows.


def rows_of(record):
    return {name: {row for row, _ in split["rows"]} for name, split in record["splits"].items()}


@pytest.mark.parametrize("start", ["backbone", "data"])
def test_rows_of_an_earlier_run_stay_in_their_splits_in_more_data_under_other_names(first, tmp_path, start):
    source = tmp_path / "more"
    for name in ("cat", "dog"):
        (source / name).mkdir(parents=True)
        for file in (source_of(first) / name).iterdir():
            shutil.copy(file, source / name / f"renamed-{file.name}")
    make_folder(source, {"cat": CAT, "dog": DOG}, start=50, count=8)
    named = {"weights": str(first.folder)} if start == "backbone" else {"splits_of": str(first.folder)}
    job = recipe(source, seed=7, **{start: named}).prepare()
    before, after = rows_of(first.record), rows_of(job.record)
    for split, names in before.items():
        kept = {name.replace("/", "/renamed-") for name in names}
        assert kept <= after[split]
    # Of 40 images a quarter, then a quarter of the rest.
    assert {split: len(names) for split, names in after.items()} == {"train": 22, "validation": 8, "test": 10}
    assert job.record["earlier_rows"] == {
        "runs": [str(first.folder)],
        "kept": {split: len(names) for split, names in before.items()},
        "new": {split: len(after[split]) - len(before[split]) for split in after},
        "left_out": {},
    }


def test_images_that_the_network_was_trained_on_are_removed_from_another_test_folder(first, tmp_path):
    before = rows_of(first.record)
    make_folder(tmp_path / "test", {"cat": CAT, "dog": DOG}, start=80, count=2)
    for number, name in enumerate(sorted(before["train"])[:4]):
        shutil.copy(source_of(first) / name, tmp_path / "test" / name.split("/")[0] / f"copy-{number}.bmp")
    data = {"test": str(tmp_path / "test")}
    job = recipe(source_of(first), data=data, backbone={"weights": str(first.folder)}).prepare()
    assert rows_of(job.record)["test"] == {"cat/80.bmp", "cat/81.bmp", "dog/80.bmp", "dog/81.bmp"}
    assert len(job.record["earlier_rows"]["left_out"]["test"]) == 4
    assert any("4 of 8 test rows of" in note and "4 train" in note for note in job.record["notes"])


def test_splits_of_a_folder_that_is_not_a_run_are_refused(first, tmp_path):
    with pytest.raises(BackboneError, match=r"is not a run folder: .* Received: data\.splits_of="):
        recipe(source_of(first), data={"splits_of": str(tmp_path)}).prepare()


# The cache is a matter of time alone.


def history(run):
    lines = [json.loads(line) for line in (run.folder / "history.jsonl").read_text().splitlines()]
    return [[line["loss"], line["val_loss"]] for line in lines]


MOVED = {"augmentation": {"shift": 0.2, "predict_flips": True}, "policy": {"name": "last_stages", "stages": 1}}


@pytest.fixture(scope="module")
def cached(first, tmp_path_factory):
    """A run on two views of each image, of which three epochs show the first one twice."""
    root = tmp_path_factory.mktemp("cached")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_TRANSFER_CACHE", str(root / "cache"))
        return recipe(source_of(first), **MOVED).fit(root / "run")


def read_only(monkeypatch, tmp_path):
    original = Path.mkdir

    def refuse(path, *arguments, **options):
        if path.parent.name == "features":
            raise PermissionError(13, "Permission denied")
        return original(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", refuse)


@pytest.mark.parametrize(
    ("fault", "settings", "tolerance"),
    [
        pytest.param(read_only, {}, 0, id="read-only", marks=pytest.mark.slow),
        # The frozen stages then run within each step, which rounds in another order.
        pytest.param(lambda *_: None, {"max_bytes": 1000}, 1e-6, id="budget"),
    ],
)
def test_a_run_without_a_usable_cache_has_the_same_result(cached, tmp_path, monkeypatch, fault, settings, tolerance):
    fault(monkeypatch, tmp_path)
    with pytest.warns(TransferWarning, match=r"for this run alone|at every step, which is slower"):
        run = recipe(source_of(cached), **MOVED, cache=settings).fit(tmp_path / "run")
    np.testing.assert_allclose(history(run), history(cached), rtol=0, atol=tolerance)
    for name, report in cached.reports.items():
        assert run.reports[name].accuracy == report.accuracy
        assert run.reports[name].loss == pytest.approx(report.loss, abs=tolerance, rel=0)


def test_cached_features_that_are_truncated_while_a_run_reads_them_are_named(first, tmp_path, cache, monkeypatch):
    import keras

    monkeypatch.setattr(cache_store, "_MOST_HELD_BYTES", 0)

    class Truncate(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            for file in (cache / "features").glob("*/*.npy"):
                os.truncate(file, 130)

    made = recipe(source_of(first), **MOVED, training={"epochs": 30, "keep": "last"})
    with pytest.raises(TrainingError, match=r"Cached features can no longer be read:\n.*truncated to 130 of"):
        made.fit(tmp_path / "run", callbacks=[Truncate()])


OTHER_USER = """
import os, sys, warnings
import numpy as np
from pathlib import Path
from keras_transfer.storage.cache_store import FeatureStore
os.setgid(65534); os.setuid(65534)
warnings.simplefilter("error")
store = FeatureStore(Path(sys.argv[1]), max_bytes=None)
(array,) = store.find("key", shapes=[(1, 2)], dtype="float32")
cleared = store.clear()
print(np.asarray(array).tolist(), len(cleared.removed), [reason for _, reason in cleared.kept])
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root becomes another user")
def test_another_user_uses_entries_but_does_not_remove_them():
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to other users
    try:
        store = FeatureStore(folder / "features", max_bytes=None)
        ones = np.ones((1, 2), "float32")
        store.write("key", "x", shapes=[(1, 2)], dtype="float32", batches=lambda: [(ones,)])
        for path in (folder, folder / "features"):
            path.chmod(0o777)
        done = subprocess.run(
            [sys.executable, "-c", OTHER_USER, str(folder / "features")], capture_output=True, text=True, check=False
        )
        assert done.stdout == "[[1.0, 1.0]] 0 ['it belongs to another user']\n", done.stderr
        assert (folder / "features" / "key" / "0.npy").is_file()
    finally:
        shutil.rmtree(folder)


# Broken streams under right checksums.


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(stream, *, interlaced=0):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20, 16, 8, 2, 0, 0, interlaced))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", stream) + chunk(b"IEND", b"")


PIXELS = bytes(16 * (1 + 3 * 20))
COMPRESSED = zlib.compress(PIXELS)


@pytest.mark.parametrize(
    ("content", "is_whole"),
    [
        pytest.param(png(COMPRESSED), True, id="whole"),
        pytest.param(png(b"\x78\x9c" + b"\xff" * 40), False, id="no deflate stream"),
        pytest.param(png(COMPRESSED[: len(COMPRESSED) // 2]), False, id="half a stream"),
        pytest.param(png(zlib.compress(PIXELS[:-61])), False, id="a row too few"),
        pytest.param(png(zlib.compress(b"\x09" + PIXELS[1:])), False, id="an unknown filter"),
        pytest.param(png(zlib.compress(bytes(10)), interlaced=1), False, id="a pass too few"),
    ],
)
def test_the_scan_finds_a_png_with_a_broken_stream_and_valid_checksums(tmp_path, content, is_whole):
    (tmp_path / "image.png").write_bytes(content)
    split = Split("train", Images(tmp_path, ("image.png",)), np.zeros(1, np.int64), np.ones(1, np.float32))
    options = {"broken": "error", "max_pixels": 10**6, "channels": 3, "memory": tmp_path / "memory"}
    if is_whole:
        assert len(scan([split], **options).splits[0]) == 1
        return
    with pytest.raises(DataError, match=r"1 of 1 images cannot be read:\n  .*image\.png: "):
        scan([split], **options)
