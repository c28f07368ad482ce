"""WordPiece tokenizers of KerasHub as ``tokenizer.json``, which the package ``tokenizers`` reads from any language."""

from typing import Any

import keras_hub

# As in keras_hub.src.tokenizers.word_piece_tokenizer for TensorFlow, where \s is ASCII's.
_SPACE = r"[\t\n\f\r ]|\p{Cc}|\p{Cf}"
_CHINESE = (
    r"[\x{4E00}-\x{9FFF}]|[\x{3400}-\x{4DBF}]|[\x{20000}-\x{2A6DF}]|[\x{2A700}-\x{2B73F}]|[\x{2B740}-\x{2B81F}]"
    r"|[\x{2B820}-\x{2CEAF}]|[\x{F900}-\x{FAFF}]|[\x{2F800}-\x{2FA1F}]"
)
_ALONE = rf"[!-/]|[:-@]|[\[-`]|[{{-~]|\p{{P}}|{_CHINESE}"
# What Unicode's NFKC_Casefold removes, and lower-casing does not.
_IGNORED = (
    r"[\x{34F}\x{115F}\x{1160}\x{17B4}\x{17B5}\x{180B}-\x{180F}\x{2065}\x{FE00}-\x{FE0F}\x{FFF0}-\x{FFF8}"
    r"\x{E0000}-\x{E0FFF}]"
)
# Private-use characters, which no vocabulary contains: between words, and in place of the same character in a text.
_BETWEEN, _PRIVATE = "\ue000", "\ue001"
# TensorFlow Text treats a longer word as unknown.
_MOST_BYTES = 100
_LAST_CHARACTER = 0x10FFFF


def write_word_piece(tokenizer: Any, letters: dict[int, str]) -> str | None:
    """Write a tokenizer of BERT's kind, with the special tokens around one text or two.

    Words are matched byte by byte, so that their length is limited in bytes, as in TensorFlow Text: a token that is not
    ASCII is written in the letters of byte-level tokenizers.

    Args:
        letters: How byte-level tokenizers write each byte.

    Returns:
        The content of ``tokenizer.json``; None for a tokenizer of another kind, which splits words in another way.
    """
    kinds = ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer")
    if type(tokenizer) not in [getattr(keras_hub.tokenizers, kind) for kind in kinds]:
        return None
    if not (tokenizer.split and tokenizer.split_on_cjk) or tokenizer.special_tokens_in_strings:
        return None
    from tokenizers import Tokenizer, models, processors

    words = [str(word) for word in tokenizer.get_vocabulary()]
    ids = {"".join(letters[byte] for byte in word.encode()): number for number, word in enumerate(words)}
    model = models.WordPiece(
        vocab=ids,
        unk_token=tokenizer.oov_token,
        continuing_subword_prefix=tokenizer.suffix_indicator,
        max_input_chars_per_word=_MOST_BYTES,
    )
    written = Tokenizer(model)
    written.normalizer = _normalizer(tokenizer, alphabet=set("".join(words)))
    written.pre_tokenizer = _pre_tokenizer()
    start, end = words[tokenizer.cls_token_id], words[tokenizer.sep_token_id]
    written.post_processor = processors.TemplateProcessing(
        single=f"{start}:0 $A:0 {end}:0",
        pair=f"{start}:0 $A:0 {end}:0 $B:1 {end}:1",
        special_tokens=[(start, tokenizer.cls_token_id), (end, tokenizer.sep_token_id)],
    )
    return str(written.to_str())


def _normalizer(tokenizer: Any, alphabet: set[str]) -> Any:
    """Splits words and folds them: KerasHub splits first, and a word that folds to several is still one."""
    from tokenizers import Regex, normalizers

    def isolate(pattern: str) -> Any:
        return normalizers.Replace(Regex(f"(?={pattern})|(?<={pattern})"), _BETWEEN)

    # tokenizers 0.23 fails in NFKC if something was inserted before the first character: one is prepended.
    steps = [normalizers.Replace(_BETWEEN, _PRIVATE), normalizers.Prepend(_BETWEEN), isolate(_CHINESE)]
    if tokenizer.strip_accents:
        steps += [normalizers.NFD(), normalizers.Replace(Regex(r"\p{Mn}"), "")]
    steps += [normalizers.Replace(Regex(_SPACE), _BETWEEN), isolate(_ALONE)]
    if tokenizer.lowercase:
        steps += [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(_IGNORED), "")]
        steps += [normalizers.Replace(one, folded) for one, folded in _foldings(alphabet).items()]
    return normalizers.Sequence(steps)


def _foldings(alphabet: set[str]) -> dict[str, str]:
    """Lower-case characters that case folding changes, such as the German sharp s, if a vocabulary can have them."""
    characters = (chr(number) for number in range(_LAST_CHARACTER + 1))
    folded = {one: one.casefold() for one in characters if one == one.lower() != one.casefold()}
    return {one: other for one, other in folded.items() if one in alphabet or alphabet & set(other)}


def _pre_tokenizer() -> Any:
    from tokenizers import pre_tokenizers

    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(_BETWEEN, "removed"), letters])
