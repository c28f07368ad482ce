"""Inputs and outputs of ``predict``: the expected predictions are computed by NumPy and Pillow."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image, ImageOps
from pyarrow import parquet

from keras_transfer import TransferWarning
from keras_transfer.cli import main

FILES = ("a.png", "b.png", "c.png")
CLASSES = ("bird", "cat", "dog")
TEXTS = ["great battery", "fell apart", ""]


def draw(name, mode="RGB", size=(16, 16)):
    """A different image for each name."""
    random = np.random.default_rng([ord(letter) for letter in name])
    channels = len(Image.new(mode, (1, 1)).getbands())
    pixels = random.integers(0, 256, (size[1], size[0], channels), np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels, mode)


def shown(image):
    """What a person sees: upright, in colour, on white."""
    pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGBA"), np.float64)
    alpha = pixels[..., 3:] / 255
    return pixels[..., :3] * alpha + 255 * (1 - alpha)


def turned():
    """A PIL image with an EXIF orientation."""
    image, content = draw("turned"), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(content, "PNG", exif=exif)
    return Image.open(content)


@pytest.fixture
def folder(tmp_path):
    for name in FILES:
        draw(name).save(tmp_path / name)
    return tmp_path


def close(prediction, expected):
    np.testing.assert_allclose(list(prediction.probabilities.values()), expected, atol=1e-5)


IMAGE_CASES = [
    pytest.param(lambda f: str(f / "a.png"), [draw("a.png")], id="one path as str"),
    pytest.param(lambda f: f / "a.png", [draw("a.png")], id="one Path"),
    pytest.param(lambda f: Image.open(f / "b.png"), [draw("b.png")], id="one PIL image"),
    pytest.param(lambda f: np.asarray(draw("b.png")), [draw("b.png")], id="one array"),
    pytest.param(lambda f: np.asarray(draw("g", "L")), [draw("g", "L")], id="grey array without channels"),
    pytest.param(lambda f: np.asarray(draw("g", "L"))[..., None], [draw("g", "L")], id="grey array of one channel"),
    pytest.param(lambda f: np.asarray(draw("t", "RGBA")), [draw("t", "RGBA")], id="array with alpha, on white"),
    pytest.param(lambda f: np.asarray(draw("b.png")).astype(np.int64), [draw("b.png")], id="whole numbers of int64"),
    pytest.param(lambda f: np.asarray(draw("b.png"))[:, ::-1], [ImageOps.mirror(draw("b.png"))], id="array in strides"),
    pytest.param(lambda f: (f / "c.png").read_bytes(), [draw("c.png")], id="bytes of a file"),
    pytest.param(lambda f: bytearray((f / "c.png").read_bytes()), [draw("c.png")], id="bytearray"),
    pytest.param(lambda f: draw("t", "RGBA"), [draw("t", "RGBA")], id="PIL image with alpha"),
    pytest.param(lambda f: draw("p").convert("P"), [draw("p").convert("P")], id="PIL image with a palette"),
    pytest.param(lambda f: draw("k", "CMYK"), [draw("k", "CMYK").convert("RGB")], id="PIL image in CMYK"),
    pytest.param(lambda f: turned(), [turned()], id="PIL image with an orientation"),
    pytest.param(lambda f: [Image.open(f / "a.png")] * 40, [draw("a.png")] * 40, id="one PIL image many times"),
    pytest.param(lambda f: [f / n for n in FILES[::-1]], [draw(n) for n in FILES[::-1]], id="a list, in its order"),
    pytest.param(lambda f: (f / "a.png", f / "a.png"), [draw("a.png")] * 2, id="the same file twice, in a tuple"),
    pytest.param(
        lambda f: [str(f / "a.png"), draw("b.png"), (f / "c.png").read_bytes(), np.asarray(draw("d"))],
        [draw(n) for n in (*FILES, "d")],
        id="a list of every form",
    ),
    pytest.param(lambda f: np.stack([draw(n) for n in FILES]), [draw(n) for n in FILES], id="a batch"),
    pytest.param(lambda f: pd.Series([str(f / n) for n in FILES]), [draw(n) for n in FILES], id="a Series of paths"),
    pytest.param(lambda f: np.array([str(f / n) for n in FILES]), [draw(n) for n in FILES], id="an array of paths"),
    pytest.param(
        lambda f: pd.DataFrame({"path": [f / "c.png", f / "a.png"]}), [draw("c.png"), draw("a.png")], id="frame"
    ),
]


@pytest.mark.parametrize(("given", "images"), IMAGE_CASES)
def test_images(given, images, folder, image_run, expected_image):
    predictions = image_run.predict(given(folder))
    assert len(predictions) == len(images)
    for prediction, image in zip(predictions, images, strict=True):
        close(prediction, expected_image(shown(image)))
        assert prediction.label == max(prediction.probabilities, key=prediction.probabilities.get)
        assert list(prediction.probabilities) == ["bird", "cat", "dog"]


def test_a_folder_is_read_as_its_files_without_hidden_ones_at_any_depth(folder, image_run, expected_image):
    (folder / "deep" / "er").mkdir(parents=True)
    draw("d").save(folder / "deep" / "er" / "d.png")
    for hidden in (".ipynb_checkpoints/a.png", "deep/__MACOSX/a.png", "deep/Thumbs.db", ".DS_Store", "Desktop.ini"):
        (folder / hidden).parent.mkdir(exist_ok=True)
        (folder / hidden).write_bytes(b"no image")
    with pytest.warns(TransferWarning, match=f"Left out in {folder}: 5 hidden files or folders"):
        predictions = image_run.predict(folder)
    assert [Path(p.input).relative_to(folder).as_posix() for p in predictions] == [*FILES, "deep/er/d.png"]
    for prediction, name in zip(predictions, (*FILES, "d"), strict=True):
        close(prediction, expected_image(draw(name)))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("root", [False, True], ids=["beside the table", "in a root"])
def test_a_table_of_paths_is_its_rows_in_order(folder, tmp_path_factory, make_image_run, expected_image, suffix, root):
    home = tmp_path_factory.mktemp("tables") if root else folder
    rows = pd.DataFrame({"n": [1, 2, 3, 4], "path": ["c.png", "./a.png", "c.png", str(folder / "b.png")]})
    write = {".csv": rows.to_csv, ".parquet": rows.to_parquet}.get(suffix)
    if write is None:
        rows.to_json(home / f"t{suffix}", orient="records", lines=True)
    else:
        write(home / f"t{suffix}", index=False)
    run = make_image_run(root="/training/images")
    predictions = run.predict(home / f"t{suffix}", root=folder if root else None)
    for prediction, name in zip(predictions, ("c.png", "a.png", "c.png", "b.png"), strict=True):
        close(prediction, expected_image(draw(name)))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_a_table_with_a_custom_encoding_and_delimiter(tmp_path, command, monkeypatch, text_run, expected_text, suffix):
    monkeypatch.setattr("keras_transfer.run.opened.open_model", lambda folder: text_run)
    texts, classes = ["caf\u00e9 \u20ac 5", "na\u00efve; a, b", "plain"], ["cat", "dog", "cat"]
    rows = pd.DataFrame({"review": texts, "label": classes})
    text = (
        "".join(json.dumps(dict(row), ensure_ascii=False) + "\n" for _, row in rows.iterrows())
        if suffix == ".jsonl"
        else rows.to_csv(index=False, sep="|")
    )
    (tmp_path / f"t{suffix}").write_bytes(text.encode("cp1252"))
    options = ["--encoding", "cp1252", *(["--delimiter", "|"] if suffix != ".jsonl" else [])]
    result = command("predict", "run", tmp_path / f"t{suffix}", "--json", *options)
    expected = [expected_text(text) for text in texts]
    found = [list(answer["probabilities"].values()) for answer in json.loads(result.stdout)]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    report = command("evaluate", "run", "--data", tmp_path / f"t{suffix}", "--json", *options)
    right = [CLASSES[int(np.argmax(row))] == name for row, name in zip(expected, classes, strict=True)]
    (figures,) = json.loads(report.stdout).values()
    assert figures["accuracy"] == pytest.approx(np.mean(right))


def test_a_text_file_with_a_custom_encoding(tmp_path, text_run, expected_text):
    (tmp_path / "a.txt").write_bytes("caf\u00e9".encode("cp1252"))
    (prediction,) = text_run.predict(tmp_path / "a.txt", encoding="cp1252")
    close(prediction, expected_text("caf\u00e9"))


def test_paths_without_a_suffix(folder, image_run, expected_image):
    (folder / "t.csv").write_text("path\na\nb\n")
    (folder / "a.jpg").write_bytes((folder / "c.png").read_bytes())
    for prediction, name in zip(image_run.predict(folder / "t.csv", suffix=".png"), "ab", strict=True):
        close(prediction, expected_image(draw(f"{name}.png")))


def test_a_column_of_bytes(folder, make_image_run, expected_image):
    contents = [(folder / name).read_bytes() for name in FILES]
    pd.DataFrame({"image": [{"bytes": c, "path": None} for c in contents], "n": 1}).to_parquet(folder / "a.parquet")
    pd.DataFrame({"image": contents, "n": 1}).to_parquet(folder / "b.parquet")
    run = make_image_run(bytes="image")
    for given in (folder / "a.parquet", folder / "b.parquet", pd.DataFrame({"image": contents})):
        for prediction, name in zip(run.predict(given), FILES, strict=True):
            close(prediction, expected_image(draw(name)))


TEXT_CASES = [
    pytest.param(lambda f: "great battery", ["great battery"], id="one str"),
    pytest.param(lambda f: ".", ["."], id="a point"),
    pytest.param(lambda f: "/", ["/"], id="a slash"),
    pytest.param(lambda f: str(f / "a.txt"), None, id="the name of a file"),
    pytest.param(lambda f: "reviews.csv", ["reviews.csv"], id="the name of a table"),
    pytest.param(lambda f: "", [""], id="an empty text"),
    pytest.param(lambda f: "a\0b\nc", ["a\0b\nc"], id="NUL and line ends"),
    pytest.param(lambda f: TEXTS, TEXTS, id="a list"),
    pytest.param(lambda f: ("one", "two"), ["one", "two"], id="a tuple of two is two texts"),
    pytest.param(lambda f: [".", "x" * 5000, "."], [".", "x" * 5000, "."], id="long ones, and one twice"),
    pytest.param(lambda f: pd.Series(TEXTS, index=[7, 7, 9]), TEXTS, id="a Series"),
    pytest.param(lambda f: np.array(TEXTS), TEXTS, id="an array"),
    pytest.param(lambda f: f / "a.txt", ["from a file"], id="the Path of a file"),
    pytest.param(lambda f: ["x", f / "a.txt"], ["x", "from a file"], id="texts and files"),
    pytest.param(lambda f: f / "texts", ["eins", "zwei"], id="a folder"),
    pytest.param(lambda f: f / "t.csv", ["good", ".", "a.txt"], id="a table"),
    pytest.param(lambda f: pd.read_csv(f / "t.csv").iloc[::-1], ["a.txt", ".", "good"], id="a DataFrame, in its order"),
]


@pytest.fixture
def texts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbffrom a file")
    (tmp_path / "t.csv").write_text("id,review\n1,good\n2,.\n3,a.txt\n")
    for name, content in {"1.txt": "eins", "sub/2": "zwei", ".hidden.txt": "x", "__pycache__/3.txt": "x"}.items():
        (tmp_path / "texts" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "texts" / name).write_text(content)
    return tmp_path


@pytest.mark.filterwarnings("ignore::keras_transfer.errors.TransferWarning")
@pytest.mark.parametrize(("given", "segments"), TEXT_CASES)
def test_texts(given, segments, texts, text_run, expected_text):
    given = given(texts)
    predictions = text_run.predict(given)
    for prediction, text in zip(predictions, segments or [given], strict=True):
        close(prediction, expected_text(text))
        assert prediction.input in (
            text,
            str(texts / "a.txt"),
            str(texts / "texts" / "1.txt"),
            str(texts / "texts/sub/2"),
        )


def test_pairs(texts, make_text_run, expected_text):
    run = make_text_run(text_pair="reply")
    pairs = [("a", "b"), ("b", "a"), ("same", "same")]
    frame = pd.DataFrame(pairs, columns=["review", "reply"])
    for given, expected in [(pairs[0], pairs[:1]), (pairs, pairs), (tuple(pairs), pairs), (frame, pairs)]:
        for prediction, pair in zip(run.predict(given), expected, strict=True):
            close(prediction, expected_text(*pair))
            assert prediction.input == " | ".join(pair)


def test_a_broken_input_among_others_is_skipped_on_request(folder, image_run, expected_image):
    (folder / "broken.png").write_bytes(b"\x89PNG broken")
    given = [
        folder / "a.png",
        folder / "broken.png",
        folder / "gone.png",
        "",
        folder,
        np.ones((3, 2, 7)),
        folder / "c.png",
    ]
    predictions = image_run.predict(given, skip_broken=True)
    errors = [prediction.error for prediction in predictions]
    assert [error is None for error in errors] == [True, *[False] * 5, True]
    assert errors[2:5] == ["No such file or directory", "an empty path", errors[4]] and "a folder" in errors[4]
    close(predictions[0], expected_image(draw("a.png")))
    close(predictions[-1], expected_image(draw("c.png")))
    assert [p.input for p in predictions][1:3] == [str(folder / "broken.png"), str(folder / "gone.png")]
    assert [p.error is None for p in image_run.predict("gone.png", skip_broken=True)] == [False]


# The command line.


@pytest.fixture
def predict(tmp_path, monkeypatch, image_run, text_run):
    """``predict("text", "--text", "a")``: what the command prints for one of the runs."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    runs = {"image": image_run, "text": text_run}
    monkeypatch.setattr("keras_transfer.run.opened.open_model", lambda folder: runs[str(folder)])

    def call(kind, *arguments, stdin=None):
        result = CliRunner().invoke(main, ["predict", kind, *map(str, arguments)], input=stdin)
        assert result.exit_code == 0, result.output
        return result

    return call


