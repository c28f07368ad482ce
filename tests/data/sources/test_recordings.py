"""Every form of a source of recordings gives the same rows."""

import numpy as np
import pandas as pd
import pytest
from pyarrow import Table, parquet

from keras_transfer import SOURCES
from keras_transfer.config.data import AudioDataConfig, ImageDataConfig, TextDataConfig
from keras_transfer.data.formats.recordings import encode_wav
from keras_transfer.data.sources.given_objects import PythonObjects
from keras_transfer.data.sources.python_objects import describe_object
from keras_transfer.data.splits.splits import load_splits
from keras_transfer.errors import DataError
from keras_transfer.recipe.source_task import may_hold
from keras_transfer.testing import check_source

RATE = 8000
NAMES = [f"{label}/{number}.wav" for label in ("kick", "snare") for number in range(6)]
LABELS = [name.partition("/")[0] for name in NAMES]
RNG = np.random.default_rng(0)
SAMPLES = [RNG.uniform(-0.5, 0.5, 800).astype(np.float32) for _ in NAMES]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, samples in zip(NAMES, SAMPLES, strict=True):
        file = tmp_path / "drums" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode_wav(samples, RATE))
    return tmp_path / "drums"


def load(data, given=None, **options):
    source = "<python: x>" if given is not None else str(data)
    config = AudioDataConfig(source=source, **options)
    return load_splits(config, seed=3, given={} if given is None else {"<python: x>": given})


def rows_of(splits):
    return [
        (split.name, splits.target.names[label], split.examples.decode(row, RATE).tolist())
        for split in splits
        for row, label in enumerate(split.targets)
    ]


def test_every_form_gives_the_same_rows_as_the_folder(folder, tmp_path):
    expected = rows_of(load(folder))
    assert len(expected) == 12
    by_samples = {tuple(samples.tolist()): label for samples, label in zip(SAMPLES, LABELS, strict=True)}
    assert all(by_samples[tuple(samples)] == label for _, label, samples in expected)

    contents = [(folder / name).read_bytes() for name in NAMES]
    pd.DataFrame({"path": NAMES, "label": LABELS}).to_csv(folder.parent / "drums.csv", index=False)
    parquet.write_table(
        Table.from_pydict({"audio": [{"bytes": c, "path": None} for c in contents], "label": LABELS}), "drums.parquet"
    )
    sources = {
        "table": load("drums.csv", root="drums"),
        "shards": load("drums.parquet", bytes="audio"),
        "paths": load(None, [(str(folder / name), label) for name, label in zip(NAMES, LABELS, strict=True)]),
        "arrays": load(None, (SAMPLES, LABELS), sample_rate=RATE),
        "matrix": load(None, (np.stack(SAMPLES), LABELS), sample_rate=RATE),
        "pairs": load(None, [((one, RATE), label) for one, label in zip(SAMPLES, LABELS, strict=True)]),
        "frame of bytes": load(None, pd.DataFrame({"audio": contents, "label": LABELS})),
        "Hugging Face": load(
            None,
            [
                {"audio": {"array": one, "sampling_rate": RATE, "path": "x.wav"}, "label": label}
                for one, label in zip(SAMPLES, LABELS, strict=True)
            ],
        ),
        "encoded Hugging Face": load(
            None,
            [{"audio": {"bytes": c, "path": None}, "label": y} for c, y in zip(contents, LABELS, strict=True)],
        ),
    }
    (folder / "metadata.csv").write_text(
        "file_name,label\n" + "".join(f"{name},{label}\n" for name, label in zip(NAMES, LABELS, strict=True))
    )
    sources["metadata"] = load(folder)
    for form, splits in sources.items():
        assert rows_of(splits) == expected, form


def test_clips_are_rows_of_a_table_with_starts_and_ends(folder):
    table = pd.DataFrame(
        {
            "path": ["kick/0.wav", "kick/0.wav", "snare/1.wav", "kick/1.wav"],
            "begin": [0.05, None, "", 0.025],
            "until": [0.1, 0.05, "", None],
            "label": ["late", "early", "early", "late"],
        }
    )
    options = {"root": "drums", "start": "begin", "end": "until", "validation": 0, "test": 0}
    parquet.write_table(
        Table.from_pydict(
            {
                "audio": [(folder / path).read_bytes() for path in table["path"]],
                "begin": [0.05, None, None, 0.025],
                "until": [0.1, 0.05, None, None],
                "label": table["label"].tolist(),
            }
        ),
        "clips.parquet",
    )
    table.to_csv("clips.csv", index=False)
    train = load("clips.csv", **options, group="path").train
    assert train.examples.names == (
        "kick/0.wav 0.00-0.05 s",
        "kick/0.wav 0.05-0.10 s",
        "kick/1.wav 0.025-end",
        "snare/1.wav",
    )
    kick = [SAMPLES[NAMES.index(f"kick/{n}.wav")] for n in range(2)]
    expected = [kick[0][:400], kick[0][400:], kick[1][200:], SAMPLES[NAMES.index("snare/1.wav")]]
    for row, samples in enumerate(expected):
        np.testing.assert_array_equal(train.examples.decode(row, RATE), samples)
    # Clips of one recording are one group.
    assert train.groups.tolist() == ["kick/0.wav", "kick/0.wav", "kick/1.wav", "snare/1.wav"]
    del options["root"]
    shards = load("clips.parquet", bytes="audio", **options).train
    assert [shards.examples.decode(row, RATE).tolist() for row in (1, 0, 3, 2)] == [x.tolist() for x in expected]


