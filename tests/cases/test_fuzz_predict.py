"""Whatever ``predict`` is given: one prediction per input, as if predicted alone, or a TransferError."""

import io
import warnings
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from keras_transfer import InputError, TransferError

QUICK = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# Paths are relative to a folder that has some of these: an image, a text, a table, a folder.
NAMES = (
    "a.png",
    "b.txt",
    "t.csv",
    "sub",
    ".",
    "/",
    "..",
    "",
    "gone.png",
    "~",
    "a.png/",
    "x" * 300,
    "a\0b",
    "/dev/null",
)

texts = st.one_of(
    st.text(st.characters(), max_size=20),  # any Unicode, lone surrogates included
    st.sampled_from(NAMES),
    st.text("ab \n\t", max_size=200),
)
paths = st.sampled_from([name for name in NAMES if name not in ("/", "..")]).map(Path)  # not the whole disk
numbers = st.sampled_from([np.uint8, np.int64, np.float32, np.bool_, np.float16])
pixels = numbers.flatmap(
    lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)
images = st.builds(
    lambda mode, size: Image.new(mode, size),
    st.sampled_from(["RGB", "L", "P", "CMYK", "F", "I;16", "1", "LA"]),
    st.tuples(st.integers(0, 5), st.integers(1, 5)),
)


def encode(image, kind):
    with io.BytesIO() as file:
        image.save(file, kind)
        return file.getvalue()


PNG = encode(Image.linear_gradient("L").resize((16, 16)), "PNG")
contents = st.one_of(st.binary(max_size=30), st.just(PNG), st.integers(0, len(PNG)).map(lambda end: PNG[:end]))
unwritable = st.just(5000).map(lambda digits: 10**digits) | st.just(Decimal("sNaN"))
nonsense = st.one_of(
    unwritable, st.none(), st.integers(), st.floats(), st.dictionaries(st.text(max_size=2), st.none(), max_size=2)
)
single = st.one_of(texts, paths, pixels, images, contents, nonsense, st.tuples(texts, texts))
anything = st.one_of(
    single,
    st.lists(single, max_size=4),
    st.lists(texts, max_size=4),
    st.lists(contents, max_size=4),
    st.lists(st.lists(single, max_size=2), max_size=2),
    st.tuples(single, single),
)


@pytest.fixture(autouse=True)
def folder(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "a.png").write_bytes(PNG)
    (folder / "b.txt").write_text("text")
    (folder / "t.csv").write_text("path,review,reply\na.png,x,y\n")
    (folder / "sub").mkdir()
    (folder / "sub" / "c.png").write_bytes(PNG)
    monkeypatch.chdir(folder)
    return folder


def check(run, inputs, is_pair=lambda value: False):
    """Predict for all inputs at once, and for each alone."""
    with warnings.catch_warnings(action="ignore"):
        try:
            together = run.predict(inputs)
        except TransferError as error:
            if not isinstance(error, InputError):
                check_skipped(run, inputs)
            return
        if is_pair(inputs) or not isinstance(inputs, (list, tuple)):
            assert len(together) >= 1
            return
        alone = [run.predict(one) for one in inputs]
    assert [len(predictions) for predictions in alone] == [1] * len(together)
    for prediction, (expected,) in zip(together, alone, strict=True):
        values = (list(one.probabilities.values()) for one in (prediction, expected))
        np.testing.assert_allclose(*values, atol=1e-5)


def check_skipped(run, inputs):
    """Inputs of which some cannot be read: the others have predictions."""
    try:
        skipped = run.predict(inputs, skip_broken=True)
    except TransferError:  # a folder or a table without inputs
        return
    assert any(prediction.error for prediction in skipped)
    assert not isinstance(inputs, list) or len(skipped) == len(inputs)


@pytest.mark.slow
@QUICK
@given(anything)
def test_images(image_run, inputs):
    check(image_run, inputs)


@QUICK
@given(anything)
def test_texts(text_run, inputs):
    check(text_run, inputs)


@QUICK
@given(st.lists(st.one_of(texts, nonsense, unwritable), min_size=1, max_size=4), st.lists(nonsense, max_size=4))
def test_data_frames(text_run, column, other):
    table = pd.DataFrame({"review": pd.Series(column, dtype=object), "own": pd.Series(other, dtype=object)})
    check(text_run, table)


@QUICK
@given(anything)
def test_pairs(make_text_run, inputs):
    def is_pair(value):
        return isinstance(value, tuple) and all(isinstance(text, str) for text in value)

    check(make_text_run(text_pair="reply"), inputs, is_pair)
