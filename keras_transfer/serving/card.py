"""The model's card: facts on a model for the page and for programs. It contains no path of this machine."""

from pathlib import PurePath
from typing import Any

from keras_transfer import __version__
from keras_transfer.report.html import exact
from keras_transfer.report.sections.header import describe_report
from keras_transfer.run.run import Run
from keras_transfer.serving.choose import Chosen
from keras_transfer.serving.limits import Limits
from keras_transfer.serving.model import ServedModel

_MOST_NAMES = 1000
_ORDER = ("test", "validation")


def make_card(name: str, chosen: Chosen, model: ServedModel, limits: Limits) -> dict[str, Any]:
    """Describe a model."""
    opened = chosen.opened
    names = opened.target.names
    return {
        "name": name,
        "version": chosen.version,
        "format": chosen.format,
        "task": opened.config.task,
        "target": opened.target.headline(),
        "takes": "files" if model.takes_files else "texts",
        "preprocessing": opened.reader.preprocessing,
        "inputs": list(model.raw_names),
        "outputs": list(names[:_MOST_NAMES]),
        "output_count": len(names),
        "predictions": opened.head.predictions_output,
        "abstains": getattr(opened.head, "coverage", None) is not None,
        "explains": isinstance(opened, Run) and opened.task.explains,
        "report": _describe_report(chosen.run) if chosen.run is not None else None,
        "facts": _describe_training(chosen),
        "limits": {
            "body_bytes": limits.body_bytes,
            "request_inputs": limits.request_inputs,
            "text_characters": limits.text_characters,
        },
        "keras_transfer": __version__,
    }


def _describe_report(run: Run) -> dict[str, Any] | None:
    """The result on test rows, or on validation rows if there are none."""
    reports = run.reports
    report = next((reports[name] for name in _ORDER if name in reports), None)
    if report is None:
        return None
    headline = describe_report(report)
    further = {name: _show(value, spec) for name, (value, spec) in headline.further.items()}
    interval = [_show(end, headline.spec) for end in headline.interval] if headline.interval else None
    return {
        "split": report.split,
        "rows": report.n,
        "name": headline.name,
        "value": _show(headline.value, headline.spec),
        "interval": interval,
        "further": further,
    }


def _show(value: float | None, spec: str) -> str:
    return str(exact(value, spec).striptags())


def _describe_training(chosen: Chosen) -> dict[str, str]:
    """The training of a model, in words; names of sources without their folders."""
    config, run = chosen.opened.config, chosen.run
    facts = {"Backbone": PurePath(str(config.backbone.name)).name}
    if run is not None:
        facts["Data"] = PurePath(str(run.config.data.source)).name
        rows = run.record["splits"].get("train", {}).get("count")
        facts |= {"Training rows": f"{rows:,}"} if isinstance(rows, int) else {}
    return facts
