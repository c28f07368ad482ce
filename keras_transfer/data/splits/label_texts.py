"""What classes and labels are called, as texts: an example of each that nobody had to label."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from keras_transfer.data.examples.texts import Texts
from keras_transfer.data.splits.splits import Split
from keras_transfer.errors import ConfigError

# As in SetFit's get_templated_dataset.
_TEMPLATE = "This sentence is {}"


def write_label_texts(names: Sequence[str], texts: Literal["names"] | Mapping[str, str]) -> Split:
    """Return a text for each name, told as that name's number.

    Args:
        names: Of the classes or labels; ``_`` and ``-`` in them count as blanks.
        texts: What to say of some of them; of the others, and for ``names`` of all, it is ``This sentence is NAME``.

    Returns:
        A split with ``int64[names]``, from 0 on, for targets.

    Raises:
        ConfigError: A text is blank, or for a name that there is not.
    """
    given = {} if texts == "names" else texts
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ConfigError(
            f"head.label_texts has names that the training data lacks: {', '.join(unknown)}. Use {', '.join(names)}."
        )
    blank = [name for name, text in given.items() if not text.strip()]
    if blank:
        raise ConfigError(
            f"head.label_texts is blank for {', '.join(blank)}. Say what such a text is about, or leave the name out."
        )
    said = [given.get(name) or _TEMPLATE.format(name.replace("_", " ").replace("-", " ")) for name in names]
    examples = Texts(tuple(said), tuple((text,) for text in said))
    return Split("labels", examples, np.arange(len(names)), np.ones(len(names), np.float32))
