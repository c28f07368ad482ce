"""By what the run can be repeated: recipe, versions, time and size."""

from typing import Any

from keras_transfer.errors import CheckpointError
from keras_transfer.report.content import Content, is_number
from keras_transfer.report.html import Section, render
from keras_transfer.report.sections.training import read_history
from keras_transfer.run.folder import CHOICE, ENVIRONMENT, MODEL, RECIPE, read_json
from keras_transfer.run.run import Run

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
