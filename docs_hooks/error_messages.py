"""Every error message with its remedy: by what it is about, then by module, from the code that raises it."""

import html
import itertools
import re
from collections.abc import Iterator

from generated import add_pages
from messages import Message, collect_messages, summarize
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files

import keras_transfer

# What packages are about; those that are not named come last.
SUBJECTS = {
    "Recipes and overrides": ("config", "recipe"),
    "Data": ("data", "audit"),
    "Backbones and weights": ("backbones", "networks"),
    "Training": ("training", "job", "frozen", "heads", "tasks", "trackers"),
    "Several devices and processes": ("distribution", "launch"),
    "Run folders and predictions": ("run", "report", "storage", "batch_prediction"),
    "Export and serving": ("export", "serving", "benchmark"),
    "The command line and the environment": ("cli", "console"),
    "Other": (),
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page."""
    add_pages({"reference/errors.md": "\n\n".join(_page()) + "\n"}, files, config)
    return files


def _page() -> Iterator[str]:
    messages = [one for one in collect_messages() if re.search(r"\w{3}", re.sub("‹.*?›", "", one.parts[0]))]
    yield "---\nhide: [toc]\n---"  # it would have a line for each module
    yield "# Error messages"
    yield (
        f"All {len(messages)} messages of errors, as the code has them. Search this page for a few words of yours that "
        "are not names, paths or numbers: *slanted* words stand for those. Below each message is what to do next. A "
        "message about several mistakes begins with the file or the recipe, and lists them."
    )
    yield (
        "On the command line an error ends with exit code 2, or [another one](../exit-codes.md). From Python, "
        "[`except keras_transfer.TransferError`](python/errors.md) catches all of them."
    )
    of_subject = {package: subject for subject, packages in SUBJECTS.items() for package in packages}
    groups = {
        subject: [one for one in messages if of_subject.get(one.package, "Other") == subject] for subject in SUBJECTS
    }
    groups = {subject: found for subject, found in groups.items() if found}
    yield "\n".join(f"- [{subject}](#{subject.lower().replace(' ', '-')})" for subject in groups)
    for subject, found in groups.items():
        yield f"## {subject}"
        for file, group in itertools.groupby(found, key=lambda one: one.file):
            yield f"### {summarize(file).rstrip('.')}"
            yield "<dl class='messages'>\n" + "\n".join(dict.fromkeys(map(_entry, group))) + "\n</dl>"


def _entry(message: Message) -> str:
    wrong, remedy = map(_mark_up, message.parts)
    kind = f"<a href='../python/errors/#keras_transfer.{message.error}'>{message.error}</a>"
    kind = kind if message.error in keras_transfer.__all__ else message.error
    return f"<dt>{kind}: {wrong}</dt>" + (f"<dd>{remedy}</dd>" if remedy else "")


def _mark_up(text: str) -> str:
    text = re.sub("‹(.*?)›", r"<em>\1</em>", html.escape(text, quote=False))
    return re.sub("`(.*?)`", r"<code>\1</code>", text)
