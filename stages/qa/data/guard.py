"""Whether the gold answers survive the way through windows and tokens, before anything is trained or answered."""

from collections.abc import Sequence
from pathlib import Path
from unicodedata import normalize

import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from stages.qa.data.splits import evenly_spread
from stages.qa.data.squad import Example
from stages.qa.data.strict_json import shown
from stages.qa.data.text import normalise
from stages.qa.data.windows import IGNORED, Windows, question_rows
from stages.qa.errors import InputError

COMPARED = 200  # questions on whose contexts the tokenizer is compared with its file


def check_gold(
    examples: Sequence[Example],
    windows: Windows,
    tokenizer: PreTrainedTokenizerFast,
    *,
    file: Path,
    least: float,
    doc_stride: int,
) -> dict[str, int]:
    """How many questions of `file` have a gold answer, and of how many it comes back from the tokens of its windows.

    The text of a window's target must be a gold answer, after the official normalisation. An answer of more tokens than
    two windows share may lie in none of them whole; then the question does not count. InputError, with three examples,
    if less than the share `least` comes back, or if the tokens are not those of the tokenizer's own file.
    """
    own_file = Path(tokenizer.name_or_path, "tokenizer.json")
    letters: set[str] = set()
    if own_file.is_file():
        some = [examples[number].context for number in evenly_spread(len(examples), COMPARED)]
        if fault := difference(tokenizer.backend_tokenizer, Tokenizer.from_file(str(own_file)), some):
            raise InputError(f"{own_file}: this is not the tokenizer in use: {fault}")
    else:  # the vocabulary alone says whether capitals and accents count
        letters = {letter for piece in plain_pieces(tokenizer) for letter in piece if letter.isalpha()}
    count, lost = 0, []
    for example, rows in zip(examples, question_rows(windows, len(examples)), strict=True):
        if not example.answers:
            continue
        targets = windows.targets[rows, 0]
        holding = np.flatnonzero((targets != IGNORED) & (targets != windows.null[rows]))
        if len(targets) > 1 and not len(holding):
            room = windows.context[rows.start, 1] - windows.context[rows.start, 0]
            alone = tokenizer.backend_tokenizer.encode(example.answers[0].text, add_special_tokens=False)
            if len(alone.ids) > room - doc_stride:
                continue
        count += 1
        text = _target_text(example, windows, rows.start + int(holding[0]), tokenizer, letters) if len(holding) else ""
        if normalise(text) not in {normalise(answer.text) for answer in example.answers}:
            lost.append(f"{example.id}: {shown(example.answers[0].text)} became {shown(text)}")
    if len(lost) > (1 - least) * count:
        raise InputError(
            f"{file}: {len(lost)} of {count} gold answers do not come back from the tokens of {tokenizer.name_or_path} "
            f"(guard in method.yaml: {least:g}): {'; '.join(lost[:3])}. Do the tokenizer's offsets, case and accents "
            "fit this text, and do its answers begin and end with words?"
        )
    return {"questions": count, "came_back": count - len(lost)}


def _target_text(
    example: Example, windows: Windows, row: int, tokenizer: PreTrainedTokenizerFast, letters: set[str]
) -> str:
    """The characters of a window's target, without those of `letters` that its tokens do not spell."""
    first, last = (windows.starts[row] + windows.targets[row]).tolist()
    text = example.context[windows.offsets[first, 0] : windows.offsets[last, 1]]
    if not letters or tokenizer.unk_token_id in windows.input_ids[first : last + 1]:
        return text
    spelt = set(normalize("NFKD", str(tokenizer.decode(windows.input_ids[first : last + 1].tolist()))))
    return "".join(letter for letter in text if letter not in letters or spelt.issuperset(normalize("NFKD", letter)))


def plain_pieces(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """The vocabulary without special and unused tokens."""
    special = set(tokenizer.all_special_tokens)
    return sorted(piece for piece in tokenizer.get_vocab() if piece not in special and "unused" not in piece)


def difference(tokenizer: Tokenizer, other: Tokenizer, texts: Sequence[str]) -> str:
    """How two tokenizers take a word of the first text that they take differently; "" if they agree on all."""
    for one in tokenizer, other:
        one.no_truncation()
        one.no_padding()
        one.encode_special_tokens = True
    for text in dict.fromkeys(texts):
        if _tokens(tokenizer, text) != _tokens(other, text):
            words = (word for word in text.split() if _tokens(tokenizer, word) != _tokens(other, word))
            word = next(words, text)
            return f"{shown(word)} is {_tokens(tokenizer, word)[:5]} in one, {_tokens(other, word)[:5]} in the other"
    return ""


def _tokens(tokenizer: Tokenizer, text: str) -> list[tuple[int, str, tuple[int, int]]]:
    """Id, piece and characters of each token."""
    encoding = tokenizer.encode(text, add_special_tokens=False)
    return list(zip(encoding.ids, encoding.tokens, encoding.offsets, strict=True))
