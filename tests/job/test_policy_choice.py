"""How policy: auto is resolved."""

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml
from scipy.special import softmax
from sklearn.metrics import log_loss

from keras_transfer import ImageClassification, PolicyError
from keras_transfer.config.policies import POLICY_SECTIONS
from keras_transfer.config.schema import HeadConfig
from keras_transfer.heads import ClassificationHead
from keras_transfer.heads.evaluation import ACCURACY
from keras_transfer.job.auto_policy import choose_policy
from keras_transfer.job.policy_choice import Trial, choose, try_on
from keras_transfer.job.time_estimates import Speed, Work, count_folds, estimate_seconds, find_affordable

ESTIMATES = {"head": 10.0, "last_stages": 60.0, "lp_ft": 300.0}
EXAMPLES = "5 to 7 examples in each of 2 classes"
HEAD = ClassificationHead(("a", "b"), HeadConfig())


# By which the rows of one candidate differ: a difference of the means of 0.067 is one standard error.
NOISE = {"head": 0.0, "last_stages": 0.3 * np.array([1, -1] * 10)}


def trials(**losses):
    right = {"head": 0.5, "last_stages": 0.6}
    return [
        Trial(policy, loss + NOISE[policy] + np.zeros(20), ACCURACY, right[policy]) for policy, loss in losses.items()
    ]


@pytest.mark.parametrize(
    ("losses", "budget", "policy"),
    [
        ({"head": 0.28, "last_stages": 0.5}, None, "head"),
        ({"head": 0.4, "last_stages": 0.5}, None, "lp_ft"),
        ({"head": 0.7, "last_stages": 0.5}, None, "lp_ft"),
        ({"head": 0.4, "last_stages": 0.5}, 100.0, "head"),
        ({"head": 0.45, "last_stages": 0.5}, 100.0, "last_stages"),
        ({}, 20.0, "head"),
        ({}, None, "last_stages"),
    ],
    ids=[
        "head by three standard errors",
        "head by less",
        "tuned",
        "no time for lp_ft, head by one",
        "no time for lp_ft, head by less",
        "time for head",
        "no trials",
    ],
)
def test_training_stages_pays_unless_the_head_leads_by_more_than_chance(losses, budget, policy):
    choice = choose(trials(**losses), ESTIMATES, budget, examples=EXAMPLES)
    assert choice.policy == policy


def test_a_choice_prints_its_reason_and_time_in_two_lines():
    choice = choose(trials(head=0.7, last_stages=0.4), ESTIMATES, 400.0, examples=EXAMPLES)
    reason, seconds = str(choice).splitlines()
    assert reason == (
        "Policy: lp_ft. 5 to 7 examples in each of 2 classes; loss on 20 held out: head 0.700 (50.0% right) and "
        "last_stages 0.400 (60.0% right). The head's loss is lower by -4.5 standard errors; "
        "it is chosen at more than 3."
    )
    assert seconds == "Time: about 300 s of 400 s (head 10 s, last_stages 60 s, lp_ft 300 s)."


def test_a_budget_too_small_for_an_epoch_is_refused_with_the_minimum():
    with pytest.raises(PolicyError, match=r"policy\.budget_seconds must allow for one pass.*about 10 s.*Received: 9\."):
        find_affordable(ESTIMATES, 9.0)


def test_estimates_rise_with_the_work_and_count_the_trials():
    work = Work(rows=100, validated=0, evaluated=50, epochs=10, views=2)
    speed = Speed(reading=0.01, network=0.1, frozen=0.08, tuned=0.0, start=1.0)
    without = estimate_seconds(work, speed, 0)
    assert without["head"] == pytest.approx(1.0 + 150 * 0.11)
    # Features of two views, then ten epochs of the unfrozen part at four passes per step.
    assert without["last_stages"] - without["head"] == pytest.approx(200 * 0.09 + 0.8 + 10 * 400 * 0.02)
    tried = estimate_seconds(work, speed, 5)
    assert tried["head"] == without["head"]
    assert tried["last_stages"] - without["last_stages"] == pytest.approx(0.8 + 5 * 80.0)
    assert tried["lp_ft"] - without["lp_ft"] == pytest.approx(0.8 + 5 * 80.0)
    assert without["lp_ft"] > without["last_stages"]
    # Of the same stages, on the same features, but for a head that is judged by itself.
    fewer = estimate_seconds(work, replace(speed, tuned=0.08), 0)
    assert fewer["lp_ft"] - fewer["last_stages"] == pytest.approx(50 * 0.11)
    assert fewer["last_stages"] == without["last_stages"]


