"""What more labels would gain, measured with a head that is solved on parts of the rows."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from keras_transfer import ImageClassification, Run
from keras_transfer.config.schema import HeadConfig
from keras_transfer.errors import CheckpointError
from keras_transfer.frozen.learning_curve import (
    HeldOut,
    LearningCurve,
    NoLearningCurve,
    Solved,
    measure_learning_curve,
    read_learning_curve,
)
from keras_transfer.heads import ClassificationHead, MultilabelHead, NumberHead
from keras_transfer.heads.solver import draw_folds


def draw(kind, rows, seed):
    """Features and targets of one problem, in which more rows help."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 40)).astype("float32")
    raw = x @ np.random.default_rng(1).normal(size=(40, 3)) + 6.0 * random.normal(size=(rows, 3))
    if kind == "class":
        return x, raw.argmax(axis=1)
    if kind == "multilabel":
        return x, (raw > 3.0).astype("float32")
    return x, (100.0 + 10.0 * raw[:, :1]).astype("float32")


def solve(kind, rows=160, seed=0):
    x, targets = draw(kind, rows, seed)
    heads = {"class": ClassificationHead, "multilabel": MultilabelHead, "number": NumberHead}
    names = ("price",) if kind == "number" else ("a", "b", "c")
    head = heads[kind].fit(names, HeadConfig(), targets)
    strata = [str(target) for target in targets] if kind == "class" else ["all"] * rows
    weights = np.ones(rows, "float32")
    return Solved(head, head.solve(x, targets, weights, draw_folds(strata, 0)), x, targets, weights, strata)


def held_out(kind, rows=400):
    return HeldOut(*draw(kind, rows, seed=99), words="test rows")


def score(solved, other):
    solution = solved.solution
    return solved.head.score_once(
        solved.head.predictions(other.features @ solution.kernel + solution.bias), other.targets
    )


@pytest.mark.parametrize("kind", ["class", pytest.param("multilabel", marks=pytest.mark.slow), "number"])
def test_the_curve_ends_at_the_head_on_all_rows_and_its_forecast_covers_the_head_on_twice_as_many(kind):
    solved, other = solve(kind), held_out(kind)
    curve = measure_learning_curve(solved, other, seed=0)
    assert isinstance(curve, LearningCurve)
    assert [point.rows for point in curve.points] == pytest.approx([20, 40, 80, 120, 160], abs=3)
    assert [len(point.scores) for point in curve.points] == [5, 5, 5, 5, 1]
    assert curve.points[-1].scores[0] == pytest.approx(score(solved, other), abs=1e-6)
    assert (curve.rows, curve.held_out, curve.words) == (160, 400, "test rows")
    first, last = np.mean(curve.points[0].scores), curve.points[-1].scores[0]
    better = 1.0 if kind != "number" else -1.0
    assert better * (last - first) > 0
    assert better * curve.gain > 0
    assert [one.rows for one in curve.forecasts] == [160, 192, 224, 256, 288, 320]
    both = draw(kind, 160, seed=7)
    twice = solve(kind)
    x, targets = (np.concatenate(pair) for pair in zip((twice.features, twice.targets), both, strict=True))
    strata = [str(target) for target in targets] if kind == "class" else ["all"] * 320
    again = solved.head.solve(x, targets, np.ones(320, "float32"), draw_folds(strata, 0))
    truth = solved.head.score_once(solved.head.predictions(other.features @ again.kernel + again.bias), other.targets)
    low, high = curve.interval
    assert low <= truth - last <= high
    assert read_learning_curve(json.loads(json.dumps(curve.to_json()))) == curve
    unit = {"class": "points", "multilabel": "points of mean average precision", "number": "in mean absolute error"}
    assert f"twice as many labels (320): about {curve.describe_gain()}" in str(curve)
    assert f"{unit[kind]} (90 % interval " in curve.describe_gain()


@pytest.mark.parametrize(("kind", "others"), [("class", None), ("class", 10), ("number", None)])
def test_without_enough_held_out_rows_folds_of_the_training_rows_are_held_out(kind, others):
    curve = measure_learning_curve(solve(kind), others and held_out(kind, others), seed=0)
    assert isinstance(curve, LearningCurve)
    assert (curve.held_out, curve.words) == (160, "training rows while they were held out")
    assert curve.points[-1].rows == 128  # four of five folds
    assert curve.forecasts[0].rows == 160


@pytest.mark.parametrize(
    ("rows", "others", "reason"),
    [
        pytest.param(12, 400, "too few training rows: 12 in 3 classes", id="few-rows"),
        pytest.param(12, None, "too few training rows", id="few-rows-and-folds"),
    ],
)
def test_too_few_rows_have_no_curve_and_a_reason(rows, others, reason):
    curve = measure_learning_curve(solve("class", rows), others and held_out("class", others), seed=0)
    assert isinstance(curve, NoLearningCurve)
    assert reason in str(curve)
    assert read_learning_curve(json.loads(json.dumps(curve.to_json()))) == curve


def test_a_class_of_one_row_has_no_folds():
    solved = solve("class", 40)
    single = Solved(
        solved.head, solved.solution, solved.features, solved.targets, solved.weights, ["lone", *solved.strata[1:]]
    )
    assert "a class with one training row or group" in str(measure_learning_curve(single, None, seed=0))


def test_later_warnings_are_not_lost(monkeypatch):
    """A solver in another thread leaves the filters of the process changed, as two that overlap do."""
    original = ClassificationHead.solve_like

    def solve_like(head, *arguments):
        warnings.simplefilter("ignore")
        return original(head, *arguments)

    monkeypatch.setattr(ClassificationHead, "solve_like", solve_like)
    measure_learning_curve(solve("class"), held_out("class"), seed=0)
    assert ("ignore", None, Warning, None, 0) not in warnings.filters


@pytest.fixture(scope="module")
def runs(make_images, pebble, tmp_path_factory):
    root = tmp_path_factory.mktemp("curves")
    images = make_images(root / "images", {"a": 40, "b": 40}, size=16)

    def fit(name, **section):
        recipe = ImageClassification(
            {"source": str(images), "validation": 0.2, "test": 0.2},
            backbone={"name": "pebble", "weights": "none"},
            policy="head",
            export={"formats": []},
            **section,
        )
        return recipe.fit(root / name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_TRANSFER_CACHE", str(root / "cache"))
        return {"curve": fit("curve"), "no report": fit("none", report=False)}


def test_a_run_writes_its_curve_unless_it_has_no_report(runs):
    curve = runs["curve"].learning_curve
    assert isinstance(curve, LearningCurve)
    rows = runs["curve"].record["splits"]["train"]["count"]
    assert (curve.rows, curve.held_out) == (rows, rows)  # too few others: folds of the training rows
    recorded = json.loads((runs["curve"].folder / "learning_curve.json").read_text())
    assert recorded["twice"] == {"rows": 2 * rows, "gain": curve.gain, "interval": list(curve.interval)}
    assert runs["no report"].learning_curve is None
    assert not (runs["no report"].folder / "learning_curve.json").exists()


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"figure": 1}', '{"rows": 3}', '{"figure": {"name": "x", "odd": 1}, "rows": 3}']
)
def test_a_damaged_curve_is_an_error_that_names_the_file(runs, content, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in runs["curve"].folder.iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    Path(folder / "learning_curve.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"learning_curve\.json is damaged"):
        _ = Run(folder).learning_curve
