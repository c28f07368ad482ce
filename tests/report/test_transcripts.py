"""The page of speech recognition: error rates, the worst transcripts, and errors that are frequent."""

import io
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console

from keras_transfer.data.examples.files import Files
from keras_transfer.data.examples.recordings import Recordings
from keras_transfer.explain.recordings import show_recordings
from keras_transfer.heads import TranscriptHead
from keras_transfer.heads.evaluation import stack_rows
from keras_transfer.heads.token_loss import TokenFigures
from keras_transfer.report.content import Content, Rows
from keras_transfer.report.page import make_page
from keras_transfer.report.terminal import print_report
from keras_transfer.run.predictions import Predicted, read_predictions, write_predictions

CHECKS = runpy.run_path(str(Path(__file__).with_name("html_checks.py")))
check = CHECKS["check"]

RATE = 8000
SAID = ["the cat sat", "قطة سوداء", "<script>alert(1)</script> ok", "😀 fine", "the dog", "a b c d"]
FOUND = ["the cap sat", "قطة بيضاء", "<script>alert(1)</script>", "😀 fine now", "the dog", "the cat"]
SPEAKERS = ["ann", "ben", "<b>eve", "ann", "ben", "ann"]


class Words:
    """A token per word that occurs in the texts."""

    words = sorted({word for text in [*SAID, *FOUND] for word in text.split()})
    pieces = (b"", *(f" {word}".encode() for word in words))
    end, timestamp_begin = 0, None

    def encode(self, text):
        return [self.words.index(word) + 1 for word in text.split()]

    def decode(self, ids):
        return b"".join(self.pieces[token] for token in ids if token >= 0).strip().decode()


HEAD = TranscriptHead(("text",), Words(), prompt=(1,), rule="whitespace")


class Task:
    """What the page needs of a task of recordings."""

    def refusal(self, run):
        return None

    def show(self, run, examples, outputs):
        return show_recordings(examples, RATE, most_seconds=1.0)

    def lengths(self, examples):
        return np.array([1.0, 1.5, 3.0, np.nan, 40.0, 4.0])


class SpeechContent(Content):
    head = HEAD


def to_rows(texts):
    """Predictions as the model returns them."""
    return stack_rows([np.array([[-0.5, *HEAD.tokenizer.encode(text)]], np.float32) for text in texts])


def make_report(**options):
    return HEAD.report("test", to_rows(FOUND), np.array(SAID, object), **options)


@pytest.fixture
def page(write_run, tmp_path):
    for row in range(5):  # the last one is missing
        tone = 0.3 * np.sin(np.arange(RATE * (2 if row == 0 else 1)) * 0.3)
        soundfile.write(tmp_path / f"{row}.wav", tone, RATE)
    run = write_run(tmp_path / "run")
    run.task = Task()
    recordings = Recordings(Files(tmp_path, tuple(f"{row}.wav" for row in range(6))))
    rows = Rows(recordings.names, np.array(SAID, object), to_rows(FOUND), recordings, groups=SPEAKERS)
    untrained = ["the cat", *FOUND[1:5], ""]
    report = make_report(tokens=TokenFigures(0.5, 0.75, 30), untrained=untrained, groups=SPEAKERS)
    return make_page(SpeechContent(run, report, rows))


def text_of(part):
    return " ".join(re.sub(r"<[^>]+>", " ", part).split())


def section(page, anchor):
    return re.search(rf'<section id="{anchor}".*?</section>', page, re.S).group()


def test_the_page_has_error_rates_and_differences_and_is_safe(page):
    checked = check(page)
    assert "<script" not in page
    assert len(page) < 1_000_000
    # Wrong words: cap; one of two; ok; now; none; "a b c d" against "the cat": 4. Of 15 words.
    assert 8 / 15 in checked.values()
    assert "word error rate on 6 test rows" in checked.elements[0].text
    worst = section(page, "worst")
    names = re.findall(r'<dd class="file"><bdi>(\d)\.wav', worst)
    assert names == ["5", "1", "2", "3", "0"]  # most errors first, then the shortest
    assert "<del>cat</del>" in worst and "<ins>cap</ins>" in worst
    assert "<del>ok</del>" in worst and "<ins>now</ins>" in worst
    assert '<dd dir="auto">قطة <del>سوداء</del></dd>' in worst
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in worst
    assert worst.count("<audio") == 4 and "Not played." in worst
    assert "The player has the first 1 s of 2.0 s." in worst
    assert "1 have none" in text_of(worst)


