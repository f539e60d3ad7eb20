"""What is measured on a bounded sample of questions, to stay cheap: one encoder alone, and one beside another."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor

from stages.qa.checks.controls import TASK, control_rows, fit_position, shuffled_questions, without_questions
from stages.qa.checks.judging import Judge, linear_scorer, read_windows
from stages.qa.checks.similarity import TokenSample, cka_matrix, similarity_rows
from stages.qa.data.splits import evenly_spread
from stages.qa.data.squad import Example
from stages.qa.data.windows import Windows, make_windows
from stages.qa.encoding.encoder import Encoder
from stages.qa.encoding.features import Features
from stages.qa.probing.probes import train_probes
from stages.qa.readings import CONTROLS, SIMILARITY
from stages.qa.sections import Examine, Probe


@dataclass(frozen=True)
class Sample:
    """The sampled questions, and how they become windows."""

    train: list[Example]
    dev: list[Example]
    window_settings: dict[str, int]

    def windows(self, encoder: Encoder, examples: Sequence[Example]) -> Windows:
        """Windows of `examples` for the encoder."""
        return make_windows(examples, encoder.tokenizer, **self.window_settings)


def sampled(examples: Sequence[Example], count: int) -> list[Example]:
    """At most `count` of the questions, at even distances."""
    return [examples[i] for i in evenly_spread(len(examples), count)]


def no_tables() -> dict[str, pd.DataFrame]:
    """The tables of `examine` without rows, for a model without probes."""
    return {"controls": pd.DataFrame(columns=CONTROLS), "similarity": pd.DataFrame(columns=SIMILARITY)}


def examine(
    encoder: Encoder, sample: Sample, *, model: str, probe: Probe, settings: Examine
) -> dict[str, pd.DataFrame]:
    """Train the task and the controls on the sampled training questions; judge them on the sampled dev questions.

    Returns the tables "controls" and "similarity", which call the encoder `model`. The encoder runs three times over
    the sample: as it is, with questions shuffled, and without questions.
    """
    windows = sample.windows(encoder, sample.dev)
    tokens = TokenSample(windows, settings.cka_tokens)
    judges = _controls_of_same_states(encoder, sample, windows, probe=probe, settings=settings)
    read_windows(encoder, windows, [*judges.values(), tokens])
    judges |= _controls_of_other_inputs(encoder, sample, probe=probe, settings=settings)
    judged = {name: judge.judged() for name, judge in judges.items()}
    states = tokens.states()
    return {
        "controls": _six_digits(control_rows(model, judged, len(sample.train))),
        "similarity": _similarity(model, model, states, states),
    }


def compare(
    encoder: Encoder, base: Encoder, sample: Sample, *, model: str, other: str, settings: Examine
) -> pd.DataFrame:
    """The table "similarity": the layers of `encoder`, called `model`, against those of `base`, called `other`.

    On the sampled dev questions. InputError if the encoders do not cut the questions into the same tokens.
    """
    states = [_token_states(each, sample, settings) for each in (encoder, base)]
    return _similarity(model, other, *states)


def _token_states(encoder: Encoder, sample: Sample, settings: Examine) -> Tensor:
    """Hidden states (layers, tokens, hidden) of some tokens of the sampled dev questions."""
    windows = sample.windows(encoder, sample.dev)
    tokens = TokenSample(windows, settings.cka_tokens)
    read_windows(encoder, windows, [tokens])
    return tokens.states()


def _similarity(model: str, other: str, states: Tensor, other_states: Tensor) -> pd.DataFrame:
    """The layers of `model` against those of `other`; states as `_token_states` gives them."""
    cka = cka_matrix(states, other_states)
    return _six_digits(similarity_rows(model, cka, other=other, tokens=states.shape[1]))


def _controls_of_same_states(
    encoder: Encoder, sample: Sample, windows: Windows, *, probe: Probe, settings: Examine
) -> dict[str, Judge]:
    """The task and position alone, trained, and ready to read `windows`, those of the dev questions."""
    training = sample.windows(encoder, sample.train)
    task = linear_scorer(_trained(Features(encoder, training, gib=probe.feature_memory_gib), probe, settings))
    position = fit_position(training)
    longest = settings.max_answer_tokens
    return {
        TASK: Judge(task, sample.dev, windows, longest),
        "position_only": Judge(lambda chunk: position.logits(windows, chunk.rows), sample.dev, windows, longest),
    }


def _controls_of_other_inputs(encoder: Encoder, sample: Sample, *, probe: Probe, settings: Examine) -> dict[str, Judge]:
    """Questions shuffled among paragraphs, and no questions: trained, and judged on the dev questions."""
    inputs = {
        "shuffled_question": [shuffled_questions(part, seed=settings.seed) for part in (sample.train, sample.dev)],
        "no_question": [without_questions(part) for part in (sample.train, sample.dev)],
    }
    judges = {}
    for name, (train, dev) in inputs.items():
        features = Features(encoder, sample.windows(encoder, train), gib=probe.feature_memory_gib)
        windows = sample.windows(encoder, dev)
        scorer = linear_scorer(_trained(features, probe, settings))
        judges[name] = Judge(scorer, dev, windows, settings.max_answer_tokens)
        read_windows(encoder, windows, [judges[name]])
    return judges


def _trained(features: Features, probe: Probe, settings: Examine) -> np.ndarray:
    """A probe of every layer (layers, hidden, 2), trained by AdamW with the epochs, rate and seed of `settings`."""
    changes = {"epochs": settings.epochs, "learning_rates": [settings.learning_rate], "seeds": [settings.seed]}
    return train_probes(features, probe.model_copy(update=changes)).weights[-1]


def _six_digits(table: pd.DataFrame) -> pd.DataFrame:
    """`table` with all floats to six significant digits."""
    floats = table.select_dtypes("float")
    return table.assign(**{name: [float(f"{value:.6g}") for value in floats[name]] for name in floats})