def best(probabilities):
    label = ["bird", "cat", "dog"][int(np.argmax(probabilities))]
    return f"{label}\t{max(probabilities):.4f}"


def test_texts_can_be_given_as_an_option(predict, expected_text):
    lines = predict("text", "--text", "a\nb", "--text", ".").stdout.splitlines()
    assert lines == [f"a b\t{best(expected_text('a' + chr(10) + 'b'))}", f".\t{best(expected_text('.'))}"]


def test_lines_of_stdin_are_texts_or_paths_and_each_has_a_prediction(predict, folder, expected_text, expected_image):
    lines = predict("text", "-", stdin="\ufeffgut\r\n\n.\n".encode()).stdout.splitlines()
    assert lines == [f"{text}\t{best(expected_text(text))}" for text in ("gut", "", ".")]
    names = [str(folder / name) for name in ("b.png", "a.png")]
    lines = predict("image", "-", stdin="\n".join(names).encode()).stdout.splitlines()
    assert lines == [f"{name}\t{best(expected_image(draw(Path(name).name)))}" for name in names]


def test_several_inputs_are_predicted_in_order(predict, texts, expected_text):
    lines = predict("text", texts / "a.txt", texts / "t.csv", "--text", "more").stdout.splitlines()
    answers = [best(expected_text(text)) for text in ("from a file", "good", ".", "a.txt", "more")]
    assert [line.split("\t", 1) for line in lines] == list(
        map(list, zip([str(texts / "a.txt"), "good", ".", "a.txt", "more"], answers, strict=True))
    )


