import json
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
from blake3 import blake3

from keras_transfer.data.checks.texts import check_texts, find_repeated
from keras_transfer.data.examples.texts import Texts
from keras_transfer.errors import DataError


@dataclass(frozen=True)
class Part:
    name: str
    examples: Texts

    def select(self, indices):
        return replace(self, examples=self.examples.select(indices))

    def with_examples(self, examples):
        return replace(self, examples=examples)


def part(name, *texts):
    segments = tuple((text,) if isinstance(text, str) else text for text in texts)
    return Part(name, Texts(tuple(f"{name}/{n}" for n in range(1, len(texts) + 1)), segments))


def texts_of(split):
    return [segments[0] if len(segments) == 1 else segments for segments in split.examples.segments]


WRONG = b"caf\xe9 au lait".decode("utf-8", "surrogateescape")
WHOLE = ["plain", "so 😀", "\u200fערב", "a\r\nb", "a\0b", "\ufeffmark", "42", "."]
BLANK = ["", " \r\n\t\u00a0\u3000", "\u200b", "\ufeff", " \u200d\u2060\u200e\u00ad ", "\0", "\u2028\x1c"]


def test_rows_are_selected_in_the_requested_order():
    texts = Texts(("a", "b", "c"), (("A",), ("B",), ("C",)))
    assert len(texts) == 3
    assert texts.select([2, 0]) == Texts(("c", "a"), (("C",), ("A",)))
    assert texts.select(np.array([1])) == Texts(("b",), (("B",),))
    assert len(texts.select([])) == 0


def test_hashes_depend_on_content_and_fingerprints_also_on_names():
    texts = Texts(("a", "b", "c"), (("same",), ("same",), ("other",)))
    assert texts.content_hashes[0] == texts.content_hashes[1] != texts.content_hashes[2]
    assert len(set(texts.fingerprints)) == 3
    assert texts.fingerprints == Texts(("a", "b", "c"), texts.segments).fingerprints
    assert texts.fingerprints[0] != Texts(("a",), (("changed",),)).fingerprints[0]


def test_hashes_of_pairs_depend_on_where_one_text_ends():
    pairs = (("ab", "c"), ("a", "bc"), ("abc", ""), ("abc",), ("c", "ab"))
    assert len(set(Texts(tuple("12345"), pairs).content_hashes)) == 5


def test_hashes_are_the_same_on_every_machine():
    # They are keys of the cache on disk.
    data = bytes([5, *[0] * 7]) + b"caf\xc3\xa9" + bytes(8)
    assert Texts(("a",), (("caf\u00e9", ""),)).content_hashes == [blake3(data).hexdigest()]
    assert Texts(("a",), (("caf\u00e9",),)).content_hashes == [blake3(b"caf\xc3\xa9").hexdigest()]


@pytest.mark.parametrize("broken", ["error", "skip", "replace"])
def test_whole_texts_are_left_as_they_are(broken):
    splits = [part("train", *WHOLE), part("validation"), part("test", ("pair", "of texts"))]
    assert check_texts(splits, broken=broken) == (splits, [])


def test_error_names_every_broken_text_and_why():
    pair = ("fine", WRONG)
    splits = [part("train", "x", WRONG, "one\ntwo\n" + WRONG), part("test", "y", "  ", pair, ("\u200b", "z"))]
    with pytest.raises(DataError) as refusal:
        check_texts(splits, broken="error")
    assert str(refusal.value).splitlines() == [
        "5 of 7 texts cannot be used:",
        "  train/2 (train): byte 0xe9 is not UTF-8: line 1, after 'caf'",
        "  train/3 (train): byte 0xe9 is not UTF-8: line 3, after 'caf'",
        "  test/2 (test): empty or blank",
        "  test/3 (test): second text: byte 0xe9 is not UTF-8: line 1, after 'caf'",
        "  test/4 (test): first text: empty or blank",
        "Many texts written on Windows are cp1252: set data.encoding. Fix or remove them, drop them with "
        "data.broken=skip, or replace invalid bytes by U+FFFD with data.broken=replace.",
    ]


@pytest.mark.parametrize("text", BLANK)
def test_texts_that_show_nothing_are_blank(text):
    for broken in ("error", "replace"):
        with pytest.raises(DataError, match=r"1 of 2 texts cannot be used:\n  train/2 \(train\): empty or blank"):
            check_texts([part("train", "x", text)], broken=broken)
    kept, found = check_texts([part("train", "x", text)], broken="skip")
    assert (texts_of(kept[0]), found) == (["x"], ["train/2 (train): empty or blank"])


def test_skip_leaves_broken_texts_out_and_names_them():
    kept, found = check_texts([part("train", "x", WRONG, "", "y"), part("test", "z")], broken="skip")
    assert [texts_of(split) for split in kept] == [["x", "y"], ["z"]]
    assert kept[0].examples.names == ("train/1", "train/4")
    assert [line.split(":")[0] for line in found] == ["train/2 (train)", "train/3 (train)"]


@pytest.mark.parametrize(
    "raw",
    [
        b"caf\xe9 au lait",
        b"cut off \xe2\x82",
        b"\xe2\x82 and on",
        b"\xff\xfe\xff",
        b"half a pair \xed\xa0\x80",
        b"too long \xc0\x80 \xf5\x80\x80\x80",
        b"\xf0\x9f\x98 \xf0\x9f\x98\x80",
        bytes(range(256)),
    ],
)
def test_replace_matches_decoding_with_replacement(raw):
    split = part("train", raw.decode("utf-8", "surrogateescape"), ("ok", raw.decode("utf-8", "surrogateescape")))
    mended, found = check_texts([split], broken="replace")
    expected = raw.decode("utf-8", "replace")
    assert texts_of(mended[0]) == [expected, ("ok", expected)]
    assert mended[0].examples.names == split.examples.names
    assert len(found) == 2
    assert all(line.endswith("; replaced by U+FFFD") for line in found)
    assert check_texts(mended, broken="error") == (mended, [])


