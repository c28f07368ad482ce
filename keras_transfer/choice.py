"""What ``policy: auto`` stands for: head, last_stages or lp_ft, by cross-validation on kept features and by time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_transfer.config import TrainingConfig
from keras_transfer.data.targets.base import Targets
from keras_transfer.errors import PolicyError
from keras_transfer.evaluation import Figure, Floats, predict
from keras_transfer.heads import TargetHead
from keras_transfer.model import TransferModel
from keras_transfer.training.phase import Inputs, compile_phase, restored
from keras_transfer.training.policies import Phase

# A step of training takes as long as so many forward passes; 4.0 were measured on a CPU (benchmarks/batch_norm.py).
_STEP = 4.0
# Rows an epoch that cross-validation learns from, at most: where there are many, fewer folds tell as much.
_MOST_ROWS = 2000

# By how many standard errors the head's held-out loss must be lower for it to be left alone, by what there is time for.
# What is tried, last_stages, looks worse than lp_ft is: it starts without a solved head, and few rows make a network
# sure of itself, which costs loss before it costs accuracy. On solar cells, 5 to 50 a class, draws 100 and 101 of
# benchmarks/few_labels.py, heads that led by 1.2 to 2.5 reached 0.8 to 4.8 points less than lp_ft (means of two). For
# last_stages itself one will do: it is compared as it is.
_CLEAR_LEADS = {"last_stages": 1.0, "lp_ft": 3.0}

# One row that is wrong for sure must not outweigh all others: that of a probability of 1e-7, or four deviations.
_MOST_LOSS = -np.log(1e-7)


@dataclass(frozen=True)
class Speed:
    """How long this machine takes.

    Attributes:
        reading: Seconds a picture from its file to pixels.
        network: Seconds a picture through the whole network.
        frozen: Seconds a picture through the stages that ``last_stages`` leaves frozen, a part of that.
        tuned: The same for ``lp_ft``; 0 where it trains all of them.
        start: Seconds until the network, run for the first time, is ready.
    """

    reading: float
    network: float
    frozen: float
    tuned: float
    start: float


@dataclass(frozen=True)
class Work:
    """How often examples are looked at.

    Attributes:
        rows: Training examples, an epoch.
        validated: Validation examples, an epoch.
        judged: Pictures of the final report, each flip counted.
        epochs: The recipe's training.epochs.
        views: How many are kept of each training picture where stages are frozen.
    """

    rows: int
    validated: int
    judged: int
    epochs: int
    views: int


def count_folds(rows: int, folds: int) -> int:
    """Return how many folds of cross-validation are worth their time: at least one, where there are any.

    Args:
        rows: Of training.
        folds: How many there are.
    """
    learned = rows * (folds - 1) / max(folds, 1)
    return min(folds, max(1, int(_MOST_ROWS // max(learned, 1.0))))


def estimate_seconds(work: Work, speed: Speed, folds: int) -> dict[str, float]:
    """Estimate how long each candidate takes, together with what has to be done before it can be chosen.

    Args:
        work: What there is to do.
        speed: How fast it is done.
        folds: How many of cross-validation there will be.

    Returns:
        Seconds by policy, each more than the one before.
    """
    reading, network = speed.reading, speed.network

    def train(frozen: float) -> tuple[float, float]:
        """Of a phase with such stages: what tracing its graph takes, and what its steps take."""
        trained = network - frozen
        steps = work.epochs * (_STEP * work.rows + work.validated)
        return _STEP * speed.start * trained / network, steps * trained

    head = speed.start + (work.rows + work.validated + work.judged) * (reading + network)
    features = work.views * work.rows * (reading + speed.frozen)
    # A graph is traced once for all folds, and once more for the phase itself.
    tracing, part = train(speed.frozen)
    tried = head + features + (tracing + folds * part if folds else 0.0)
    # What is not kept is read anew in every epoch.
    again = 0.0 if speed.tuned else work.epochs * (work.rows + work.validated) * reading
    lp_ft = sum(train(speed.tuned)) + again + work.judged * (reading + network)
    return {"head": head, "last_stages": tried + tracing + part, "lp_ft": tried + lp_ft}


def describe_estimates(estimates: Mapping[str, float]) -> str:
    """Return seconds by policy, for people."""
    return ", ".join(f"{name} {seconds:.0f} s" for name, seconds in estimates.items())


def find_affordable(estimates: Mapping[str, float], budget_seconds: float | None) -> list[str]:
    """Return the candidates that a budget has room for, the least work first.

    Args:
        estimates: Seconds by policy.
        budget_seconds: None for no limit.

    Raises:
        PolicyError: There is no room for any.
    """
    found = [name for name, seconds in estimates.items() if budget_seconds is None or seconds <= budget_seconds]
    if not found:
        least = min(estimates.values())
        raise PolicyError(
            f"policy.budget_seconds must allow for one pass over the examples, about {least:.0f} s on this machine. "
            f"Received: {budget_seconds:g}. Use {1.2 * least:.0f} or more, or fewer or smaller examples."
        )
    return found


@dataclass(frozen=True)
class Trial:
    """How a candidate did on rows that were held out.

    Attributes:
        policy: Its name.
        losses: ``float64[rows]``, each row's.
        figure: What models of this kind are compared by.
        value: Of that.
    """

    policy: str
    losses: NDArray[np.float64]
    figure: Figure
    value: float

    @property
    def loss(self) -> float:
        """The mean."""
        return float(self.losses.mean())

    def lead(self, other: "Trial") -> float:
        """Return by how many standard errors of the paired difference the loss is lower than another's."""
        differences = other.losses - self.losses
        error = differences.std() / np.sqrt(len(differences))
        return float(differences.mean() / max(error, np.finfo(float).tiny))


