"""What the sections of params.yaml are made of: the strict base class, and types of values."""

from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from stages.qa.models.manifest import validate_source

Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,95}$")]  # part of a path and of a DVC stage name
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
GitBlob = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]  # a file's name in git
Source = Annotated[str, AfterValidator(validate_source)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Optimizer = Literal["adamw", "convex"]
T = TypeVar("T")


def _each_once(values: list[T]) -> list[T]:
    if twice := [value for place, value in enumerate(values) if value in values[:place]]:
        raise ValueError(f"{twice[0]} occurs twice")
    return values


Once = Annotated[list[T], AfterValidator(_each_once)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Section(BaseModel):
    """A section of params.yaml: unknown, missing and mistyped keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
