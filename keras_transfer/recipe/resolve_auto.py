"""What a recipe leaves open with ``auto``, settled for a job."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from keras_transfer.job.auto_policy import choose_policy
from keras_transfer.job.job import Job
from keras_transfer.job.policy_choice import Choice
from keras_transfer.report import print_plan
from keras_transfer.run import folder as folders
from keras_transfer.training.phase import summarize


def settle_policy(job: Job, console: Console | None) -> tuple[Job, Choice | None]:
    """Put a policy in the place of ``auto``."""
    if job.config.policy.name != "auto":
        return job, None
    job, choice = choose_policy(job)
    summaries = summarize(job.model, job.phases)
    if console:
        console.print(str(choice), highlight=False, soft_wrap=True)
        print_plan(summaries, len(job.model.backbone.stages), console)
    return job, choice


def tell_truth(folder: Path, choice: Mapping[str, Any], seconds: float, console: Console | None) -> None:
    """Record what was chosen, and how long it took beside what had been estimated."""
    folders.write_json(folder / folders.CHOICE, {**choice, "seconds": seconds})
    if console:
        estimate = choice["estimated_seconds"][choice["policy"]]
        console.print(f"Time: {seconds:.0f} s; about {estimate:.0f} s had been estimated", highlight=False)


def settle_learning_rate(job: Job, console: Console | None) -> Job:
    """Put a number in the place of ``auto``, unless every phase is solved and nobody will ask for it."""
    if job.config.training.learning_rate != "auto" or all(phase.solve for phase in job.phases):
        return job
    found = job.find_learning_rate()
    if console:
        console.print(str(found), highlight=False, soft_wrap=True)
    return job.with_learning_rate(found.learning_rate)
