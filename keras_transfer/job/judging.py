"""Evaluate a job's model: predictions for held-out training rows, and the gain from fine-tuning."""

from dataclasses import replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from keras_transfer.console import track
from keras_transfer.data.splits.splits import Split
from keras_transfer.frozen.baseline import Baseline
from keras_transfer.heads import TargetHead
from keras_transfer.heads.evaluation import Report, measure_gain
from keras_transfer.heads.solver import Folds
from keras_transfer.job.batches import BatchMaker, Rows
from keras_transfer.job.policy_choice import cross_validate
from keras_transfer.tasks.records import Evaluation
from keras_transfer.training.phase import Inputs, restored
from keras_transfer.training.policies import Phase

MOST_ROWS = 100
"""Training rows up to which a network without validation rows is trained again on folds of them."""

FOLDS = 3
"""Each has two thirds of the rows: together they take twice as long as the training itself."""


def predict_held_out(
    batches: BatchMaker, phase: Phase, epochs: range, folds: Folds, baseline: Baseline | None
) -> NDArray[np.float32] | None:
    """Train a phase once per fold, from the start of the run, and predict the rows of the fold.

    Args:
        folds: Folds of the training rows; each row is held out once.
        baseline: Its head is solved again without the held-out rows, and training starts from it; None if no phase
            solves a head.

    Returns:
        ``float32[rows, outputs]``; None if a training diverged.
    """
    model, train, config = batches.model, batches.splits.train, batches.config.training
    head, weights = cast(TargetHead, model.head), batches.weights(train)

    def learn(rows: Rows, held_out: Rows) -> Inputs:
        if baseline is not None:
            features = baseline.features["train"][rows]
            solved = head.solve_like(
                baseline.head, features, train.targets[rows], weights[rows], baseline.label_features
            )
            replace(baseline, head=solved).put_on(model)
        return batches.fold_inputs(phase, epochs, rows, held_out)

    steps = phase.epochs * batches.fold_steps(folds)
    with restored(model.trainer.variables):
        parts = track((learn(*fold) for fold in folds), "calibrating on held-out rows", len(folds))
        predicted = cross_validate(model, phase, parts, config=config, steps=steps)
    if not np.isfinite(predicted).all():
        return None
    joined = np.empty_like(predicted)
    joined[batches.held_out_order(folds)] = predicted
    return joined


def add_gains(evaluation: Evaluation, splits: list[Split], baseline: Baseline, *, seconds: float) -> Evaluation:
    """Add the gain over the solved head to each report."""
    head = evaluation.head
    if not isinstance(head, TargetHead):
        return evaluation

    # The solved head has its own temperature and thresholds, chosen on the same rows.
    validation = [split for split in splits if split.name == "validation"]
    solved = replace(head, calibration=None)
    if validation:
        solved = solved.calibrate(baseline.predicted["validation"], validation[0].targets)

    def add(report: Report, split: Split) -> Report:
        gain = measure_gain(
            head.figure,
            lambda rows, counts: head.score(rows, split.targets, counts),
            evaluation.predicted[split.name],
            solved.calibrated(baseline.predicted[split.name]),
            head_seconds=baseline.seconds,
            head_score=lambda rows, counts: solved.score(rows, split.targets, counts),
            seconds=seconds,
        )
        return replace(report, gain=gain)

    pairs = zip(evaluation.reports, splits, strict=True)
    return replace(evaluation, reports=tuple(add(report, split) for report, split in pairs))