ROWS = [{"id": 7, "review": "good, really", "label": None}, {"id": 8, "review": 'a "b"\nc', "label": "x"}]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_out_is_the_table_with_prediction_columns(predict, tmp_path, suffix, expected_text):
    frame, out = pd.DataFrame(ROWS), Path("new") / f"out{suffix}"
    frame.to_json(tmp_path / "in.jsonl", orient="records", lines=True)
    said = predict("text", tmp_path / "in.jsonl", "--out", out)
    assert said.stdout == f"Predictions: {out} (2 rows)\n"
    read = {
        ".csv": lambda: list(csv.DictReader(out.open(newline=""))),
        ".tsv": lambda: list(csv.DictReader(out.open(newline=""), delimiter="\t")),
        ".jsonl": lambda: [json.loads(line) for line in out.read_text().splitlines()],
        ".parquet": lambda: parquet.read_table(out).to_pylist(),
    }[suffix]()
    plain = suffix in (".csv", ".tsv")
    for row, own in zip(read, ROWS, strict=True):
        expected = expected_text(own["review"])
        assert {key: row[key] for key in own} == ({k: str(v or "") for k, v in own.items()} if plain else own)
        assert list(row)[3:] == [
            "predicted_label",
            "predicted_score",
            *(f"probability_{n}" for n in ("bird", "cat", "dog")),
        ]
        assert row["predicted_label"] == best(expected).split("\t")[0]
        np.testing.assert_allclose([float(row[key]) for key in list(row)[4:]], [expected.max(), *expected], atol=1e-5)
    assert [file.name for file in out.parent.iterdir()] == [out.name]