def test_the_page_has_frequent_errors_and_parts(page):
    errors, parts = text_of(section(page, "errors")), text_of(section(page, "error-rates-by"))
    assert "Substitutions: 4" in errors and "Deletions: 3" in errors and "Insertions: 1" in errors
    assert "cat cap 1" in errors
    assert "ann 3 9 66.7" in parts  # 1 + 1 + 4 of 3 + 2 + 4 words
    assert "&lt;b&gt;eve" in section(page, "error-rates-by")
    assert "0 to 2 s 2 5" in parts and "30 s and longer 1 2" in parts
    assert parts.index("0 to 2 s") < parts.index("2 to 5 s") < parts.index("30 s and longer")


def test_before_and_after_are_on_the_page_and_on_the_terminal(page):
    rates = text_of(section(page, "error-rates"))
    assert "words 53.3" in rates and "Before and after training" in rates
    report = make_report(untrained=["the cat", *FOUND[1:5], ""], groups=SPEAKERS)
    with io.StringIO() as file:
        print_report(report, Console(file=file, width=200))
        printed = file.getvalue()
    assert "over 3 groups" in printed and "53.3%" in printed
    assert "fine-tuning: word error rate 53.3%, 53.3% before: +0.0 points" in printed
    assert "loss" not in printed  # only texts were recognized
    assert "loss" not in report.to_json()


def test_a_page_without_its_data_has_only_texts(write_run, tmp_path):
    run = write_run(tmp_path / "run")
    run.task = Task()
    rows = Rows(tuple("abcdef"), np.array(SAID, object), to_rows(FOUND))
    made = make_page(SpeechContent(run, make_report(), rows))
    check(made)
    assert "<del>cat</del>" in made and "<audio" not in made and "error-rates-by" not in made
    right = Rows(("a",), np.array(["the dog"], object), to_rows(["the dog"]))
    report = HEAD.report("test", right.predicted, right.targets)
    assert "Every word of the 1 utterances was recognized." in text_of(make_page(SpeechContent(run, report, right)))


def test_predictions_of_transcripts_are_stored(tmp_path):
    targets = np.array([*SAID[:-1], ""], object)
    assert write_predictions(tmp_path, {"test": Predicted(to_rows(FOUND), targets)})
    found = read_predictions(tmp_path / "predictions.npz", {"test": 6}, None)["test"]
    assert found.targets.tolist() == targets.tolist()
    assert np.array_equal(found.predicted, to_rows(FOUND))


@pytest.mark.parametrize(
    ("predicted", "targets", "problem"),
    [
        pytest.param(np.zeros((3, 2), np.float32), np.array(["a"] * 2), r"\[3, 2\]", id="rows"),
        pytest.param(np.zeros((2, 0), np.float32), np.array(["a"] * 2), r"\[2, 0\]", id="no score"),
        pytest.param(np.full((2, 2), np.nan, np.float32), np.array(["a"] * 2), "NaN", id="NaN"),
        pytest.param(np.zeros((2, 2), np.float32), np.array([1, 2]), "int64", id="classes"),
        pytest.param(np.zeros((2, 2), np.float32), np.array(["a"] * 3), r"\[3\]", id="texts"),
    ],
)
def test_damaged_predictions_of_transcripts_are_refused(tmp_path, predicted, targets, problem):
    np.savez(tmp_path / "predictions.npz", **{"test.predicted": predicted, "test.targets": targets})
    with pytest.raises(ValueError, match=problem):
        read_predictions(tmp_path / "predictions.npz", {"test": 2}, None)
