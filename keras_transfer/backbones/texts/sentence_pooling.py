"""From tokens to one vector: what a recipe asks for, or what a network was made with.

Folders of sentence-transformers list what follows the network in ``modules.json``, and the pooling's settings in a
folder of its own (https://sbert.net/docs/package_reference/sentence_transformer/models.html).
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from keras_transfer.errors import BackboneError
from keras_transfer.registry import did_you_mean

Pooling = Literal["own", "mean", "first", "last", "masked"]
_CHOICES = ("auto", "own", "mean", "first", "last")

# Sentence-transformers' names of what can be done here.
_MODES: dict[Any, Pooling] = {"mean": "mean", "cls": "first", "lasttoken": "last"}
# How older versions write the same: a flag for each.
_FLAG = re.compile("pooling_mode_(.+?)(_tokens?)?")


@dataclass(frozen=True)
class SentencePooling:
    """How tokens become one vector.

    Attributes:
        kind: Which tokens count.
        normalizes: Whether vectors are scaled to one length.
    """

    kind: Pooling
    normalizes: bool = False


def check_pooling(pooling: str) -> None:
    """Refuse a pooling that does not exist.

    Args:
        pooling: The value of ``head.pooling``; ``masked`` in pre-training.

    Raises:
        BackboneError: There is no such pooling.
    """
    if pooling not in (*_CHOICES, "masked"):
        raise BackboneError(
            f"head.pooling must be one of {', '.join(_CHOICES)}. Received: {pooling!r}. "
            f"{did_you_mean(pooling, _CHOICES)}"
        )


def resolve_pooling(pooling: str, *, is_decoder: bool, folder: Path) -> SentencePooling:
    """Resolve ``head.pooling``.

    Args:
        pooling: ``auto``, ``own``, ``mean``, ``first``, ``last`` or ``masked``.
        is_decoder: Whether a token sees only those before it.
        folder: Where the network came from; it need not be there.

    Returns:
        Of ``auto``, what a folder of sentence-transformers names; else ``last`` for decoders, whose last token alone
        has seen the whole text, and ``mean`` for others.
    """
    if pooling != "auto":
        return SentencePooling(pooling)  # type: ignore[arg-type]
    return _read(folder) or SentencePooling("last" if is_decoder else "mean")


def _read(folder: Path) -> SentencePooling | None:
    """The pooling in ``modules.json``, if there is such a file and its pooling is supported."""
    modules = _load(folder / "modules.json")
    if not isinstance(modules, list):
        return None
    # Types are paths that have moved from version to version; what they end with has not.
    named = [module for module in modules if isinstance(module, dict)]
    folders = {str(module.get("type")).rpartition(".")[2]: str(module.get("path")) for module in named}
    config = _load(folder / folders.get("Pooling", "") / "config.json")
    if "Pooling" not in folders or not isinstance(config, dict):
        return None
    flags = [match[1] for key, value in config.items() if value is True and (match := _FLAG.fullmatch(key))]
    mode = config.get("pooling_mode", flags[0] if len(flags) == 1 else None)
    if not isinstance(mode, str) or mode not in _MODES:
        return None
    return SentencePooling(_MODES[mode], normalizes="Normalize" in folders)


def _load(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