def try_on(policy: str, head: TargetHead, predicted: Floats, targets: Targets) -> Trial:
    """Judge held-out predictions.

    Args:
        policy: Whose they are.
        head: Says how.
        predicted: ``[rows, outputs]``; where training spoilt the weights, they are no numbers.
        targets: Of the rows.
    """
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
    """Train a phase once a fold, each time from the same start, and predict the rows that were held out.

    Args:
        model: Afterwards its weights and random states are bit for bit what they were.
        phase: Says what trains.
        folds: For each, what is trained, the same one every time, batches of a whole phase, and for validation those
            held out.
        config: How it is trained.
        steps: Of the phase.

    Returns:
        ``float32[n, outputs]`` predictions for the held-out rows of all folds, one fold after the other.
    """
    predicted, optimizer = [], None
    for inputs in folds:
        trainer = inputs.trainer
        # Compiled once: what TensorFlow traces is worth a dozen steps.
        if optimizer is None:
            optimizer = compile_phase(model, phase, config=config, trainer=trainer, steps=steps)
        with restored([*model.trainer.variables, *optimizer.variables]):
            trainer.fit(inputs.batches, shuffle=False, verbose=0)
            predicted.append(model.head.predictions(predict(trainer, inputs.validation)))
    return np.concatenate(predicted)


@dataclass(frozen=True)
class Choice:
    """What ``auto`` came to.

    Attributes:
        policy: head, last_stages or lp_ft.
        reason: Why.
        trials: What cross-validation found, for each candidate that it tried.
        estimates: Seconds by policy, the choice itself included.
        budget_seconds: What was allowed, or None.
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
        """Return what choice.json records."""
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
    """Choose among the candidates that there is time for.

    Args:
        trials: Of head and last_stages on the same held-out rows; empty where there were none.
        estimates: Seconds by policy.
        budget_seconds: None for no limit.
        examples: How many there are to learn from, in words.

    Returns:
        The head, where its loss is lower than that of ``last_stages`` by more than three standard errors, or by more
        than one where there is no time for ``lp_ft``. Else training stages pays, and the more of them the better. Where
        nothing could be held out or compared, ``last_stages``, the sturdiest. The bound of three was chosen on draws of
        benchmarks/few_labels.py that are not among its own.

    Raises:
        PolicyError: There is no time for any.
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
    shown = " and ".join(f"{trial.policy} {trial.loss:.3f} ({trial.figure.say(trial.value)})" for trial in trials)
    reason = (
        f"{examples}; loss on {len(head.losses):,} held out: {shown}. "
        f"The head's is lower by {lead:.2g} standard errors, and {bound:g} are asked for to leave it alone."
    )
    return Choice(policy, reason, tuple(trials), estimates, budget_seconds)
