"""What the docstrings of the package have, and mkdocstrings would not show as it is meant."""

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod|obj):(?=`)")
_EXAMPLE = re.compile(r"^( *)Example:$", re.M)


class Docstrings(griffe.Extension):
    """Leaves out the roles of reStructuredText; ``Example:`` is a section of code, and no admonition."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of a module, a class, a function or an attribute."""
        if obj.docstring:
            obj.docstring.value = _EXAMPLE.sub(r"\1Examples:", ROLE.sub("", obj.docstring.value))
