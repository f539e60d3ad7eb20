"""Reading params.yaml (the study) and method.yaml (the constants of the method) as one, checked as a whole."""

from collections.abc import Container, Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.qa import sections
from stages.qa.errors import InputError, one_line
from stages.qa.sections import Key, Once

T = TypeVar("T")


class Params(sections.Section):
    """Both files as one. A stage reads only the sections that dvc.yaml names for it."""

    study: Key
    dataset: Key
    datasets: dict[Key, sections.Dataset]
    encoders: dict[Key, sections.Encoder]
    finetuned: dict[Key, sections.Finetuning]
    probed: Annotated[Once[Key], Field(min_length=1)]  # the curves, each named for its first run
    runs: dict[Key, Key]  # run: a key of encoders or finetuned -> the curve that it is part of
    compared: dict[Key, Key]  # a probed model -> another that it is compared with, its base as a rule
    protocols: Annotated[dict[Key, sections.Protocol], Field(min_length=1)]
    headline: Key  # of protocols: the one that is shown first; DVC does not see the order of a mapping
    ladder: list[Key]  # protocols, each but the first different from the one before it in one switch
    windows: sections.Windows
    parts: sections.Parts
    guard: Annotated[float, Field(ge=0, le=1)]  # least share of gold answers that must come back from their tokens
    precision: Literal["auto", "fp32", "bf16"]  # of the frozen encoder; auto: bf16 if fast here and near enough to fp32
    optimizers: Annotated[Once[sections.Optimizer], Field(min_length=1)]  # of the probes that are trained
    probe: sections.Probe
    convex: sections.Convex
    examine: sections.Examine
    statistics: sections.Statistics

    @model_validator(mode="after")
    def _keys_refer_to_something(self) -> "Params":
        models = self.encoders.keys() | self.finetuned.keys()
        _among([self.dataset], self.datasets, "dataset: {} is no key of datasets")
        _among([*self.probed, *self.runs], models, "probed or runs: {} is no key of encoders or finetuned")
        _among(self.runs.values(), self.probed, "runs: {} is not among probed")
        _among([self.headline, *self.ladder], self.protocols, "headline or ladder: {} is no key of protocols")
        _among([key for pair in self.compared.items() for key in pair], self.probed, "compared: {} is not among probed")
        _among([p.optimizer for p in self.protocols.values()], self.optimizers, "protocols: {} is not among optimizers")
        for key, run in self.finetuned.items():
            _among([run.base], models, f"finetuned.{key}.base: {{}} is no key of encoders or finetuned")
            if key in self.encoders:
                raise ValueError(f"{key!r} is a key of both encoders and finetuned")
        for key, base in self.compared.items():
            if key == base:
                raise ValueError(f"compared: {key!r} with itself")
        for key, twin in self.encoders.items():
            base = twin.random_weights_of or key
            _among([base], self.encoders, f"encoders.{key}: {{}} is no key of encoders")
            if (twin.sources, twin.sha256) != (self.encoders[base].sources, self.encoders[base].sha256):
                raise ValueError(f"encoders.{key}: sources or sha256 differ from those of {base}")
        return self

    @model_validator(mode="after")
    def _runs_of_a_curve_differ_in_their_seed(self) -> "Params":
        models = {**self.encoders, **self.finetuned}
        for curve in self.probed:
            if self.runs.get(curve) != curve:
                raise ValueError(f"runs: {curve} is in probed, so it is a run and a curve: write {curve}: {curve}")
            first, *others = (models[run].model_dump() for run in self.runs_of(curve))
            if first["seed"] is None and others:
                raise ValueError(f"runs: {curve} is fetched, so that it has one run")
            for other in others:
                if {**other, "seed": first["seed"]} != first:
                    raise ValueError(f"runs: the runs of {curve} differ in more than their seed")
        return self

    @model_validator(mode="after")
    def _l2_can_be_chosen_and_a_ladder_takes_one_step_at_a_time(self) -> "Params":
        if "convex" in self.optimizers and len(self.convex.l2) > 1 and not self.parts.validation_share:
            raise ValueError("effort.convex.l2: several need validation articles: parts.validation_share above 0")
        for one, other in pairwise(self.ladder):
            before, after = self.protocols[one].model_dump(), self.protocols[other].model_dump()
            changed = [switch for switch in before if before[switch] != after[switch]]
            if len(changed) != 1:
                what = ", ".join(changed) or "nothing"
                raise ValueError(f"ladder: from {one} to {other} changes {what}, not one switch")
        return self

    def runs_of(self, curve: str) -> list[str]:
        """The runs of a curve, in order."""
        return [run for run, its_curve in self.runs.items() if its_curve == curve]


def _among(keys: Iterable[str], allowed: Container[str], message: str) -> None:
    for key in keys:
        if key not in allowed:
            raise ValueError(message.format(repr(key)))


def load_params(study: Path = Path("params.yaml"), method: Path = Path("method.yaml")) -> Params:
    """Read both files as YAML 1.2, as DVC does (under YAML 1.1, `3e-5` would be a string).

    `effort` of the study completes the sections of the method, and `finetuning` of the method each fine-tuned model.
    Raises InputError naming the file, the key and what is wrong with it.
    """
    values, constants = _read_yaml(study), _read_yaml(method)
    try:
        finetuning = constants.pop("finetuning", {})
        for key, run in values.get("finetuned", {}).items():
            values["finetuned"][key] = _joined(finetuning, run, f"finetuned.{key}")
        for name, section in values.pop("effort", {}).items():
            constants[name] = _joined(constants.get(name, {}), section, f"effort.{name}")
        return Params.model_validate(_joined(constants, values, "params"))
    except (AttributeError, TypeError) as error:
        raise InputError(f"{study} or {method}: a section is not a mapping ({error})") from error
    except ValidationError as error:
        raise InputError(f"{study} or {method}: {_first_fault(error)}") from error
    except ValueError as error:
        raise InputError(f"{study}: {error}") from error


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise InputError(f"{path}: cannot be read as YAML ({one_line(error)})") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: must hold a mapping of sections, holds {type(values).__name__}")
    return values


def _joined(one: Mapping[str, Any], other: Mapping[str, Any], place: str) -> dict[str, Any]:
    """All values of both; ValueError if a key is in both."""
    twice = sorted(one.keys() & other.keys())
    if twice:
        raise ValueError(f"{place}: {twice[0]} is set in method.yaml already")
    return {**one, **other}


def entry(section: Mapping[str, T], key: str, name: str) -> T:
    """section[key]; InputError if the section `name` of params.yaml has no such key."""
    if key not in section:
        raise InputError(f"params.yaml: {name} has no key {key!r}, only {', '.join(section) or 'none'}")
    return section[key]


def _first_fault(error: ValidationError) -> str:
    """The first of pydantic's findings in one line, with the dotted key."""
    first, *others = error.errors(include_url=False, include_context=False)
    key = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    got = f" (found {first['input']!r})" if first["type"] not in ("missing", "value_error") else ""
    more = f" (and {len(others)} more)" if others else ""
    return f"{key + ': ' if key else ''}{message}{got}{more}"
