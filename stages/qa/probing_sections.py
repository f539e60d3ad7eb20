"""The sections of params.yaml on what is learned and measured beside the probes."""

from typing import Annotated

from pydantic import Field, PositiveInt

from stages.qa.section import Rate, Section, Seed


class CodeLength(Section):
    """The online code of the answers' positions, from the batches of the AdamW probes."""

    windows: PositiveInt  # to code: the first that the probes see, each once
    learning_rates: Annotated[
        list[Rate], Field(min_length=1)
    ]  # mixed, not chosen: see stages/qa/probing/code_length.py


class Mixing(Section):
    """Scalar mixes of layers 0 to l, trained from the batches of the AdamW probes."""

    windows: PositiveInt  # to learn from: the first that the AdamW probes see, in as many epochs as they have
    learning_rate: Rate


class Mlp(Section):
    """Probes with one hidden layer, trained from the batches of the AdamW probes."""

    windows: PositiveInt  # to learn from: the first that the AdamW probes see, in as many epochs as they have
    width: PositiveInt  # units of the hidden layer
    learning_rate: Rate


class Examine(Section):
    """Controls, and what is measured on a bounded sample of questions to stay cheap."""

    training_questions: PositiveInt  # at most, evenly spread over the file; controls are trained on these
    dev_questions: PositiveInt  # likewise; everything is measured on these
    epochs: PositiveInt
    learning_rate: Rate
    max_answer_tokens: PositiveInt
    cka_tokens: PositiveInt  # at most, evenly spread over the sampled dev questions
    seed: Seed  # of the probes, of the shuffled questions and of the random spans
