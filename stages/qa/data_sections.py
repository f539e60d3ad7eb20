"""The types of the section `datasets` of params.yaml."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Discriminator, Field, PositiveInt, Tag, model_validator

from stages.qa.models.manifest import hub_data
from stages.qa.section import GitBlob, Section, Sha256, Share


class DataFile(Section):
    """One SQuAD-format file."""

    source: Annotated[str, Field(min_length=1)]  # a path or a URL; a name ending in .gz is unpacked
    checksum: Sha256 | GitBlob | None  # of the unpacked file; null: recorded by DVC, not enforced
    articles: PositiveInt | None  # keep only the first ones; null: all


class Shard(Section):
    """One file of a data set in several, SQuAD-format JSON or Parquet; or several of the hub, at a commit."""

    source: Annotated[str, Field(min_length=1)]  # as that of a DataFile, or hf://datasets/name@commit/path, * allowed
    checksum: Sha256 | GitBlob | None  # of the unpacked file; null for hf:// alone, whose commit says it

    @model_validator(mode="after")
    def _its_bytes_are_pinned(self) -> "Shard":
        if self.source.startswith("hf:"):
            hub_data(self.source)
        if self.source.startswith("hf:") != (self.checksum is None):
            raise ValueError("a shard needs its checksum; that of hf:// is null, because the commit says it")
        return self


class Shards(Section):
    """Questions in several files; rows of one title are one article."""

    shards: Annotated[list[Shard], Field(min_length=1)]
    articles: PositiveInt | None  # keep only the first ones; null: all


def _form(questions: object) -> str:
    shards = "shards" in questions if isinstance(questions, Mapping) else isinstance(questions, Shards)
    return "[shards]" if shards else "[file]"


Questions = Annotated[Annotated[DataFile, Tag("[file]")] | Annotated[Shards, Tag("[shards]")], Discriminator(_form)]


class Dataset(Section):
    """The questions that probes and fine-tuning learn from, and those that every curve is measured on."""

    train: Questions
    dev: Questions
    threshold_share: Share  # of the training articles, kept from all training to choose thresholds on; 0: none