def test_objects_without_columns_are_whole_recordings_in_a_recipe_of_clips(folder):
    for given in ((SAMPLES, LABELS), [(str(folder / name), label) for name, label in zip(NAMES, LABELS, strict=True)]):
        splits = load(None, given, sample_rate=RATE, start="begin", end="until")
        assert {len(split.examples.decode(row, RATE)) for split in splits for row in range(len(split))} == {800}
    frame = pd.DataFrame({"path": [str(folder / name) for name in NAMES], "label": LABELS})
    with pytest.raises(DataError, match="no column 'begin'"):
        load(None, frame, start="begin")


def test_the_contract_of_sources(folder):
    check_source(SOURCES["folder"], "drums", AudioDataConfig(source="drums"))
    pd.DataFrame({"path": NAMES * 2, "begin": [0] * 12 + [0.02] * 12, "label": LABELS * 2}).to_csv("t.csv", index=False)
    check_source(SOURCES["table"], "t.csv", AudioDataConfig(source="t.csv", root=str(folder), start="begin"))
    data = (SAMPLES, LABELS)
    name = describe_object(data)
    check_source(PythonObjects(data), name, AudioDataConfig(source=name, sample_rate=RATE))


def test_paths_without_a_suffix_are_those_of_the_files(folder):
    pd.DataFrame({"path": [name.removesuffix(".wav") for name in NAMES], "label": LABELS}).to_csv("t.csv", index=False)
    assert rows_of(load("t.csv", root="drums")) == rows_of(load("drums"))


def test_folders_and_tables_show_what_their_files_are(folder):
    pd.DataFrame({"path": NAMES, "label": LABELS}).to_csv("t.csv", index=False)
    for source in ("drums", "t.csv"):
        held = [may_hold(source, kind(source=source)) for kind in (AudioDataConfig, ImageDataConfig, TextDataConfig)]
        assert held == [True, False, False], source


@pytest.mark.parametrize(
    ("make", "options", "needs"),
    [
        pytest.param(lambda: (SAMPLES, LABELS), {}, ["row 1", "sample rate", "data.sample_rate"], id="no rate"),
        pytest.param(
            lambda: ([one.reshape(2, -1) for one in SAMPLES], LABELS),
            {"sample_rate": RATE},
            ["[2, 400]", "Average its channels"],
            id="two axes",
        ),
        pytest.param(
            lambda: ([(one * 100).astype(np.int8) for one in SAMPLES], LABELS),
            {"sample_rate": RATE},
            ["int8", "int16 or int32"],
            id="int8",
        ),
        pytest.param(lambda: [((SAMPLES[0], 0.5), "a")], {}, ["sample rate in Hz", "0.5"], id="impossible rate"),
        pytest.param(lambda: [({"text": "x"}, "a")], {}, ["row 1", "'array'"], id="another mapping"),
    ],
)
def test_objects_that_are_not_recordings_are_named(make, options, needs):
    with pytest.raises(DataError) as refusal:
        load(None, make(), **options)
    assert [need for need in needs if need not in str(refusal.value)] == [], refusal.value


@pytest.mark.parametrize(
    ("columns", "options", "needs"),
    [
        pytest.param({}, {"start": "begin"}, ["no column 'begin'", "data.start"], id="no such column"),
        pytest.param({"begin": "1:23"}, {"start": "begin"}, ["'begin'", "'1:23' (", "row 1", "83.5"], id="not seconds"),
        pytest.param({"begin": "inf"}, {"start": "begin"}, ["not seconds"], id="infinite"),
        pytest.param({"begin": 0.5}, {"start": "begin"}, ["12 clips twice", "kick/0.wav from 0.5"], id="twice"),
    ],
)
def test_starts_and_ends_that_cannot_be_read_are_named(folder, columns, options, needs):
    names = NAMES * (2 if "twice" in needs[0] else 1)
    pd.DataFrame({"path": names, "label": LABELS * (len(names) // 12), **columns}).to_csv("t.csv", index=False)
    with pytest.raises(DataError) as refusal:
        load("t.csv", root="drums", **options)
    assert [need for need in needs if need not in str(refusal.value)] == [], refusal.value


def test_starts_are_refused_for_a_folder_of_classes(folder):
    with pytest.raises(DataError, match=r"data\.start: only tables have columns"):
        load("drums", start="begin")
