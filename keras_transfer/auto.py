"""Settles ``policy: auto`` for a job: measures, tries the candidates on held-out rows, and lets choice.py decide."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from keras_transfer.choice import (
    Choice,
    Fold,
    Speed,
    Trial,
    Work,
    choose,
    count_folds,
    cross_validate,
    estimate_seconds,
    find_affordable,
    try_on,
)
from keras_transfer.data.pipeline import steps_per_epoch
from keras_transfer.job import Baseline, Job
from keras_transfer.model import flip_axes
from keras_transfer.progress import track
from keras_transfer.solver import draw_folds, solve_head

_Rows = NDArray[np.int64]
_TIMED_ROWS = 64


def estimate(job: Job) -> dict[str, float]:
    """Estimate how long each policy takes that ``auto`` chooses from, on a job's data and this machine.

    Args:
        job: Not yet trained.

    Returns:
        Seconds by policy, the least work first.

    Raises:
        PolicyError: policy.budget_seconds does not allow for a single pass over the pictures.
    """
    config, splits, stages = job.config, job.splits, len(job.model.backbone.stages)
    few = splits.train.select(range(min(len(splits.train), _TIMED_ROWS)))
    reading, network, start = job.cache.time(job.model, stages, few)
    frozen_stages = job.with_policy("last_stages").phases[-1].frozen_stages(stages)
    _, frozen, _ = job.cache.time(job.model, frozen_stages, few) if frozen_stages else (0.0, 0.0, 0.0)
    work = Work(
        rows=len(splits.train),
        validated=len(splits.validation),
        judged=(len(splits.validation) + len(splits.test)) * len(flip_axes(config.augmentation)),
        epochs=config.training.epochs,
        views=min(config.cache.views, config.training.epochs),
    )
    # Both are tried on the same folds, where lp_ft is tried at all.
    folds = {"lp_ft": len(_folds(job, "lp_ft"))}
    folds["last_stages"] = folds["lp_ft"] or len(_folds(job, "last_stages"))
    estimates = estimate_seconds(work, Speed(reading, network, min(frozen, network), start), folds)
    find_affordable(estimates, config.policy.budget_seconds)
    return estimates


def choose_policy(job: Job) -> tuple[Job, Choice]:
    """Settle what ``policy.name: auto`` stands for.

    Args:
        job: Its weights are afterwards what they were.

    Returns:
        The same job with the policy that was chosen, and why it was.

    Raises:
        PolicyError: policy.budget_seconds does not allow for a single pass over the pictures.
        TrainingError: Features are no numbers.
    """
    estimates, budget = estimate(job), job.config.policy.budget_seconds
    trials = _try(job, find_affordable(estimates, budget))
    choice = choose(trials, estimates, budget, examples=np.bincount(job.splits.train.labels))
    return replace(job.with_policy(choice.policy), measured=job.baseline), choice


def _folds(job: Job, policy: str) -> list[tuple[_Rows, _Rows]]:
    labels = job.splits.train.labels
    folds = draw_folds(labels, job.config.seed)
    return folds[: count_folds(len(labels), policy, len(folds))]


def _try(job: Job, policies: Sequence[str]) -> list[Trial]:
    """What cross-validation says of some candidates, the head among them; empty where it can say nothing."""
    tried = [policy for policy in policies if policy != "head" and _folds(job, policy)]
    if job.baseline is None or job.baseline.head.held_out is None or not tried:
        return []
    # All are judged by the same rows: those of the folds that the slowest of them gets.
    folds = _folds(job, tried[-1])
    rows = np.concatenate([held_out for _, held_out in folds])
    labels = job.splits.train.labels[rows]
    trials = [try_on("head", job.baseline.head.held_out[rows], labels)]
    for policy in tried:
        candidate = job.with_policy(policy)
        phase, training = candidate.phases[-1], job.config.training
        inputs = track((_fold(candidate, job.baseline, *fold) for fold in folds), f"trying {policy}", len(folds))
        steps = phase.epochs * max(steps_per_epoch(len(learned), training.batch_size) for learned, _ in folds)
        predicted = cross_validate(job.model, phase, inputs, config=training, steps=steps)
        trials.append(try_on(policy, predicted, labels))
    return trials


def _fold(job: Job, baseline: Baseline, rows: _Rows, held_out: _Rows) -> Fold:
    """What the last phase trains in a fold, on what, and the head that it begins with."""
    train, phase, head = job.splits.train, job.phases[-1], None
    learned = train.fold(rows)
    if job.phases[0].solve:
        head = solve_head(
            baseline.features["train"][rows],
            learned.labels,
            learned.weights * job.class_weights[learned.labels],
            classes=len(job.splits.class_names),
            seed=job.config.seed,
            strength=baseline.head.strength,
        )
    part = replace(job, splits=replace(job.splits, train=learned, validation=train.fold(held_out)))
    return Fold(*part.inputs(phase, range(phase.epochs)), head)
