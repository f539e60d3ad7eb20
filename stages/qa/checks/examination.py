"""What is measured on a bounded sample of questions, to stay cheap: controls, mixes, networks, probes across layers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import pandas as pd

from stages.qa.checks.controls import retargeted, shuffled_questions, without_questions
from stages.qa.checks.frames import (
    MIXING,
    MLP,
    TASK,
    control_frame,
    mixing_frame,
    mlp_frame,
    similarity_frame,
    transfer_frame,
)
from stages.qa.checks.judging import Judge, Scorer, linear_scorer, module_scorer, show
from stages.qa.checks.position import fit_position
from stages.qa.checks.similarity import TokenSample, cka_matrix
from stages.qa.checks.transfer import transfer_scorer
from stages.qa.config import Probe
from stages.qa.data.squad import Example
from stages.qa.data.windows import Windows, make_windows
from stages.qa.encoding.encoder import Encoder
from stages.qa.encoding.features import Features
from stages.qa.probing.learners import SpanModule
from stages.qa.probing.mixing import ScalarMixes
from stages.qa.probing.probes import train_probes
from stages.qa.probing.random_spans import random_spans, with_answers
from stages.qa.probing_sections import Examine


@dataclass(frozen=True)
class Sample:
    """The sampled questions, and how they become windows."""

    train: list[Example]
    dev: list[Example]
    window_settings: dict[str, int]

    def windows(self, encoder: Encoder, examples: Sequence[Example]) -> Windows:
        """Windows of `examples` for the encoder."""
        return make_windows(examples, encoder.tokenizer, **self.window_settings)


def examine(
    encoder: Encoder,
    sample: Sample,
    weights: np.ndarray,
    modules: Mapping[str, SpanModule],
    *,
    probe: Probe,
    settings: Examine,
) -> dict[str, pd.DataFrame]:
    """Train the controls on the sampled training questions; judge them and all else on the sampled dev questions.

    weights (layers, hidden, 2): the probes of the encoder; modules: what learned beside them. Returns the frames
    "controls", "mixing", "mlp" (without rows if that was not trained), "transfer" and "similarity". The encoder runs
    three times over the sample: as it is, with questions shuffled, and without questions.
    """
    name, layers = encoder.name, len(weights)
    windows = sample.windows(encoder, sample.dev)
    scorers: dict[str, Scorer] = {"linear": transfer_scorer(weights, encoder)}
    scorers |= {key: module_scorer(module) for key, module in modules.items()}
    others = {key: Judge(scorer, sample.dev, windows, settings.max_answer_tokens) for key, scorer in scorers.items()}
    tokens = TokenSample(windows, settings.cka_tokens)

    own = same_states_controls(encoder, sample, windows, probe=probe, settings=settings)
    show(encoder, windows, [*others.values(), *own.values(), tokens])
    own |= other_inputs_controls(encoder, sample, probe=probe, settings=settings)

    judged = {key: judge.judged() for key, judge in others.items()}
    transfer, states = transfer_frame(judged["linear"], layers, other=name), tokens.states()
    frames = {
        "controls": control_frame({key: judge.judged() for key, judge in own.items()}, len(sample.train)),
        "transfer": transfer,
        "similarity": similarity_frame(cka_matrix(states, states), other=name, tokens=states.shape[1]),
        "mixing": pd.DataFrame(columns=MIXING),
        "mlp": pd.DataFrame(columns=MLP),
    }
    if "mixing" in modules:
        shares = cast(ScalarMixes, modules["mixing"]).weights()[-1].detach().cpu().numpy()
        frames["mixing"] = mixing_frame(judged["mixing"], shares)
    if "mlp" in modules:
        frames["mlp"] = mlp_frame(judged["mlp"], transfer)
    return frames


def same_states_controls(
    encoder: Encoder, sample: Sample, windows: Windows, *, probe: Probe, settings: Examine
) -> dict[str, Judge]:
    """The task, random spans and position alone, trained, and ready to read `windows`, those of the dev questions."""
    stride, longest = sample.window_settings["doc_stride"], settings.max_answer_tokens
    training = sample.windows(encoder, sample.train)
    targets, _ = random_spans(training, doc_stride=stride, seed=settings.seed)
    features = Features(encoder, training, gib=probe.feature_memory_gib)
    task = linear_scorer(_trained(features, probe, settings))
    random = linear_scorer(_trained(retargeted(features, targets), probe, settings))
    position = fit_position(training)
    dev_targets, chars = random_spans(windows, doc_stride=stride, seed=settings.seed)
    return {
        TASK: Judge(task, sample.dev, windows, longest),
        "random_spans": Judge(random, with_answers(sample.dev, chars), replace(windows, targets=dev_targets), longest),
        "position_only": Judge(lambda chunk: position.logits(windows, chunk.rows), sample.dev, windows, longest),
    }


def other_inputs_controls(encoder: Encoder, sample: Sample, *, probe: Probe, settings: Examine) -> dict[str, Judge]:
    """Questions shuffled among paragraphs, and no questions: trained and shown the dev questions."""
    judges = {}
    parts = sample.train, sample.dev
    changed = {
        "shuffled_question": [shuffled_questions(part, seed=settings.seed) for part in parts],
        "no_question": [without_questions(part) for part in parts],
    }
    for name, (train, dev) in changed.items():
        features = Features(encoder, sample.windows(encoder, train), gib=probe.feature_memory_gib)
        windows = sample.windows(encoder, dev)
        scorer = linear_scorer(_trained(features, probe, settings))
        judges[name] = Judge(scorer, dev, windows, settings.max_answer_tokens)
        show(encoder, windows, [judges[name]])
    return judges


def _trained(features: Features, probe: Probe, settings: Examine) -> np.ndarray:
    """A probe of every layer (layers, hidden, 2), trained as the AdamW probes are but for settings of its own."""
    own = {"epochs": settings.epochs, "learning_rates": [settings.learning_rate], "seeds": [settings.seed]}
    return train_probes(features, probe.model_copy(update=own)).weights[-1]
