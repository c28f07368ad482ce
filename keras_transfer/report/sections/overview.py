"""What was trained on what."""

from typing import Any

from keras_transfer.report.content import Content
from keras_transfer.report.html import Section, render
from keras_transfer.run.run import Run

_MOST_NAMES = 12


def overview(content: Content) -> Section:
    """Return task, data, network, policy and what each phase trained."""
    run = content.run
    splits = run.record["splits"]
    body = render(
        "overview.html",
        task=run.config.task.replace("_", " "),
        headline=run.target.headline(),
        names=run.target.names[:_MOST_NAMES] if _has_names(content) else (),
        more_names=max(len(run.target.names) - _MOST_NAMES, 0),
        source=run.config.data.source,
        shown=content.source,
        rows={name: split["count"] for name, split in splits.items()},
        backbone=run.config.backbone.name,
        weights=run.config.backbone.weights,
        policy=run.config.policy.name,
        phases=run.phases,
        runs=len(content.runs),
        notes=_notes(run),
    )
    return Section("overview", "What was trained", body)


def _has_names(content: Content) -> bool:
    """Whether the outputs have names: those of pre-training and the tokens of transcripts have none."""
    predicts = content.rows is not None or content.run.task.refusal(content.run) is None
    return predicts and content.head.prediction_width is not None


def _notes(run: Run) -> list[str]:
    """The lines on how the data was read."""
    notes: Any = run.record.get("notes")
    return [note for note in notes if isinstance(note, str)][:20] if isinstance(notes, list) else []
