"""The choice of ``policy: auto``: head, last_stages or lp_ft, by cross-validation on cached features and by time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_transfer.config.training import TrainingConfig
from keras_transfer.data.targets.base import Targets
from keras_transfer.heads import TargetHead
from keras_transfer.heads.evaluation import Figure, Floats, predict
from keras_transfer.job.time_estimates import describe_estimates, find_affordable
from keras_transfer.model import TransferModel
from keras_transfer.training.accumulation import expect_batches
from keras_transfer.training.phase import Inputs, apply_phase, restored
from keras_transfer.training.policies import Phase

# By how many standard errors the held-out loss of the head must be lower than that of last_stages for the head to be
# chosen, by the most expensive policy for which there is time. last_stages looks worse than lp_ft is: it starts without
# a solved head. On solar cells, 5 to 50 per class, draws 100 and 101 (docs/figures.md#few-labels), heads that led by
# 1.2 to 2.5 were 0.8 to 4.8 points less accurate than lp_ft (means of two). Those were leads of uncalibrated losses, in
# which an overconfident network looks even worse: leads of calibrated losses are smaller.
_CLEAR_LEADS = {"last_stages": 1.0, "lp_ft": 3.0}

# One confident mistake must not outweigh all other rows: the loss is limited to that of a probability of 1e-7.
_MOST_LOSS = -np.log(1e-7)


@dataclass(frozen=True)
class Trial:
    """The result of a candidate on held-out rows.

    Attributes:
        losses: ``float64[rows]``, the loss of each row.
        figure: The metric by which models of this kind are compared.
    """

    policy: str
    losses: NDArray[np.float64]
    figure: Figure
    value: float

    @property
    def loss(self) -> float:
        """The mean of :attr:`losses`."""
        return float(self.losses.mean())

    def lead(self, other: "Trial") -> float:
        """Return by how many standard errors of the paired difference the loss is lower than another one's."""
        differences = other.losses - self.losses
        error = differences.std() / np.sqrt(len(differences))
        return float(differences.mean() / max(error, np.finfo(float).tiny))


def try_on(policy: str, head: TargetHead, predicted: Floats, targets: Targets) -> Trial:
    """Evaluate held-out predictions, each policy's at its optimal temperature.

    Args:
        predicted: ``[rows, outputs]``; NaN if training diverged.
    """
    if np.isfinite(predicted).all():
        predicted = head.fit_calibration(predicted, targets, "train").calibrated(predicted)
    losses = np.minimum(np.nan_to_num(head.row_losses(predicted, targets), nan=np.inf), _MOST_LOSS)
    return Trial(policy, losses, head.figure, head.score_once(predicted, targets))


def cross_validate(
    model: TransferModel,
    phase: Phase,
    folds: Iterable[Inputs],
    *,
    config: TrainingConfig,
    steps: int,
) -> NDArray[np.float32]:
    """Train a phase once per fold, each time from the same start, and predict the held-out rows.

    Args:
        model: Its weights and random states are restored exactly afterwards.
        folds: For each fold, the model to train (always the same one), the batches of a whole phase, and the held-out
            rows for validation.

    Returns:
        ``float32[n, outputs]`` predictions for the held-out rows of all folds, concatenated.
    """
    predicted: list[Floats] = []
    for inputs in folds:
        trainer = inputs.trainer
        # Compiled once: tracing takes TensorFlow as long as a dozen steps.
        if not predicted:
            apply_phase(model, phase, config=config, trainer=trainer, steps=steps)
        with restored([*model.trainer.variables, *trainer.optimizer.variables]):
            expect_batches(trainer.optimizer, inputs.batches)
            trainer.fit(inputs.batches, shuffle=False, verbose=0)
            predicted.append(model.head.predictions(predict(trainer, inputs.validation)))
    return np.concatenate(predicted)


@dataclass(frozen=True)
class Choice:
    """The choice of ``auto``.

    Attributes:
        policy: head, last_stages or lp_ft.
        trials: Results of cross-validation, one per tried candidate.
        estimates: Seconds by policy, including the time for choosing.
    """

    policy: str
    reason: str
    trials: tuple[Trial, ...]
    estimates: Mapping[str, float]
    budget_seconds: float | None

    def __str__(self) -> str:
        budget = f" of {self.budget_seconds:.0f} s" if self.budget_seconds else ""
        return (
            f"Policy: {self.policy}. {self.reason}\n"
            f"Time: about {self.estimates[self.policy]:.0f} s{budget} ({describe_estimates(self.estimates)})."
        )

    def to_json(self) -> dict[str, Any]:
        """Return the content of choice.json."""
        return {
            "policy": self.policy,
            "reason": self.reason,
            "trials": {trial.policy: {"loss": trial.loss, trial.figure.name: trial.value} for trial in self.trials},
            "head_leads_by_standard_errors": self.trials[0].lead(self.trials[1]) if self.trials else None,
            "estimated_seconds": dict(self.estimates),
            "budget_seconds": self.budget_seconds,
        }


def choose(
    trials: Sequence[Trial],
    estimates: Mapping[str, float],
    budget_seconds: float | None,
    *,
    examples: str,
) -> Choice:
    """Choose among the candidates that the budget allows.

    Args:
        trials: Of head and last_stages on the same held-out rows; may be empty.
        budget_seconds: None for no limit.

    Returns:
        The head if its loss is lower than that of ``last_stages`` by more than three standard errors, or by more than
        one if there is no time for ``lp_ft``. Otherwise the candidate that trains the most stages. If nothing could be
        compared, ``last_stages``, the most robust. The threshold of three was chosen on other draws than those that are
        reported.

    Raises:
        PolicyError: The budget allows none.
    """
    affordable = find_affordable(estimates, budget_seconds)
    if len(affordable) == 1:
        return Choice("head", f"{examples}; there is no time for more.", (), estimates, budget_seconds)
    if not trials:
        reason = f"{examples}; too few to hold some out, or no solved head to compare with."
        return Choice("last_stages", reason, (), estimates, budget_seconds)
    head, tuned = trials
    lead, bound = head.lead(tuned), _CLEAR_LEADS[affordable[-1]]
    policy = "head" if lead > bound else affordable[-1]
    shown = " and ".join(f"{trial.policy} {trial.loss:.3f} ({trial.figure.describe(trial.value)})" for trial in trials)
    reason = (
        f"{examples}; loss on {len(head.losses):,} held out: {shown}. "
        f"The head's loss is lower by {lead:.2g} standard errors; it is chosen at more than {bound:g}."
    )
    return Choice(policy, reason, tuple(trials), estimates, budget_seconds)
