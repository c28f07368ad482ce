"""The optimum of a linear head."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, log_softmax, logit, softmax
from sklearn import linear_model
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from keras_transfer.heads.linear_models import Multinomial, OneVsRest, Ridge
from keras_transfer.heads.solver import STRENGTHS, draw_folds, solve_head, solve_like


def rows(classes, n=240, features=12):
    random = np.random.default_rng(classes)
    labels = np.arange(n) % classes
    centres = random.normal(size=(classes, features))
    scale = 10.0 ** np.linspace(-0.6, 0.3, features)  # features of different sizes
    return ((centres[labels] + random.normal(size=(n, features)) * 1.5) * scale + 5).astype("float32"), labels


def solve(x, labels, weights, classes, seed):
    return solve_head(x, labels, weights, model=lambda: Multinomial(classes), folds=draw_folds(labels, seed))


def standardize(x):
    """By three quarters of each variance and a quarter of the mean one."""
    x = x.astype("float64")
    variance = x.var(axis=0)
    return (x - x.mean(axis=0)) / np.sqrt(0.75 * variance + 0.25 * variance.mean())


def probabilities(head, x):
    return softmax(x.astype("float64") @ head.kernel.astype("float64") + head.bias, axis=1)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_it_matches_logistic_regression_on_standardized_features(classes):
    x, labels = rows(classes)
    head = solve(x, labels, np.ones(len(x), "float32"), classes, seed=0)
    assert (head.kernel.shape, head.bias.shape) == ((12, classes), (classes,))
    peer = LogisticRegression(C=head.strength, max_iter=2000, tol=1e-6).fit(standardize(x), labels)
    unscaled = replace(head, kernel=head.kernel / head.scale, bias=head.bias / head.scale)
    np.testing.assert_allclose(probabilities(unscaled, x), peer.predict_proba(standardize(x)), atol=2e-3)


def test_two_classes_of_unequal_size_match_logistic_regression():
    x, labels = rows(2)
    x, labels = x[40:][labels[40:].cumsum() < 30], labels[40:][labels[40:].cumsum() < 30]
    keep = np.r_[np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)[:8]]
    x, labels = standardize(x[keep]), labels[keep]
    model = Multinomial(2)
    model.fit(x, labels, np.ones(len(x), "float32"), 0.1)
    kernel, bias = model.coefficients()
    peer = LogisticRegression(C=0.1, max_iter=2000, tol=1e-8).fit(x, labels)
    assert abs(peer.intercept_[0]) > 0.5
    np.testing.assert_allclose(softmax(x @ kernel + bias, axis=1), peer.predict_proba(x), atol=1e-3)


def test_the_strength_is_the_best_on_held_out_folds():
    x, labels = rows(3)
    head = solve(x, labels, np.ones(len(x), "float32"), 3, seed=0)
    assert STRENGTHS[0] < head.strength < STRENGTHS[-1]
    noise = np.random.default_rng(0).normal(size=x.shape).astype("float32")
    nothing_to_learn = solve(noise, labels, np.ones(len(x), "float32"), 3, seed=0)
    assert nothing_to_learn.strength < head.strength
    assert head.loss < nothing_to_learn.loss == pytest.approx(np.log(3), abs=0.05)


def test_strengths_are_half_decades():
    np.testing.assert_allclose(np.log10(STRENGTHS), np.linspace(-5.0, 1.0, 13), atol=1e-12)


def test_held_out_rows_are_predicted_by_the_other_folds_and_calibrated_on_all():
    x, labels = rows(3, n=90)
    weights = np.random.default_rng(1).uniform(0.5, 2.0, 90).astype("float32")
    head = solve(x, labels, weights, 3, seed=0)
    logits = np.empty((90, 3))
    for train, held_out in StratifiedKFold(5, shuffle=True, random_state=0).split(x, labels):
        peer = LogisticRegression(C=head.strength, max_iter=2000, tol=1e-6)
        peer.fit(standardize(x)[train], labels[train], sample_weight=weights[train])
        logits[held_out] = peer.decision_function(standardize(x)[held_out])
    np.testing.assert_allclose(head.held_out, softmax(head.scale * logits, axis=1), atol=5e-3)

    def loss(scale, spread=0.0):
        """Of one row more, of which nothing is known, in what the factor is fitted by."""
        shares = (1 - spread) * np.eye(3)[labels] + spread / 3
        return -np.average((shares * log_softmax(scale * logits, axis=1)).sum(axis=1), weights=weights)

    assert head.loss == pytest.approx(loss(head.scale), rel=1e-3)
    around = [loss(factor * head.scale, spread=1 / 91) for factor in (0.95, 1.0, 1.05)]
    assert min(around) == around[1] and head.scale != pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("hinted", [False, True])
def test_a_head_is_solved_again_on_other_rows_with_the_same_settings(hinted):
    """With the chosen strength and factor; each hint counts as four rows around their mean."""
    x, labels = rows(3)
    first = replace(solve(x, labels, np.ones(240, "float32"), 3, seed=0), uses_hints=hinted)
    weights = np.random.default_rng(1).uniform(0.5, 2.0, 100).astype("float32")
    part, own = x[:100] * 2 + 1, labels[:100]
    centres = (np.random.default_rng(2).normal(size=(3, 12)) + 30).astype("float32")
    again = solve_like(first, part, own, weights, model=lambda: Multinomial(3), hints=(centres, np.arange(3)))
    variance = part.astype("float64").var(axis=0)
    deviation = np.sqrt(0.75 * variance + 0.25 * variance.mean())
    features, targets, counts = standardize(part), own, weights
    if hinted:
        features = np.concatenate([features, (centres - centres.mean(axis=0)) / deviation])
        targets, counts = np.append(own, range(3)), np.append(weights, [4 * weights.mean()] * 3)
    peer = LogisticRegression(C=first.strength, max_iter=2000, tol=1e-6).fit(features, targets, sample_weight=counts)
    unscaled = replace(again, kernel=again.kernel / first.scale, bias=again.bias / first.scale)
    np.testing.assert_allclose(probabilities(unscaled, part), peer.predict_proba(standardize(part)), atol=2e-3)
    assert (again.strength, again.scale, again.uses_hints) == (first.strength, first.scale, hinted)
    assert (again.loss, again.held_out) == (None, None)


@pytest.mark.slow
def test_few_rows_of_many_features_are_classified_better_than_with_the_best_penalty_alone():
    def loss(logits, labels):
        return -log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean()

    ours, peers = [], []
    for seed in range(3):
        random = np.random.default_rng(seed)
        centres, labels = 0.25 * random.normal(size=(6, 150)), np.arange(3000) % 6
        x = (centres[labels] + random.normal(size=(3000, 150))).astype("float32")
        few, rest = slice(0, 150), slice(150, None)
        head = solve(x[few], labels[few], np.ones(150, "float32"), 6, seed)
        ours.append(loss(x[rest] @ head.kernel + head.bias, labels[rest]))
        peer = LogisticRegressionCV(Cs=STRENGTHS, cv=draw_folds(labels[few], seed), scoring="neg_log_loss")
        peers.append(loss(peer.fit(x[few], labels[few]).decision_function(x[rest]), labels[rest]))
    assert np.mean(ours) < 0.98 * np.mean(peers), (ours, peers)


def test_logits_are_calibrated():
    random = np.random.default_rng(0)
    labels = np.arange(2400) % 2
    x = (labels[:, None] * 0.4 + random.normal(size=(2400, 60))).astype("float32")
    head = solve(x[:120], labels[:120], np.ones(120, "float32"), 2, seed=0)
    said = probabilities(head, x[120:])
    assert said.max(axis=1).mean() == pytest.approx((said.argmax(axis=1) == labels[120:]).mean(), abs=0.05)


def test_perfectly_separated_rows_have_bounded_logits():
    x, labels = rows(2)
    x[:, 0] = 50.0 * labels
    head = solve(x, labels, np.ones(len(x), "float32"), 2, seed=0)
    assert 0.9 < probabilities(head, x).max(axis=1).min() < 1.0 - 1e-6


def test_class_names_give_the_same_folds_as_class_indices():
    labels = np.random.default_rng(0).integers(0, 3, 60)
    names = np.array(["zebra", "cat", "dog"])[labels]
    for (train, held_out), (other, other_held_out) in zip(draw_folds(labels, 1), draw_folds(names, 1), strict=True):
        assert train.tolist() == other.tolist() and held_out.tolist() == other_held_out.tolist()


@pytest.mark.parametrize(
    ("counts", "most", "folds"), [((9, 3), 5, 3), ((9, 1), 5, 0), ((9, 7), 5, 5), ((9, 7), 2, 2), ((2, 2), 5, 2)]
)
def test_folds_match_scikit_learn_and_are_limited_by_the_rarest_class(counts, most, folds):
    labels = np.repeat([0, 1], counts)
    drawn = draw_folds(labels, 3, **({} if most == 5 else {"most": most}))
    assert len(drawn) == folds
    if folds:
        peers = StratifiedKFold(folds, shuffle=True, random_state=3).split(labels, labels)
        names = np.arange(len(labels)).astype(str).astype(object)
        alone = StratifiedGroupKFold(folds, shuffle=True, random_state=3).split(labels, labels, names)
        for ours, theirs in ((drawn, peers), (draw_folds(labels, 3, names, most=most), alone)):
            for one, other in zip(ours, theirs, strict=True):
                assert [part.tolist() for part in one] == [part.tolist() for part in other]


@pytest.mark.parametrize(("groups", "folds"), [(50, 5), (7, 5), (4, 2)])
def test_no_fold_divides_a_group_and_each_trains_on_all_classes(groups, folds):
    group = np.array([f"patient {row % groups}" for row in range(200)], object)
    labels = np.arange(200) % groups % 2
    divided = draw_folds(labels, 0, group)
    assert len(divided) <= folds and len(divided) >= 2
    assert sorted(np.concatenate([held_out for _, held_out in divided])) == list(range(200))
    for train, held_out in divided:
        assert not set(group[train]) & set(group[held_out])
        assert set(labels[train]) == {0, 1}


def test_there_are_no_folds_if_a_class_is_in_only_one_group():
    labels = np.arange(100) % 2
    assert draw_folds(labels, 0, np.where(labels, "one", np.arange(100).astype(str)).astype(object)) == []


def test_there_are_no_folds_if_one_would_train_without_a_class():
    # scikit-learn holds out the first and the last group together, and only those have the second class.
    labels, groups = [0, 1, 0, 1, 0, 0, 0, 1, 1], np.repeat(["a", "b", "c"], (4, 3, 2))
    assert draw_folds(labels, 0, groups) == []


def test_two_groups_of_each_class_are_two_folds():
    labels, groups = np.arange(40) % 2, np.array([f"patient {row % 4}" for row in range(40)], object)
    assert len(draw_folds(labels, 0, groups)) == 2


def test_rows_of_a_group_do_not_predict_one_another():
    """Groups of ten equal rows whose labels are random: what predicts a held-out row is a copy of it."""
    random = np.random.default_rng(0)
    labels, x = random.integers(0, 2, 30).repeat(10), random.normal(size=(30, 64)).repeat(10, axis=0).astype("float32")
    group = np.arange(30).repeat(10).astype(str).astype(object)
    weights = np.ones(300, "float32")
    apart, together = (
        solve_head(x, labels, weights, model=lambda: Multinomial(2), folds=draw_folds(labels, 0, given))
        for given in (group, None)
    )
    assert np.mean(apart.held_out.argmax(axis=1) == labels) < 0.75
    assert np.mean(together.held_out.argmax(axis=1) == labels) > 0.95
    assert apart.loss > 0.5 > together.loss


def test_the_same_rows_give_the_same_head():
    x, labels = rows(2)
    one, two = (solve(x, labels, np.ones(len(x), "float32"), 2, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.kernel, two.kernel)
    np.testing.assert_array_equal(one.bias, two.bias)


def test_a_weight_of_two_moves_the_head_towards_the_row():
    x, labels = rows(2)
    even = solve(x, labels, np.ones(len(x), "float32"), 2, seed=0)
    weights = np.where(labels == 1, 5.0, 1.0).astype("float32")
    uneven = solve(x, labels, weights, 2, seed=0)
    assert probabilities(uneven, x)[:, 1].mean() > probabilities(even, x)[:, 1].mean() + 0.05


def test_a_constant_feature_has_no_weight():
    x, labels = rows(2)
    x[:, 4] = 7.0
    head = solve(x, labels, np.ones(len(x), "float32"), 2, seed=0)
    assert np.isfinite(head.kernel).all()
    np.testing.assert_allclose(head.kernel[4], 0.0, atol=1e-6)


@pytest.mark.parametrize("size", [1e-6, 1e-3])
def test_an_almost_constant_feature_has_a_bounded_weight(size):
    x, labels = rows(2)
    usual = solve(x, labels, np.ones(len(x), "float32"), 2, seed=0)
    x[:, 4] = 7.0 + size * np.random.default_rng(0).normal(size=len(x))
    head = solve(x, labels, np.ones(len(x), "float32"), 2, seed=0)
    # The least change of the network in front of it would be multiplied with that.
    assert np.abs(head.kernel[4]).max() < np.abs(usual.kernel).max()


def test_a_class_of_one_row_is_solved_without_cross_validation():
    x, labels = rows(2, n=10)
    labels[:] = 0
    labels[0] = 1
    head = solve(x, labels, np.ones(len(x), "float32"), 2, seed=0)
    assert (head.loss, head.held_out, head.scale, head.uses_hints) == (None, None, 1.0, False)
    assert head.strength == pytest.approx(0.01)  # the one in the middle


def test_constant_features_predict_the_class_frequencies():
    labels = np.array([0, 0, 0, 1] * 10)
    head = solve(np.full((40, 3), 7.0, "float32"), labels, np.ones(40, "float32"), 2, seed=0)
    np.testing.assert_array_equal(head.kernel, 0.0)
    np.testing.assert_allclose(softmax(head.bias), [0.75, 0.25], atol=0.02)


def test_a_label_of_all_rows_or_none_is_predicted_with_half_a_pseudo_row():
    x, _ = draw(40)
    marks = np.stack([np.zeros(40), np.ones(40), np.arange(40) % 2], axis=1).astype("float32")
    head = solve_head(x, marks, np.ones(40, "float32"), model=lambda: OneVsRest(3), folds=[])
    np.testing.assert_array_equal(head.kernel[:, :2], 0.0)
    np.testing.assert_allclose(head.bias[:2], logit([0.5 / 41, 40.5 / 41]), rtol=1e-6)
    assert np.abs(head.kernel[:, 2]).min() > 0


def hint_at(centres, random):
    """A row for each centre, near it but for what hints have in common."""
    return (centres + 0.3 * random.normal(size=centres.shape) + 6.0).astype("float32")


@pytest.mark.slow
def test_hints_help_if_rows_are_few_and_are_rejected_if_they_mislead():
    random = np.random.default_rng(0)
    centres, labels = 0.4 * random.normal(size=(4, 100)), np.arange(2000) % 4
    x = (centres[labels] + random.normal(size=(2000, 100))).astype("float32")
    few, weights = slice(0, 24), np.ones(24, "float32")
    options = {"model": lambda: Multinomial(4), "folds": draw_folds(labels[few], 0)}
    features = hint_at(centres, random)
    without = solve_head(x[few], labels[few], weights, **options)
    hinted = solve_head(x[few], labels[few], weights, **options, hints=(features, np.arange(4)))
    misled = solve_head(x[few], labels[few], weights, **options, hints=(features, np.array([1, 2, 3, 0])))
    assert (without.uses_hints, hinted.uses_hints, misled.uses_hints) == (False, True, False)
    np.testing.assert_array_equal(misled.kernel, without.kernel)
    right, was = (np.mean(probabilities(head, x[24:]).argmax(axis=1) == labels[24:]) for head in (hinted, without))
    assert right > was + 0.03
    assert hinted.loss < without.loss and hinted.held_out.shape == (24, 4)


def test_hints_of_labels_help_too():
    random = np.random.default_rng(0)
    directions = random.normal(size=(3, 60))
    marks = (random.uniform(size=(2000, 3)) < 0.5).astype("float32")
    x = (0.4 * marks @ directions + random.normal(size=(2000, 60))).astype("float32")
    few, weights = slice(0, 30), np.ones(30, "float32")
    options = {"model": lambda: OneVsRest(3), "folds": draw_folds(marks[few, 0], 0)}
    without = solve_head(x[few], marks[few], weights, **options)
    hints = (hint_at(0.4 * directions, random), np.eye(3, dtype="float32"))
    hinted = solve_head(x[few], marks[few], weights, **options, hints=hints)
    right, was = (np.mean((x[30:] @ h.kernel + h.bias > 0) == (marks[30:] > 0.5)) for h in (hinted, without))
    assert hinted.uses_hints and right > was + 0.01


def test_hints_are_not_used_without_cross_validation():
    x, labels = rows(2, n=10)
    labels[:] = 0
    labels[0] = 1
    weights = np.ones(10, "float32")
    hints = (x[:2], np.array([0, 1]))
    head = solve_head(x, labels, weights, model=lambda: Multinomial(2), folds=draw_folds(labels, 0), hints=hints)
    np.testing.assert_array_equal(head.kernel, solve(x, labels, weights, 2, seed=0).kernel)


def draw(n=200, features=8):
    random = np.random.default_rng(5)
    x = random.normal(size=(n, features)) * np.linspace(0.5, 2.0, features) + 3
    return x.astype("float32"), random


def test_labels_are_solved_one_vs_rest():
    x, random = draw()
    marks = ((x - 3) @ random.normal(size=(8, 3)) + random.normal(size=(200, 3)) > 0.5).astype("float32")
    weights = random.uniform(0.5, 2.0, 200).astype("float32")
    head = solve_head(x, marks, weights, model=lambda: OneVsRest(3), folds=draw_folds(marks[:, 0], 0))
    for label in range(3):
        peer = LogisticRegression(C=head.strength, max_iter=2000, tol=1e-6)
        peer.fit(standardize(x), marks[:, label], sample_weight=weights)
        ours = (x.astype("float64") @ head.kernel[:, label] + head.bias[label]) / head.scale
        np.testing.assert_allclose(expit(ours), peer.predict_proba(standardize(x))[:, 1], atol=2e-3)
    held_out = -np.log(np.where(marks > 0.5, head.held_out, 1 - head.held_out)).mean(axis=1)
    assert head.loss == pytest.approx(np.average(held_out, weights=weights), rel=1e-4) and head.loss < np.log(2)


def test_a_label_that_a_fold_lacks_is_still_solved():
    x, _ = draw(40)
    marks = np.zeros((40, 2), "float32")
    marks[::2, 0] = 1
    marks[3, 1] = 1
    head = solve_head(x, marks, np.ones(40, "float32"), model=lambda: OneVsRest(2), folds=draw_folds(marks[:, 0], 0))
    assert np.isfinite(head.kernel).all() and np.isfinite(head.loss)


def test_a_fold_without_any_label_is_still_solved():
    x, _ = draw(40)
    marks = np.zeros((40, 2), "float32")
    marks[[0, 1], [0, 1]] = 1
    folds = [(np.arange(20, 40), np.arange(20)), (np.arange(20), np.arange(20, 40))]
    head = solve_head(x, marks, np.ones(40, "float32"), model=lambda: OneVsRest(2), folds=folds)
    assert np.isfinite(head.kernel).all() and np.isfinite(head.loss)


@pytest.mark.parametrize("count", [1, 2])
def test_numbers_are_solved_by_ridge_regression(count):
    x, random = draw()
    numbers = x @ random.normal(size=(8, count)) + 5 * random.normal(size=(200, count))
    numbers = ((numbers - numbers.mean(0)) / numbers.std(0)).astype("float32")
    weights = random.uniform(0.5, 2.0, 200).astype("float32")
    folds = draw_folds(np.arange(200) % 4, 0)
    head = solve_head(x, numbers, weights, model=Ridge, folds=folds)
    peer = linear_model.Ridge(1 / head.strength).fit(standardize(x), numbers, sample_weight=weights)
    assert head.kernel.shape == (8, count)
    np.testing.assert_allclose(x @ head.kernel + head.bias, peer.predict(standardize(x)).reshape(200, -1), atol=1e-4)
    noise = random.normal(size=(200, count)).astype("float32")
    assert solve_head(x, noise, weights, model=Ridge, folds=folds).strength < head.strength
    squares = ((head.held_out - numbers) ** 2).mean(axis=1)
    assert head.loss == pytest.approx(np.average(squares, weights=weights), rel=1e-4)
    assert head.scale == 1.0
