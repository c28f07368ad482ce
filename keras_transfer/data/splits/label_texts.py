"""Names of classes and labels as texts: one example of each class that needs no labelling."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from keras_transfer.data.examples.texts import Texts
from keras_transfer.data.splits.splits import Split
from keras_transfer.errors import ConfigError

# As in SetFit's get_templated_dataset.
_TEMPLATE = "This sentence is {}"


def write_label_texts(names: Sequence[str], texts: Literal["names"] | Mapping[str, str]) -> Split:
    """Return a text for each name, with the name's index as its target.

    Args:
        names: The names of the classes or labels; ``_`` and ``-`` in them are read as spaces.
        texts: Texts for some of them. The text of the others, and of all for ``names``, is ``This sentence is NAME``.

    Returns:
        A split with targets ``int64[names]``, from 0 on.

    Raises:
        ConfigError: A text is blank, or its name is unknown.
    """
    given = {} if texts == "names" else texts
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ConfigError(
            f"head.label_texts has names that are not in the training data: {', '.join(unknown)}. "
            f"Use {', '.join(names)}."
        )
    blank = [name for name, text in given.items() if not text.strip()]
    if blank:
        raise ConfigError(
            f"head.label_texts is blank for {', '.join(blank)}. Describe such a text, or remove the name."
        )
    written = [given.get(name) or _TEMPLATE.format(name.replace("_", " ").replace("-", " ")) for name in names]
    examples = Texts(tuple(written), tuple((text,) for text in written))
    return Split("labels", examples, np.arange(len(names)), np.ones(len(names), np.float32))
