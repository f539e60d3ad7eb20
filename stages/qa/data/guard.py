"""Whether the gold answers survive the way through windows and tokens, before anything is trained or answered."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerFast

from stages.qa.data.squad import Example
from stages.qa.data.strict_json import shown
from stages.qa.data.text import normalise
from stages.qa.data.windows import IGNORED, Windows, question_rows
from stages.qa.errors import InputError


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
    if less than the share `least` comes back.
    """
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
        text = ""
        if len(holding):
            row = rows.start + holding[0]
            first, last = windows.starts[row] + windows.targets[row]
            text = example.context[windows.offsets[first, 0] : windows.offsets[last, 1]]
        if normalise(text) not in {normalise(answer.text) for answer in example.answers}:
            lost.append(f"{example.id}: {shown(example.answers[0].text)} became {shown(text)}")
    if len(lost) > (1 - least) * count:
        raise InputError(
            f"{file}: {len(lost)} of {count} gold answers do not come back from the tokens of {tokenizer.name_or_path} "
            f"(guard in method.yaml: {least:g}): {'; '.join(lost[:3])}. Do the tokenizer's offsets, case and accents "
            "fit this text, and do its answers begin and end with words?"
        )
    return {"questions": count, "came_back": count - len(lost)}