def test_a_lone_surrogate_in_json_counts_as_invalid_bytes():
    text = json.loads('"x \\ud83d y"')
    with pytest.raises(DataError, match=r"\\ud83d alone is not UTF-8: line 1, after 'x '"):
        check_texts([part("train", "x", text)], broken="error")
    assert texts_of(check_texts([part("train", text)], broken="replace")[0][0]) == ["x \ufffd y"]
    whole = json.loads('"x \\ud83d\\ude00 y"')
    assert check_texts([part("train", whole)], broken="error")[1] == []


def test_replace_does_not_accept_blank_texts():
    with pytest.raises(DataError) as refusal:
        check_texts([part("train", "x", WRONG, " ")], broken="replace")
    assert "train/3 (train): empty or blank" in str(refusal.value)
    assert "train/2" not in str(refusal.value)
    assert "Fill them in, or remove them." in str(refusal.value)


def test_utf16_is_reported_as_such():
    text = "hello".encode("utf-16").decode("utf-8", "surrogateescape")
    with pytest.raises(DataError, match=r"train/2 \(train\): UTF-16; expected UTF-8"):
        check_texts([part("train", "x", text)], broken="error")


def test_no_more_than_twenty_are_named():
    with pytest.raises(DataError) as refusal:
        check_texts([part("train", "x", *[WRONG] * 25)], broken="error")
    lines = str(refusal.value).splitlines()
    assert len(lines) == 23
    assert lines[0] == "25 of 26 texts cannot be used:"
    assert lines[21] == "  and 5 more"


@pytest.mark.parametrize("broken", ["error", "skip", "replace"])
def test_a_split_of_only_blank_texts(broken):
    with pytest.raises(DataError, match=r"All texts are empty in train, test: train/1, .*data\.text") as refusal:
        check_texts([part("train", "", " "), part("validation"), part("test", "", "")], broken=broken)
    assert len(str(refusal.value).splitlines()) == 1


def test_skipping_that_leaves_a_split_without_texts():
    with pytest.raises(DataError, match=r"(?s)2 of 3 texts cannot be used:.*test/1.*no test text is left"):
        check_texts([part("train", "x"), part("test", WRONG, "")], broken="skip")


def test_messages_can_be_printed_whatever_the_text():
    texts = [f"{before}{WRONG}" for before in ("\x1b[31m", "\ud800", "\0", "'\"", "\u202e", "x" * 500)]
    _, found = check_texts([part("train", "x", *texts)], broken="skip")
    assert len(found) == len(texts)
    assert all(line.isprintable() and len(line) < 150 for line in found)
    assert [line.encode() for line in found]


def test_a_text_of_ten_million_bytes_is_checked_quickly():
    long = "wörd, \n" * 1_250_000
    splits = [part("train", "x", long, long + "\udce9", " " * 10_000_000 + "x"), part("test", long.upper())]
    began = time.perf_counter()
    mended, found = check_texts(splits, broken="replace")
    repeated = find_repeated(mended)
    assert time.perf_counter() - began < 15
    assert [line.split(":")[0] for line in found] == ["train/3 (train)"]
    assert repeated.record["test in train"]["normalised"] == 1


def test_texts_of_one_split_that_are_also_in_another():
    train = part("train", "one", "Two  words", "Two  words", "\ufb01ve", "only here")
    test = part("test", "new", "one", "two words\n", "FIVE", "one")
    repeated = find_repeated([train, part("validation"), test])
    assert repeated.lines == (
        "2 texts of test are also in train (2 more after normalizing case and spaces), for example test/2 of test and "
        "train/1 of train",
    )
    assert repeated.record == {
        "test in train": {
            "exact": 2,
            "normalised": 2,
            "pairs": [["test/2", "train/1"], ["test/5", "train/1"], ["test/3", "train/2"], ["test/4", "train/4"]],
        }
    }
    assert json.loads(json.dumps(repeated.record)) == repeated.record


def test_every_two_splits_are_compared():
    repeated = find_repeated([part("train", "a", "b"), part("validation", "B", "c"), part("test", "a", "c")])
    assert repeated.lines == (
        "1 text of validation is also in train after normalizing case and spaces, for example validation/1 of "
        "validation and train/2 of train",
        "1 text of test is also in train, for example test/1 of test and train/1 of train",
        "1 text of test is also in validation, for example test/2 of test and validation/2 of validation",
    )
    assert list(repeated.record) == ["validation in train", "test in train", "test in validation"]


def test_nothing_is_reported_if_nothing_is_repeated():
    repeated = find_repeated([part("train", "a", "a"), part("validation"), part("test", "b", "ab")])
    assert (repeated.lines, repeated.record) == ((), {})


def test_a_pair_is_repeated_if_both_of_its_texts_are():
    train = part("train", ("question", "yes"), ("ab", "c"))
    repeated = find_repeated([train, part("test", ("question", "no"), ("a", "bc"), ("Question", "YES"))])
    assert repeated.record["test in train"]["pairs"] == [["test/3", "train/1"]]


def test_no_more_than_a_thousand_pairs_are_named():
    texts = [str(n) for n in range(700)]
    repeated = find_repeated([part("train", *texts), part("validation", *texts), part("test", *texts)])
    assert [len(entry["pairs"]) for entry in repeated.record.values()] == [700, 300, 0]
    assert [entry["exact"] for entry in repeated.record.values()] == [700, 700, 700]
