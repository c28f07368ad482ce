"""What was trained on which data, the runs of a cross-validation, and how to repeat a run."""

from typing import Any

from keras_transfer.errors import CheckpointError
from keras_transfer.report.content import Content, is_number
from keras_transfer.report.html import Section, render
from keras_transfer.report.sections.training import read_history
from keras_transfer.run.folder import CHOICE, ENVIRONMENT, MODEL, RECIPE, read_json
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


_LONGEST_RECIPE = 20_000


def details(content: Content) -> Section:
    """Return recipe, versions and devices, how long the run took, and how large its model is."""
    run = content.run
    environment = _read(run, ENVIRONMENT)
    versions = environment.get("versions")
    recipe = (run.folder / RECIPE).read_text(encoding="utf-8", errors="replace")
    body = render(
        "details.html",
        facts={
            "time of the epochs": _seconds(run),
            "model": f"{(run.folder / MODEL).stat().st_size / 1e6:,.1f} MB",
            "parameters": f"{run.phases[0].total:,}" if run.phases else None,
            "seed": environment.get("seed"),
            "devices": _join(environment.get("devices")),
            "CPU cores": environment.get("cpu_count"),
            "backend": environment.get("backend"),
            "platform": environment.get("platform"),
            "Python": environment.get("python"),
            **(versions if isinstance(versions, dict) else {}),
        },
        recipe=recipe[:_LONGEST_RECIPE],
        is_cut=len(recipe) > _LONGEST_RECIPE,
    )
    return Section("details", "Recipe and environment", body)


def _read(run: Run, name: str) -> dict[str, Any]:
    try:
        return read_json(run.folder / name)
    except CheckpointError:
        return {}


def _seconds(run: Run) -> str | None:
    whole = _read(run, CHOICE).get("seconds")
    seconds = (
        whole
        if is_number(whole)
        else sum(line["seconds"] for line in read_history(run) if is_number(line.get("seconds")))
    )
    if not seconds or seconds < 0:
        return None
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.3g} s"


def _join(values: Any) -> str | None:
    if not isinstance(values, list):
        return None
    return ", ".join(str(value).rsplit("/", 1)[-1].removeprefix("physical_device:") for value in values[:20])


def runs(content: Content) -> Section | None:
    """Return each figure of each run, with mean and standard deviation, as summary.json has them."""
    if content.summary is None:
        return None
    names = [run.folder.name for run in content.runs]
    body = render("runs.html", names=names, figures=content.summary["test"])
    return Section("runs", "Runs", body)