def test_out_preserves_bytes_that_are_not_utf8_and_columns_named_like_predictions(predict, tmp_path):
    (tmp_path / "in.csv").write_bytes(b"review,note,predicted_label\nfine,caf\xe9,mine\n")
    said = predict("text", tmp_path / "in.csv", "--out", "out.csv")
    head, row = Path("out.csv").read_bytes().splitlines()
    assert head.startswith(b"review,note,predicted_label,predicted_label_2,predicted_score,")
    assert row.startswith(b"fine,caf\xe9,mine,")
    assert "predicted_label_2 in place of predicted_label" in said.stderr


def test_skip_broken_leaves_predictions_empty_and_reports_why(predict, folder, expected_image):
    (folder / "b.png").write_bytes(b"")
    said = predict("image", folder / "a.png", folder / "b.png", "--skip-broken", "--out", "out.csv")
    assert "1 of 2 inputs cannot be read" in said.stderr
    good, bad = csv.DictReader(Path("out.csv").open())
    assert (good["predicted_label"], good["error"]) == (best(expected_image(draw("a.png"))).split("\t")[0], "")
    assert (bad["input"], bad["predicted_label"], bad["error"]) == (str(folder / "b.png"), "", "zero bytes")
    lines = predict("image", folder / "b.png", folder / "a.png", "--skip-broken").stdout.splitlines()
    assert lines[0] == f"{folder / 'b.png'}\terror: zero bytes"
    values = json.loads(predict("image", folder / "b.png", folder / "a.png", "--skip-broken", "--json").stdout)
    assert values[0] == {"input": str(folder / "b.png"), "error": "zero bytes"}
    assert set(values[1]) == {"input", "label", "score", "probabilities"}


