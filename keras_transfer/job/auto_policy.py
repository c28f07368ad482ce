"""Resolve ``policy: auto`` for a job: measure, try the candidates on held-out rows, and choose."""

import time
from dataclasses import replace
from typing import cast

from keras_transfer.config.policies import AutoPolicyConfig
from keras_transfer.console import track
from keras_transfer.heads import TargetHead
from keras_transfer.heads.solver import Folds
from keras_transfer.job.job import Job
from keras_transfer.job.policy_choice import Choice, Trial, choose, cross_validate, try_on
from keras_transfer.job.time_estimates import Speed, Work, count_folds, estimate_seconds, find_affordable

_TIMED_ROWS = 64


def estimate(job: Job) -> dict[str, float]:
    """Estimate the time of each candidate policy of ``auto``, for a job's data and this machine.

    Returns:
        Seconds by policy, the least work first.

    Raises:
        PolicyError: policy.budget_seconds does not allow for a single pass over the examples.
    """
    config, splits, stages = job.config, job.splits, len(job.model.backbone.stages)
    few = splits.train.select(range(min(len(splits.train), _TIMED_ROWS)))
    reading, network, start = job.batches.cache.time(job.model, stages, few)
    frozen_stages, tuned_stages = (
        job.with_policy(name).phases[-1].frozen_stages(stages) for name in ("last_stages", "lp_ft")
    )
    _, frozen, _ = job.batches.cache.time(job.model, frozen_stages, few) if frozen_stages else (0.0, 0.0, 0.0)
    frozen = min(frozen, network)
    work = Work(
        rows=len(splits.train),
        validated=len(splits.validation),
        evaluated=(len(splits.validation) + len(splits.test)) * len(job.reader.flips),
        epochs=config.training.epochs,
        views=len(job.reader.training_views(range(config.training.epochs), config.cache.views)),
    )
    # The number of stages in a recipe applies to both.
    speed = Speed(reading, network, frozen, tuned=frozen if tuned_stages else 0.0, start=start)
    estimates = estimate_seconds(work, speed, len(_folds(job)))
    find_affordable(estimates, _budget_seconds(job))
    return estimates


def choose_policy(job: Job) -> tuple[Job, Choice]:
    """Resolve ``policy.name: auto``.

    Returns:
        The same job with the chosen policy, and the reason for it.

    Raises:
        PolicyError: policy.budget_seconds does not allow for a single pass over the examples.
        TrainingError: Features are NaN or infinite.
    """
    estimates, budget = estimate(job), _budget_seconds(job)
    trials = []
    if len(find_affordable(estimates, budget)) > 1:
        started = time.perf_counter()
        trials = _try(job)
        # The head may still be chosen, and the trial has taken time.
        estimates = {**estimates, "head": max(estimates["head"], time.perf_counter() - started)}
    choice = choose(trials, estimates, budget, examples=job.splits.target.count(job.splits.train.targets))
    return replace(job.with_policy(choice.policy), measured=job.baseline), choice


def _budget_seconds(job: Job) -> float | None:
    return cast(AutoPolicyConfig, job.config.policy).budget_seconds


def _folds(job: Job) -> Folds:
    return job.folds[: count_folds(len(job.splits.train), len(job.folds))]


def _try(job: Job) -> list[Trial]:
    """The results of cross-validation for head and last_stages; empty if there are none."""
    train, folds, head = job.splits.train, _folds(job), cast(TargetHead, job.model.head)
    if job.baseline is None or job.baseline.head.held_out is None:
        return []
    candidate = job.with_policy("last_stages")
    (phase,) = candidate.phases
    batches, epochs = candidate.batches, range(phase.epochs)
    parts = (batches.fold_inputs(phase, epochs, *fold) for fold in folds)
    inputs, steps = track(parts, "trying last_stages", len(folds)), phase.epochs * batches.fold_steps(folds)
    predicted = cross_validate(job.model, phase, inputs, config=job.config.training, steps=steps)
    rows = batches.held_out_order(folds)
    targets, held_out = train.targets[rows], job.baseline.head.held_out[rows]
    return [try_on("head", head, held_out, targets), try_on("last_stages", head, predicted, targets)]
