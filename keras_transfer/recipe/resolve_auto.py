"""The parts of a recipe that say ``auto``, resolved for a job."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from keras_transfer.job.auto_policy import choose_policy
from keras_transfer.job.job import Job
from keras_transfer.job.policy_choice import Choice
from keras_transfer.report.terminal import print_plan
from keras_transfer.training.phase import summarize


def resolve_policy(job: Job, console: Console | None) -> tuple[Job, Choice | None]:
    """Replace ``policy: auto`` by the policy that suits the data and the budget."""
    if job.config.policy.name != "auto":
        return job, None
    job, choice = choose_policy(job)
    summaries = summarize(job.model, job.phases)
    if console:
        console.print(str(choice), highlight=False, soft_wrap=True)
        print_plan(summaries, len(job.model.backbone.stages), console)
    return job, choice


def resolve_learning_rate(job: Job, console: Console | None) -> Job:
    """Replace ``learning_rate: auto`` by a number, unless every phase is solved and needs none."""
    if job.config.training.learning_rate != "auto" or all(phase.solve for phase in job.phases):
        return job
    found = job.find_learning_rate()
    if console:
        console.print(str(found), highlight=False, soft_wrap=True)
    return job.with_learning_rate(found.learning_rate)


def print_time(choice: Mapping[str, Any], seconds: float, console: Console | None) -> None:
    """Print how long a run took whose time was estimated."""
    if console:
        estimate = choice["estimated_seconds"][choice["policy"]]
        console.print(f"Time: {seconds:.0f} s (estimated: about {estimate:.0f} s)", highlight=False)
