"""What fine-tuning moved: the layers of one encoder against those of another, on the same questions."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from stages.qa.checks.frames import similarity_frame, transfer_frame
from stages.qa.checks.judging import Judge, show
from stages.qa.checks.similarity import TokenSample, cka_matrix
from stages.qa.checks.transfer import transfer_scorer
from stages.qa.data.squad import Example
from stages.qa.data.windows import make_windows
from stages.qa.encoding.encoder import Encoder
from stages.qa.probing_sections import Examine


def compare(
    encoder: Encoder,
    base: Encoder,
    weights: np.ndarray,
    examples: Sequence[Example],
    *,
    other: str,
    window_settings: dict[str, int],
    settings: Examine,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """CKA of the layers of `encoder` with those of `base`, and the probes of `base` read on the layers of `encoder`.

    weights (probes, hidden, 2) are the probes of `base`, which the frames call `other`. InputError if the encoders do
    not cut the questions into the same tokens, or if the probes are of another width.
    """
    windows = make_windows(examples, encoder.tokenizer, **window_settings)
    scorer = transfer_scorer(weights, encoder)
    judge = Judge(scorer, examples, windows, settings.max_answer_tokens)
    tokens = TokenSample(windows, settings.cka_tokens)
    show(encoder, windows, [judge, tokens])
    base_windows = make_windows(examples, base.tokenizer, **window_settings)
    base_tokens = TokenSample(base_windows, settings.cka_tokens)
    show(base, base_windows, [base_tokens])
    states = tokens.states()
    cka = cka_matrix(states, base_tokens.states())
    similarity = similarity_frame(cka, other=other, tokens=states.shape[1])
    return similarity, transfer_frame(judge.judged(), len(weights), other=other)
