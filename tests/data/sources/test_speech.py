"""Transcribed recordings: the layouts of Common Voice and LibriSpeech, tables, bytes and Python objects."""

import io
import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile

from keras_transfer import SOURCES
from keras_transfer.config.data import AudioDataConfig, SpeechDataConfig
from keras_transfer.data.sources.find import find_source_kind
from keras_transfer.data.splits.splits import load_splits, read_split
from keras_transfer.data.targets.transcripts import TRANSCRIPTS
from keras_transfer.errors import DataError
from keras_transfer.testing import check_source

RATE = 16000
HEADER = "client_id\tpath\tsentence\tup_votes\n"


def sound(seed):
    return np.random.default_rng(seed).uniform(-0.3, 0.3, 800).astype(np.float32)


def encoded(seed):
    with io.BytesIO() as file:
        soundfile.write(file, sound(seed), RATE, format="WAV")
        return file.getvalue()


def rows_of(source, **options):
    config = SpeechDataConfig(source=str(source), **options)
    return load_splits(config, seed=0)


def texts(split):
    return dict(zip(split.examples.names, split.targets.tolist(), strict=True))


@pytest.fixture(scope="module")
def common_voice(tmp_path_factory):
    root = tmp_path_factory.mktemp("cs")
    (root / "clips").mkdir()
    for number in range(12):
        (root / "clips" / f"cv_{number:02}.wav").write_bytes(encoded(number))
    sentences = ["Ano.", '"Ne," řekl.', '"On ""to"" ví"', 'A \\"co\\"?', "Pět\u2028 šest.", "Sedm."]

    def table(name, numbers):
        lines = [f"c{n % 4}\tcv_{n:02}.wav\t{sentences[n % 6]}\t2\n" for n in numbers]
        (root / name).write_text(HEADER + "".join(lines), encoding="utf-8")

    table("validated.tsv", range(12))
    table("train.tsv", range(6))
    table("dev.tsv", [6, 7])
    table("test.tsv", [8, 9])
    return root


def test_common_voice_has_its_own_splits_and_quotes(common_voice):
    splits = rows_of(common_voice)
    assert [len(split) for split in splits] == [6, 2, 2]
    assert texts(splits.train) == {
        "cv_00.wav": "Ano.",
        "cv_01.wav": '"Ne," řekl.',
        "cv_02.wav": 'On "to" ví',
        "cv_03.wav": 'A "co"?',
        "cv_04.wav": "Pět šest.",
        "cv_05.wav": "Sedm.",
    }
    assert "Common Voice: train.tsv (6 rows), dev.tsv (2 rows), test.tsv (2 rows)" in splits.notes
    assert splits.test.examples.decode(0, RATE) == pytest.approx(sound(8), abs=1e-4)


def test_common_voice_without_a_training_table_is_divided_by_speakers(common_voice, tmp_path):
    root = tmp_path / "cs"
    shutil.copytree(common_voice, root)
    for name in ("train.tsv", "dev.tsv", "test.tsv"):
        (root / name).unlink()
    splits = rows_of(root)
    assert sum(map(len, splits)) == 12
    assert "4 speakers: data.group=speaker keeps the recordings of each in one split" in splits.notes
    grouped = rows_of(root, group="client_id", validation=0.25, test=0.25)
    speakers = [set(split.groups) for split in grouped]
    assert all(speakers)
    assert sum(map(len, speakers)) == 4
    with pytest.raises(DataError, match=r"has no column 'client_id'\. Columns: path, sentence"):
        (root / "validated.tsv").write_text("path\tsentence\nx\ty\n", encoding="utf-8")
        rows_of(root)


@pytest.fixture(scope="module")
def librispeech(tmp_path_factory):
    root = tmp_path_factory.mktemp("LibriSpeech")
    number = 0
    for part, speakers in {"train-clean-100": ["19", "26"], "train-other": ["31"], "dev-clean": ["40"]}.items():
        for speaker in speakers:
            chapter = root / part / speaker / "198"
            chapter.mkdir(parents=True)
            lines = []
            for utterance in range(3):
                name = f"{speaker}-198-{utterance:04}"
                soundfile.write(chapter / f"{name}.flac", sound(number), RATE)
                lines.append(f"{name} WORDS OF {number}\n")
                number += 1
            (chapter / f"{speaker}-198.trans.txt").write_text("".join(lines), encoding="utf-8")
    soundfile.write(root / "dev-clean" / "40" / "198" / "extra.flac", sound(99), RATE)
    (root / "BOOKS.TXT").write_text("1 | A book\n", encoding="utf-8")
    return root


def test_librispeech_has_splits_by_folder_and_speakers(librispeech):
    splits = rows_of(librispeech, test=0.34, group="speaker", normalization="lower")
    assert texts(splits.validation) == {f"dev-clean/40/198/40-198-000{n}.flac": f"words of {9 + n}" for n in range(3)}
    assert [set(split.groups) for split in splits][1:] in ([{"40"}, {"19"}], [{"40"}, {"26"}], [{"40"}, {"31"}])
    assert len(splits.train) == 6
    notes = "\n".join(splits.notes)
    assert "dev-clean -> validation, train-clean-100 -> train, train-other -> train" in notes
    assert "Left out, without a transcript: 1 recordings: dev-clean/40/198/extra.flac" in notes


def test_a_part_of_librispeech_can_be_a_source(librispeech):
    splits = rows_of(librispeech / "train-clean-100", test=str(librispeech / "dev-clean"), validation=0.0)
    assert [len(split) for split in splits] == [6, 0, 3]
    split = read_split("dev", str(librispeech / "dev-clean"), SpeechDataConfig(source="x"), TRANSCRIPTS)
    assert len(split) == 3
    with pytest.raises(DataError, match=r"has the splits train, validation\. Name the one"):
        read_split("all", str(librispeech), SpeechDataConfig(source="x"), TRANSCRIPTS)


