"""Which model comes from which: fine-tuned, pretrained, and random ones of the same architecture."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from stages.qa.config import Encoder, Finetuning
from stages.qa.report.findings import pretrained_bases, random_twins


@dataclass(frozen=True)
class Lineage:
    """The models of a study, in order, and how they are related."""

    kinds: dict[str, str]  # model -> "fine-tuned", "pretrained" or "random weights"
    bases: dict[str, str]  # fine-tuned model -> the pretrained one at its root
    twins: dict[str, str]  # pretrained model -> the random one of its architecture
    seeds: dict[str, int]  # random model -> seed of its weights

    def __iter__(self) -> Iterator[str]:
        return iter(self.kinds)


def lineage(models: Sequence[str], encoders: Mapping[str, Encoder], finetuned: Mapping[str, Finetuning]) -> Lineage:
    """Of `models`, from the sections of params.yaml."""
    bases = pretrained_bases(models, {key: run.base for key, run in finetuned.items()})
    seeds = {key: encoder.seed for key, encoder in encoders.items() if encoder.seed is not None}
    kinds = {m: "fine-tuned" if m in bases else "random weights" if m in seeds else "pretrained" for m in models}
    return Lineage(kinds, bases, random_twins(encoders), seeds)
