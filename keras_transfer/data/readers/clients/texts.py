"""Texts as the model takes them: the tokens of tokenizer.json. Needs NumPy and tokenizers."""

import numpy as np
from tokenizers import Tokenizer

COLUMNS = {"token_ids": "ids", "segment_ids": "type_ids", "padding_mask": "attention_mask"}


def from_argument(argument):
    """Return a text, or a pair of texts separated by a tab."""
    return tuple(argument.split("\t"))


def load(folder, description):
    """Return a function from a text, or a tuple of texts, to the model's tensors."""
    rule, names = description["preprocessing"], [x["name"] for x in description["inputs"]]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    room = rule["length"] - tokenizer.num_special_tokens_to_add(rule["texts"] == 2)

    def read(texts):
        texts = [texts] if isinstance(texts, (str, bytes)) else list(texts)
        texts = [text.decode() if isinstance(text, bytes) else text.encode().decode() for text in texts]
        if len(texts) != rule["texts"]:
            raise ValueError(f"{len(texts)} texts; expected {rule['texts']}")
        parts = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
        first, second = len(parts[0]), sum(map(len, parts[1:]))
        kept = min(first, max(room - second, (room + 1) // 2 if len(parts) == 2 else room))
        for part, most in zip(parts, (kept, room - kept), strict=False):  # pairs are cut in turns
            part.truncate(most)
        encoded = tokenizer.post_process(*parts)
        missing = 0 if rule["pads_to_longest"] else rule["length"] - len(encoded)
        return {
            name: np.pad(np.array(getattr(encoded, COLUMNS[name]), np.int32), (0, missing), constant_values=fill)
            for name, fill in ((name, rule["padding"][name]) for name in names)
        }

    return read