def test_a_folder_that_is_only_partly_split_is_refused(librispeech, tmp_path):
    shutil.copytree(librispeech, tmp_path / "all")
    shutil.move(tmp_path / "all" / "train-other", tmp_path / "all" / "more")
    with pytest.raises(DataError, match=r"named like splits \(dev-clean, train-clean-100\).*outside of them \(more/31"):
        rows_of(tmp_path / "all")


@pytest.mark.parametrize("layout", ["common_voice", "librispeech"])
def test_layouts_satisfy_the_contract_of_sources(layout, request):
    name = str(request.getfixturevalue(layout))
    check_source(SOURCES[layout], name, SpeechDataConfig(source=name))


# The same folders are classes for a classifier.
def test_layouts_of_transcripts_are_for_tasks_that_read_transcripts(common_voice, librispeech):
    for root, name in ((common_voice, "common_voice"), (librispeech, "librispeech")):
        assert find_source_kind(str(root), SpeechDataConfig(source="x")).name == name
        assert find_source_kind(str(root), AudioDataConfig(source="x")).name == "folder"


def test_recordings_without_transcripts_are_refused_with_what_is_expected(tmp_path):
    for label in ("yes", "no"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "a.wav").write_bytes(encoded(0))
    with pytest.raises(
        DataError, match=r"without transcripts. Expected a table \(.csv.*columns path and text, a folder"
    ):
        rows_of(tmp_path)


def test_a_folder_with_metadata_has_transcripts(tmp_path):
    for number in range(8):
        (tmp_path / f"{number}.wav").write_bytes(encoded(number))
    lines = ["file_name,transcription", *(f'{n}.wav,"Number {n}, please"' for n in range(8))]
    (tmp_path / "metadata.csv").write_text("\n".join(lines), encoding="utf-8")
    splits = rows_of(tmp_path, label="transcription", validation=0.25, test=0.25)
    assert sum(map(len, splits)) == 8
    assert {text for split in splits for text in split.targets} == {f"Number {n}, please" for n in range(8)}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """One file, of which rows are clips."""
    folder = tmp_path_factory.mktemp("clips")
    soundfile.write(folder / "talk.wav", np.linspace(-0.5, 0.5, RATE), RATE)
    return folder


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_tables_of_clips_and_texts(clips, suffix):
    table = pd.DataFrame(
        {
            "path": ["talk"] * 10,
            "from": [n / 10 for n in range(10)],
            "to": [(n + 1) / 10 for n in range(10)],
            "text": [f"Part {n}" for n in range(10)],
        }
    )
    file = clips / f"table{suffix}"
    writers = {
        ".csv": lambda: table.to_csv(file, index=False),
        ".tsv": lambda: table.to_csv(file, index=False, sep="\t"),
        ".jsonl": lambda: table.to_json(file, orient="records", lines=True),
        ".parquet": lambda: table.to_parquet(file),
    }
    writers[suffix]()
    splits = rows_of(file, start="from", end="to", validation=0.2)
    assert [len(split) for split in splits] == [6, 2, 2]
    for split in splits:
        for row, name in enumerate(split.examples.names):
            part = int(split.targets[row].removeprefix("Part "))
            assert name.startswith(f"talk.wav {part / 10:.2f}-")
            assert split.examples.decode(row, RATE)[0] == pytest.approx(part / 10 - 0.5, abs=1e-3)


def test_bytes_in_parquet_and_their_texts(tmp_path):
    table = pd.DataFrame(
        {
            "audio": [{"bytes": encoded(n), "path": f"{n}.wav"} for n in range(10)],
            "sentence": [f"Number {n}" for n in range(10)],
            "speaker": ["a", "b"] * 5,
        }
    )
    table.to_parquet(tmp_path / "t.parquet")
    splits = rows_of(tmp_path / "t.parquet", bytes="audio", label="sentence", group="speaker", validation=0.0, test=0.5)
    assert [len(split) for split in splits] == [5, 0, 5]
    for row, text in enumerate(splits.test.targets):
        assert splits.test.examples.decode(row, RATE) == pytest.approx(sound(int(text[-1])), abs=1e-4)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda folder: [(folder / f"{n}.wav", f"Text {n}") for n in range(6)], id="paths"),
        pytest.param(lambda folder: [((sound(n), RATE), f"Text {n}") for n in range(6)], id="samples and rates"),
        pytest.param(lambda folder: ([sound(n) for n in range(6)], [f"Text {n}" for n in range(6)]), id="two lists"),
        pytest.param(
            lambda folder: [{"path": str(folder / f"{n}.wav"), "text": f"Text {n}"} for n in range(6)], id="mappings"
        ),
        pytest.param(
            lambda folder: pd.DataFrame(
                {"audio": [encoded(n) for n in range(6)], "text": [f"Text {n}" for n in range(6)]}
            ),
            id="frame of bytes",
        ),
    ],
)
def test_python_objects(make, tmp_path):
    for number in range(6):
        (tmp_path / f"{number}.wav").write_bytes(encoded(number))
    section = SpeechDataConfig(source="<python: x>", sample_rate=RATE, validation=0.0, test=0.34)
    splits = load_splits(section, seed=0, given={"<python: x>": make(tmp_path)})
    assert [len(split) for split in splits] == [3, 0, 3]
    for split in (splits.train, splits.test):
        for row, text in enumerate(split.targets):
            assert split.examples.decode(row, RATE) == pytest.approx(sound(int(text[-1])), abs=1e-3)