def test_top_k_names_the_most_probable_classes_in_order(predict, expected_text):
    ranked = sorted(zip(expected_text("good"), ["bird", "cat", "dog"], strict=True), reverse=True)
    pairs = ", ".join(f"{name} {value:.4f}" for value, name in ranked[:2])
    line = predict("text", "--text", "good", "--top-k", 2).stdout.rstrip("\n")
    assert line == f"good\t{best(expected_text('good'))}\t{pairs}"
    (value,) = json.loads(predict("text", "--text", "good", "--top-k", 2, "--json").stdout)
    assert list(value["probabilities"]) == [name for _, name in ranked[:2]]
    predict("text", "--text", "good", "--top-k", 9, "--out", "out.csv")
    (row,) = csv.DictReader(Path("out.csv").open())
    assert [row[f"top_{rank}_label"] for rank in (1, 2, 3)] == [name for _, name in ranked]
    assert "probability_cat" not in row and "top_4_label" not in row


def test_out_preserves_nested_values_and_those_that_parquet_cannot_store(predict, tmp_path):
    rows = [{"review": "a", "tags": ["x", "y"], "more": {}}, {"review": "b", "tags": [], "more": {}}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    predict("text", tmp_path / "in.jsonl", "--out", "out.parquet")
    written = parquet.read_table("out.parquet").to_pylist()
    assert [(row["review"], row["more"]) for row in written] == [("a", "{}"), ("b", "{}")]
    predict("text", tmp_path / "in.jsonl", "--out", "out.csv")
    assert [row["tags"] for row in csv.DictReader(Path("out.csv").open())] == ['["x", "y"]', "[]"]
