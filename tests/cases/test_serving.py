"""Outputs of a served model: valid and invalid inputs in one batch, names, and decisions by thresholds."""

import io
import json
import struct
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from rich.console import Console
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import TunedThresholdClassifierCV

from keras_transfer import DataError, ImageClassification, Run
from keras_transfer.config.augmentation import AugmentationConfig
from keras_transfer.config.schema import HeadConfig
from keras_transfer.data.readers.images import ImageReader
from keras_transfer.data.readers.texts import TextReader
from keras_transfer.export.saved_model import write_saved_model
from keras_transfer.heads import ClassificationHead, MultilabelHead, NumberHead
from keras_transfer.heads.thresholds import Decision, best_threshold
from keras_transfer.report.terminal import print_report


def encode(image, kind, **options):
    with io.BytesIO() as file:
        image.save(file, kind, **options)
        return file.getvalue()


def noise(height=48, width=64, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def array(pixels):
    with io.BytesIO() as file:
        np.save(file, pixels)
        return file.getvalue()


def patched(content, at, form, *numbers):
    """Other numbers in a header; of a PNG, without the right checksum: only the header is to be read."""
    return content[:at] + struct.pack(form, *numbers) + content[at + struct.calcsize(form) :]


JPEG, PNG, BMP = (encode(noise(), kind) for kind in ("JPEG", "PNG", "BMP"))
GIF, WEBP = encode(noise().convert("P"), "GIF"), encode(noise(), "WEBP", lossless=True)
HUGE = 30_000

BAD = {
    "nothing": b"",
    "a text": b"no image",
    "a TIFF": encode(noise(), "TIFF"),
    "two bytes of a JPEG": b"\xff\xd8",
    "half a JPEG": JPEG[: len(JPEG) // 2],
    "half a PNG": PNG[: len(PNG) // 2],
    "a PNG with a wrong checksum": PNG[:60] + bytes([PNG[60] ^ 1]) + PNG[61:],
    "half a GIF": GIF[: len(GIF) // 2],
    "a GIF without a frame": GIF[:13] + b";",
    "a GIF of no version": GIF.replace(b"GIF87a", b"GIF80a"),
    "a BMP without its last row": BMP[: -3 * 64],
    "a BMP of too many colours": patched(encode(noise().convert("P"), "BMP"), 46, "<I", 70_000),
    "half a BMP": BMP[: len(BMP) // 2],
    "a BMP of 16 bits": patched(BMP, 28, "<H", 16),
    "a compressed BMP": patched(encode(noise().convert("P"), "BMP"), 30, "<I", 1),
    "half a WebP": WEBP[: len(WEBP) // 2],
    "a WebP with another name": WEBP.replace(b"WEBP", b"WAVE", 1),
    "an array of other numbers": array(np.zeros((8, 8, 3), np.int8)),
    "an array in Fortran's order": array(np.asfortranarray(np.zeros((8, 9, 3), np.uint8))),
    "an array of five channels": array(np.zeros((8, 8, 5), np.uint8)),
    "a PNG of too many pixels": patched(PNG, 16, ">II", HUGE, HUGE),
    "a GIF of too many pixels": patched(GIF, 6, "<HH", HUGE, HUGE),
    "a BMP of too many pixels": patched(BMP, 18, "<ii", HUGE, -HUGE),
    "an array of too many pixels": array(np.zeros((1, 1, 1), np.uint8)).replace(b"(1, 1, 1)", b"(30000, 30000, 1)"),
}


@pytest.fixture(scope="module")
def served(finished_run):
    return tf.saved_model.load(str(finished_run.folder / "export" / "saved_model" / "1")).signatures


def answer(served, *contents):
    outputs = served["serving_default"](image_bytes=tf.constant(contents, tf.string))
    return {name: output.numpy() for name, output in outputs.items()}


def test_broken_images_in_a_batch_do_not_affect_good_ones(served, finished_run):
    good = [JPEG, PNG, BMP, GIF, WEBP, array(np.asarray(noise()))]
    contents, expected = [], []
    for number, bad in enumerate(BAD.values()):
        contents += [good[number % len(good)], bad]
        expected += [True, False]
    found = answer(served, *contents, PNG)
    assert found["ok"].tolist() == [*expected, True]
    for number, content in enumerate(good):
        alone = answer(served, content)
        assert found["label"][2 * number] == alone["label"][0]
        np.testing.assert_allclose(found["probabilities"][2 * number], alone["probabilities"][0], atol=1e-6)
    bad = ~found["ok"]
    assert set(found["label"][bad]) == {b""} and not found["probabilities"][bad].any() and not found["score"][bad].any()
    assert {tuple(row) for row in found["names"].tolist()} == {(b"cat", b"dog")}
    assert served["classes"]()["names"].numpy().tolist() == [b"cat", b"dog"]


@pytest.mark.parametrize("name", BAD)
def test_predict_refuses_what_a_server_refuses(name, finished_run, tmp_path):
    (tmp_path / "bad").write_bytes(BAD[name])
    with pytest.raises(DataError):
        finished_run.predict(tmp_path / "bad")


@pytest.mark.parametrize("endpoint", ["serving_default", "serve_tensor"])
def test_an_empty_batch_returns_empty_outputs(served, endpoint):
    inputs = {"image_bytes": tf.zeros([0], tf.string)} if endpoint == "serving_default" else {"pixels": PIXELS[:0]}
    found = served[endpoint](**inputs)
    features = {} if endpoint == "serving_default" else {"features": (tf.float32, [0, 6])}
    assert {name: (x.dtype, x.shape.as_list()) for name, x in found.items()} == {
        **features,
        "probabilities": (tf.float32, [0, 2]),
        "label": (tf.string, [0]),
        "score": (tf.float32, [0]),
        "names": (tf.string, [0, 2]),
        "ok": (tf.bool, [0]),
    }


PIXELS = np.random.default_rng(0).uniform(0, 255, (4, 64, 64, 3)).astype(np.float32)


def test_pixels_that_are_nan_or_infinite_do_not_affect_other_rows(served):
    pixels = PIXELS.copy()
    pixels[1, 5, 5, 0], pixels[2, 0, 0, 2] = np.nan, np.inf
    found = served["serve_tensor"](pixels=tf.constant(pixels))
    assert found["ok"].numpy().tolist() == [True, False, False, True]
    assert found["label"].numpy()[1:3].tolist() == [b"", b""]
    alone = served["serve_tensor"](pixels=tf.constant(PIXELS[[0, 3]]))
    np.testing.assert_allclose(found["probabilities"].numpy()[[0, 3]], alone["probabilities"].numpy(), atol=1e-6)


BOMB = """
import io, resource, sys
import tensorflow as tf
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
good, *bombs = [open(file, "rb").read() for file in sys.argv[2:]]
serve(image_bytes=tf.constant([good] * 3))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ok = serve(image_bytes=tf.constant([good, *bombs, good]))["ok"].numpy().tolist()
print(ok, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_a_small_file_cannot_use_much_memory(finished_run, tmp_path):
    """A WebP and a PNG that announce more than max_pixels, and a GIF of 500 frames of 4 million pixels each."""
    webp = patched(encode(noise(), "WEBP"), 26, "<HH", 16383, 16383)
    png = encode(Image.new("1", (20_000, 20_000)), "PNG")
    frame = encode(Image.new("P", (2000, 2000), 0), "GIF")
    at = frame.index(b",")
    gif = frame[:-1] + frame[at:-1] * 499 + b";"
    assert max(map(len, (webp, png))) < 400_000 and len(gif) < 4_000_000
    files = []
    for name, content in {"good": PNG, "webp": webp, "png": png, "gif": gif}.items():
        (tmp_path / name).write_bytes(content)
        files.append(str(tmp_path / name))
    model = str(finished_run.folder / "export" / "saved_model" / "1")
    result = subprocess.run(
        [sys.executable, "-I", "-c", BOMB, model, *files], capture_output=True, text=True, check=True
    )
    *_, last = result.stdout.splitlines()
    ok, megabytes = last.rsplit(" ", 1)
    assert json.loads(ok.lower()) == [True, False, False, True, True]
    assert int(megabytes) < 300  # 12 bytes per pixel of the GIF's first frame are 48 MB; all frames are 2 GB


def test_images_of_five_channels_with_labels(tmp_path):
    """Each label is whether the mean of a channel is above a half of the range."""
    inputs = keras.Input((4, 4, 5))
    shares = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    reader = ImageReader(
        image_size=4, channels=5, resize="stretch", augmentation=AugmentationConfig(), seed=0, max_pixels=100
    )
    labels = ("r", "g", "b", "near", "far")
    head = MultilabelHead(labels, HeadConfig(), (0.5, 0.5, 0.5, 0.1, 0.9))
    write_saved_model(keras.Model(inputs, shares), head, reader, tmp_path / "1")
    served = tf.saved_model.load(str(tmp_path / "1")).signatures
    good = np.full((4, 4, 5), [0, 255, 128, 51, 204], np.uint8)
    bad = [array(good[..., :4]), array(good[..., 0]), array(np.zeros((4, 26, 5), np.uint8)), PNG]
    found = answer(served, array(good), *bad, array(good))
    assert found["ok"].tolist() == [True, False, False, False, False, True]
    assert found["present"][[0, 5]].tolist() == [[False, True, True, True, False]] * 2
    assert not found["present"][1:5].any() and not found["probabilities"][1:5].any()
    assert (
        found["names"][1].tolist()
        == served["classes"]()["names"].numpy().tolist()
        == [b"r", b"g", b"b", b"near", b"far"]
    )


# Texts.


class Letters:
    """A tokenizer of the letters a to d."""

    columns, padding, resources, vocabulary_size = (
        ("token_ids", "padding_mask"),
        {"token_ids": 0, "padding_mask": 0},
        (),
        5,
    )

    def __call__(self, segments, length):
        numbers = tf.strings.unicode_decode(tf.strings.join(segments), "UTF-8") - 96
        ids = numbers.to_tensor(0, shape=[None, length])
        mask = tf.cast(tf.sequence_mask(tf.maximum(numbers.row_lengths(), 1), length), tf.int32)
        return {"token_ids": ids, "padding_mask": mask}


@pytest.fixture(scope="module")
def served_texts(tmp_path_factory):
    """Of pairs of texts, one number each: the sum of an embedding over tokens."""
    ids, mask = (keras.Input((None,), dtype="int32", name=name) for name in Letters.columns)
    summed = keras.ops.sum(keras.layers.Embedding(5, 1)(ids)[..., 0] * keras.ops.cast(mask, "float32"), axis=1)
    model = keras.Model([ids, mask], summed[:, None])
    model.layers[1].set_weights([np.array([[0.0], [1.0], [10.0], [100.0], [1000.0]])])
    folder = tmp_path_factory.mktemp("texts") / "1"
    head = NumberHead(("worth",), HeadConfig(), (0.0,), (1.0,))
    write_saved_model(model, head, TextReader(Letters(), segments=2, limit=6, pads_to_longest=True), folder)
    return tf.saved_model.load(str(folder)).signatures


def test_texts_that_are_not_utf_8_are_not_read_as_other_texts(served_texts):
    first, second = [b"ab", b"a\xff", b"", b"d", b"\xed\xa0\x80"], [b"c", b"b", b"", b"\xc0\x80", b"a"]
    found = served_texts["serving_default"](text_a=tf.constant(first), text_b=tf.constant(second))
    assert found["ok"].numpy().tolist() == [True, False, True, False, False]
    # A number has no neutral value, for each could be a prediction.
    np.testing.assert_array_equal(found["values"].numpy()[:, 0], [111.0, np.nan, 0.0, np.nan, np.nan])
    assert found["names"].numpy().tolist() == [[b"worth"]] * 5
    assert served_texts["classes"]()["names"].numpy().tolist() == [b"worth"]
    empty = served_texts["serving_default"](text_a=tf.zeros([0], tf.string), text_b=tf.zeros([0], tf.string))
    assert {name: x.shape.as_list() for name, x in empty.items()} == {"values": [0, 1], "names": [0, 1], "ok": [0]}


def test_tokens_that_no_tokenizer_returns(served_texts):
    ids = tf.constant([[4, 1, 0], [5, 0, 0], [-1, 0, 0], [2, 0, 0], [3, 0, 0]])
    mask = tf.constant([[1, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0], [2, 0, 0]])
    found = served_texts["serve_tokens"](token_ids=ids, padding_mask=mask)
    assert found["ok"].numpy().tolist() == [True, False, False, False, False]
    assert found["values"].numpy()[0, 0] == 1001.0
    none = served_texts["serve_tokens"](token_ids=tf.zeros([2, 0], tf.int32), padding_mask=tf.zeros([2, 0], tf.int32))
    assert none["ok"].numpy().tolist() == [False, False]


# Decisions.

RANDOM = np.random.default_rng(3)
TRUTH = (RANDOM.uniform(size=300) < 0.06).astype(int)
SCORES = np.clip(RANDOM.beta(1, 8, 300) + 0.25 * TRUTH, 0.0, 0.99).astype(np.float32)
PROBABILITIES = np.stack([1 - SCORES, SCORES], axis=1)


class Fixed(ClassifierMixin, BaseEstimator):
    """Probabilities that are given."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.stack([1 - X[:, 0], X[:, 0]], axis=1)

    def predict(self, X):
        return (X[:, 0] >= 0.5).astype(int)


@pytest.mark.parametrize("metric", ["f1", "balanced_accuracy", "accuracy", "matthews_corrcoef", "cost"])
def test_the_threshold_matches_scikit_learn(metric):
    def cost(truth, said):
        return -(9.0 * ((truth == 1) & (said == 0)).sum() + ((truth == 0) & (said == 1)).sum())

    wanted = {"costs": {"ok": 1.0, "bad": 9.0}} if metric == "cost" else {"metric": metric}
    head = ClassificationHead.fit(("ok", "bad"), HeadConfig(threshold=wanted), TRUTH).choose_thresholds(
        PROBABILITIES, TRUTH
    )
    steps = np.unique(SCORES).astype(np.float64)
    tuned = TunedThresholdClassifierCV(
        FrozenEstimator(Fixed().fit(None, TRUTH)),
        scoring=make_scorer(cost) if metric == "cost" else metric,
        thresholds=[steps[0] / 2, *((steps[1:] + steps[:-1]) / 2), (steps[-1] + 1) / 2],
        cv="prefit",
        refit=False,
    ).fit(SCORES[:, None], TRUTH)
    chosen, best = head.decision.thresholds["bad"], tuned.best_score_
    assert head.decision.choice.value == pytest.approx(-best if metric == "cost" else best)
    said, theirs = (SCORES >= np.float32(cut) for cut in (chosen, tuned.best_threshold_))
    if metric in ("f1", "balanced_accuracy", "cost"):  # the only optimum; of equal ones, the nearest to 0.5 is chosen
        assert said.tolist() == theirs.tolist()
        assert chosen == pytest.approx(tuned.best_threshold_, abs=1e-6)


@pytest.mark.parametrize("digits", [1, 2, 8])
@pytest.mark.parametrize("metric", ["f1", "balanced_accuracy", "matthews_corrcoef", "accuracy"])
def test_no_other_threshold_is_better_even_with_ties(metric, digits):
    from sklearn import metrics

    measure = {"f1": f1_score}.get(metric) or getattr(metrics, f"{metric}_score", None) or metrics.matthews_corrcoef
    scores = SCORES.round(digits)
    own = measure(TRUTH, scores >= np.float32(best_threshold(scores, TRUTH == 1, metric)))
    others = [measure(TRUTH, scores >= cut) for cut in np.unique(scores)]
    assert own >= max(others) - 1e-12


def test_a_threshold_gives_the_same_decision_everywhere(tmp_path):
    """Predictions, the served label, the report and metrics.json."""
    head = ClassificationHead.fit(("ok", "bad"), HeadConfig(threshold={"value": 0.2}), TRUTH)
    said = np.where(SCORES >= np.float32(0.2), "bad", "ok").tolist()
    assert 10 < said.count("bad") < 150
    assert [head.to_prediction("x", row).label for row in PROBABILITIES] == said
    served = head.masked_outputs(tf.constant(PROBABILITIES), tf.ones([300], tf.bool))
    assert [label.decode() for label in served["label"].numpy().tolist()] == said
    own = np.where(SCORES >= np.float32(0.2), SCORES, 1 - SCORES)
    np.testing.assert_array_equal(served["score"].numpy(), own)
    report = head.report("test", PROBABILITIES, TRUTH)
    values = json.loads(json.dumps(report.to_json()))
    assert values["accuracy"] == pytest.approx(np.mean((np.array(said) == "bad") == TRUTH))
    assert values["classes"]["bad"]["f1"] == pytest.approx(f1_score(TRUTH, SCORES >= np.float32(0.2)))
    assert values["decision"] == {"thresholds": {"ok": 0.8, "bad": 0.2}, "positive": "bad"}
    assert type(report).from_json("test", values) == report
    plain = ClassificationHead(("ok", "bad"), HeadConfig()).report("test", PROBABILITIES, TRUTH)
    assert (report.auroc, report.loss) == (plain.auroc, plain.loss) and report.accuracy != plain.accuracy
    assert ClassificationHead.restore(head.names, head.config, json.loads(json.dumps(head.facts))) == head
    assert head.score_once(PROBABILITIES, TRUTH) == pytest.approx(report.accuracy)


def test_of_several_classes_the_largest_multiple_of_its_threshold_is_predicted():
    thresholds = {"a": 0.5, "b": 0.3, "c": 0.1}
    head = ClassificationHead.fit(tuple(thresholds), HeadConfig(threshold={"value": thresholds}), np.arange(3))
    random = np.random.default_rng(0)
    rows = random.dirichlet(np.ones(3), 200).astype(np.float32)
    expected = (rows / np.array(list(thresholds.values()))).argmax(axis=1).tolist()
    assert head.decide(rows).tolist() == expected
    assert [
        "abc".index(label.decode()) for label in head.serving_outputs(tf.constant(rows))["label"].numpy()
    ] == expected
    # Of two classes, exactly as by one threshold.
    two = ClassificationHead.fit(("a", "b"), HeadConfig(threshold={"value": 0.3, "positive": "a"}), np.arange(2))
    cases = np.array([[0.3, 0.7], [np.nextafter(np.float32(0.3), np.float32(0)), 0.7], [0.31, 0.69]], np.float32)
    assert [two.to_prediction("x", row).label for row in cases] == ["a", "b", "a"]


def test_thresholds_of_several_classes_are_never_worse_than_the_most_probable_class():
    random = np.random.default_rng(1)
    targets = random.choice(3, 400, p=[0.8, 0.15, 0.05])
    logits = random.normal(size=(400, 3)) + 1.5 * np.eye(3)[targets] + [2.0, 0.5, -1.0]
    rows = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    config = HeadConfig(threshold={"metric": "f1"})
    head = ClassificationHead.fit(("a", "b", "c"), config, targets).choose_thresholds(rows, targets)
    tuned, plain = (f1_score(targets, said, average="macro") for said in (head.decide(rows), rows.argmax(axis=1)))
    assert tuned > plain and head.decision.choice.value == pytest.approx(tuned)
    assert head.decision.choice.rows == 400


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (None, (0.5, 0.5)),
        ({"value": 0.2}, (0.2, 0.2)),
        ({"value": {"q": 0.9}}, (0.5, 0.9)),
        ({"metric": "f1"}, (0.25, 0.65)),
        # To find the second row of p, two that lack it are taken too: that pays if a miss costs more than 2.
        ({"costs": {"p": 1.5, "q": 1.0}}, (0.85, 0.65)),
        ({"costs": {"p": 9.0, "q": 1.0}}, (0.25, 0.65)),
    ],
)
def test_labels_have_thresholds_by_the_same_key(threshold, expected):
    truth = np.array([[1, 0], [0, 0], [0, 1], [1, 1], [0, 0]], np.float32)
    scores = np.array([[0.9, 0.1], [0.8, 0.3], [0.6, 0.8], [0.3, 0.7], [0.2, 0.6]], np.float32)
    head = MultilabelHead.fit(("p", "q"), HeadConfig(threshold=threshold), truth).choose_thresholds(scores, truth)
    assert head.thresholds == pytest.approx(expected)
    present = head.serving_outputs(tf.constant(scores))["present"].numpy()
    assert present.tolist() == (scores >= np.array(expected)).tolist()
    assert MultilabelHead.restore(head.names, head.config, json.loads(json.dumps(head.facts))) == head


def test_rows_near_a_threshold_are_tied():
    decision = Decision({"a": 0.8, "b": 0.2}, "b")
    rows = np.array([[0.8001, 0.1999], [0.5, 0.5], [0.9, 0.1]])
    assert decision.is_tied(rows, 1e-3).tolist() == [True, False, False]
    several = Decision({"a": 0.5, "b": 0.25, "c": 0.25})
    rows = np.array([[0.5, 0.2501, 0.2499], [0.3, 0.3, 0.4], [0.8, 0.1, 0.1]])
    assert several.is_tied(rows, 1e-3).tolist() == [True, False, False]


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_a_threshold_of_the_recipe_is_used_by_the_run_and_the_server(make_images, tmp_path, capsys):
    images = make_images(tmp_path / "images", {"cat": 24, "dog": 12}, size=32)
    recipe = ImageClassification(
        {"source": str(images), "image_size": 32, "validation": 0.4, "test": 0.3},
        backbone={"name": "tiny", "weights": "none"},
        policy={"name": "head"},
        head={"threshold": {"metric": "balanced_accuracy", "positive": "dog"}},
        export={"formats": []},
    )
    run = recipe.fit(tmp_path / "run")
    cut = run.head.decision.thresholds["dog"]
    facts = json.loads((run.folder / "head.json").read_text())
    assert facts["thresholds"]["dog"] == cut != 0.5
    files = sorted(images.glob("*/*"))
    predictions = run.predict(files)
    said = ["dog" if one.probabilities["dog"] >= np.float32(cut) else "cat" for one in predictions]
    assert [one.label for one in predictions] == said
    assert len(set(said)) == 2
    report = run.evaluate(split="test")
    assert report.to_json()["confusion"] == run.reports["test"].to_json()["confusion"]
    assert report.decision == run.head.decision
    print_report(report, Console(width=200))
    rows = run.reports["validation"].n
    assert f"dog from {cut:.4g}: best balanced_accuracy on {rows} validation rows" in capsys.readouterr().out
    write_saved_model(run.model, run.head, run.reader, tmp_path / "served")
    serve = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"]
    found = serve(image_bytes=tf.constant([file.read_bytes() for file in files]))
    assert [label.decode() for label in found["label"].numpy().tolist()] == said
    # A run folder that lost its thresholds does not decide by others.
    (run.folder / "head.json").write_text("{}")
    with pytest.raises(Exception, match=r"head\.json is damaged: 'thresholds' is missing"):
        Run(run.folder).head  # noqa: B018
