"""Which characters of a text a token stands for, and the official script's normalisation of answers."""

import re
import string
import unicodedata
from functools import lru_cache

import numpy as np

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@lru_cache(maxsize=2**18)
def normalise(text: str) -> str:
    """Lower case, without ASCII punctuation, then without the words a, an and the, and with single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def without_accents(text: str) -> str:
    """`text` without the marks that it is composed of."""
    parts = (character for character in unicodedata.normalize("NFD", text) if not unicodedata.combining(character))
    return unicodedata.normalize("NFC", "".join(parts))


def covering(text: str, offsets: np.ndarray) -> np.ndarray:
    """`offsets` (tokens, 2) of a text, widened so that every mark and letter at the edge of a token belongs to it.

    Tokenizers leave characters out of all offsets: accents, vowel signs and joiners that their normaliser drops, or the
    first letter of each word (byte-level vocabularies behind a Whitespace pre-tokenizer). Between two tokens, what
    continues a character (a mark, a joiner) goes to the token before it. Letters and digits go to the token that they
    touch, to the one after them first. Spaces and punctuation stay outside.
    """
    covered = np.zeros(len(text) + 1, np.int64)
    np.add.at(covered, offsets[:, 0], 1)
    np.add.at(covered, offsets[:, 1], -1)
    outside = np.flatnonzero(covered.cumsum()[:-1] == 0)
    if not any(map(_in_word, {text[place] for place in outside.tolist()})):
        return offsets
    wide = offsets.copy()
    done, before = 0, -1  # the characters up to `done` belong to tokens, the last of them to the token `before`
    for token, (first, end) in enumerate([*offsets.tolist(), (len(text), len(text))]):
        if first > done:
            left, right = done, first
            if before >= 0:
                while left < first and _continues(text[left]):
                    left += 1
            if token < len(wide):
                while right > left and _in_word(text[right - 1]):
                    right -= 1
                wide[token, 0] = right
            if before >= 0:
                while left < right and _in_word(text[left]):
                    left += 1
                wide[before, 1] = left
        if end >= done:
            done, before = end, token
    return wide


def _continues(character: str) -> bool:
    """Whether it belongs to the character before it: a mark, a joiner, a skin tone, a tag of a flag."""
    is_joiner = character in "\u200c\u200d" or "\U0001f3fb" <= character <= "\U0001f3ff"
    return is_joiner or "\U000e0020" <= character <= "\U000e007f" or unicodedata.category(character)[0] == "M"


def _in_word(character: str) -> bool:
    return character.isalnum() or _continues(character)
