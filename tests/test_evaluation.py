"""Reports, against figures worked out by hand."""

import numpy as np
import pytest

from keras_transfer.config import HeadConfig
from keras_transfer.heads import ClassificationHead, ClassificationReport

NAMES = ("a", "b")
LABELS = np.array([0, 0, 0, 1, 1])
HEAD = ClassificationHead(NAMES, HeadConfig())
PROBABILITIES = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7], [0.7, 0.3]], np.float32)


def test_a_report_of_five_rows():
    report = HEAD.report("test", PROBABILITIES, LABELS)
    assert report.n == 5
    assert report.accuracy == pytest.approx(3 / 5)
    assert report.confusion == ((2, 1), (1, 1))
    assert report.classes[0].precision == pytest.approx(2 / 3)
    assert report.classes[1].recall == pytest.approx(1 / 2)
    assert report.macro_f1 == pytest.approx((2 / 3 + 1 / 2) / 2)
    # Of the six pairs of an a and a b, the b scores higher in 0.7 > 0.1, 0.4 and 0.3 > 0.1: three.
    assert report.auroc == pytest.approx(3 / 6)
    assert report.loss == pytest.approx(-np.log([0.9, 0.6, 0.2, 0.7, 0.3]).mean(), rel=1e-6)


def test_the_interval_is_wilsons():
    labels = np.zeros(100, int)
    labels[90:] = 1
    probabilities = np.tile(np.array([[0.9, 0.1]], np.float32), (100, 1))
    low, high = HEAD.report("test", probabilities, labels).accuracy_interval
    # 90 of 100: Newcombe 1998, Statistics in Medicine 17, formula of method 3.
    z, p, n = 1.959964, 0.9, 100
    centre, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert (low, high) == pytest.approx(
        ((centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)), rel=1e-5
    )


def test_three_classes_have_no_auroc_and_a_class_never_met_scores_zero():
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]], np.float32)
    report = ClassificationHead(("a", "b", "c"), HeadConfig()).report("test", probabilities, np.array([0, 1]))
    assert report.auroc is None
    assert (report.classes[2].f1, report.classes[2].support) == (0.0, 0)


def test_json_and_back():
    report = HEAD.report("test", PROBABILITIES, LABELS)
    assert ClassificationReport.from_json("test", report.to_json()) == report