@pytest.mark.parametrize(("rows", "folds"), [(10, 5), (500, 5), (501, 4), (1000, 2), (10**6, 1)])
def test_many_rows_are_tried_in_fewer_folds(rows, folds):
    assert count_folds(rows, 5) == folds
    assert count_folds(rows, 0) == 0


def test_predictions_that_are_nan_lose():
    spoilt = try_on("lp_ft", HEAD, np.full((2, 2), np.nan, np.float32), np.array([0, 1]))
    assert spoilt.loss == pytest.approx(-np.log(1e-7))


def test_an_overconfident_policy_is_compared_as_if_it_were_calibrated():
    random = np.random.default_rng(0)
    logits = random.normal(size=(400, 1)) * [1.0, -1.0]
    classes = (random.uniform(size=400) > 1.0 / (1.0 + np.exp(-2.0 * logits[:, 0]))).astype(int)
    calm, sure = (softmax(factor * logits, axis=1).astype(np.float32) for factor in (1.0, 6.0))
    one, other = try_on("head", HEAD, calm, classes), try_on("lp_ft", HEAD, sure, classes)
    assert one.value == other.value
    assert other.loss == pytest.approx(one.loss, rel=0.01)
    assert one.loss == pytest.approx(log_loss(classes, calm), rel=0.02)
    assert log_loss(classes, sure) > 1.5 * one.loss


@pytest.fixture
def auto(images):
    def recipe(**policy):
        return ImageClassification(
            {"source": str(images), "image_size": 32},
            backbone="tiny",
            policy={"name": "auto", "stages": 2, **policy},
            training={"epochs": 2, "batch_size": 8, "keep": "last"},
            export={"formats": []},
            report=False,
        )

    return recipe


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_choosing_leaves_the_weights_as_they_were(auto):
    job = auto().prepare()
    before = job.model.trainer.get_weights()
    settled, choice = choose_policy(job)
    assert all(np.array_equal(old, new) for old, new in zip(before, job.model.trainer.get_weights(), strict=True))
    assert [trial.policy for trial in choice.trials] == ["head", "last_stages"]
    assert settled.config.policy.name == choice.policy


@pytest.mark.usefixtures("tiny")
def test_a_run_records_the_choice_and_can_be_run_again(auto, tmp_path):
    run = auto(budget_seconds=10_000.0).fit(tmp_path / "run")
    choice = json.loads((tmp_path / "run" / "choice.json").read_text())
    assert choice["policy"] == run.config.policy.name != "auto"
    keys = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["policy"]
    assert keys == run.config.policy.model_dump()
    assert set(keys) == set(POLICY_SECTIONS[run.config.policy.name].model_fields)
    assert choice["seconds"] > 0 and choice["estimated_seconds"][choice["policy"]] > 0
    assert set(choice["trials"]) == {"head", "last_stages"}


@pytest.mark.usefixtures("tiny")
def test_a_budget_too_small_is_found_by_check_and_by_fit_before_anything_is_written(auto, tmp_path):
    with pytest.raises(PolicyError, match="one pass over the examples"):
        auto(budget_seconds=0.001).check()
    with pytest.raises(PolicyError, match="one pass over the examples"):
        auto(budget_seconds=0.001).fit(tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("tiny")
@pytest.mark.slow
def test_without_a_cache_or_a_solved_head_it_still_chooses(auto, images, tmp_path):
    section = {"source": str(images), "image_size": 32}
    training = {"epochs": 1, "batch_size": 8, "keep": "last"}
    common = {"backbone": "tiny", "policy": "auto", "training": training, "export": {"formats": []}, "report": False}
    _, choice = choose_policy(ImageClassification(section, cache={"views": 0}, **common).prepare())
    assert len(choice.trials) == 2
    _, choice = choose_policy(ImageClassification(section, head={"hidden": 8}, **common).prepare())
    assert (choice.policy, choice.trials) == ("last_stages", ())
