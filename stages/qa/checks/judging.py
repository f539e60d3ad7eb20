"""Forced F1 and cross-entropy of anything that scores tokens: probes and controls.

All are read in one way, so that they compare: spans are exact slices of the context, windows of a question are merged
as in the official evaluation, and an answer is forced.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.qa.answering.spans import SpanReader
from stages.qa.data.squad import Example
from stages.qa.data.windows import IGNORED, Windows
from stages.qa.encoding.encoder import Chunk, Encoder, encode, pieces
from stages.qa.errors import NumericsError
from stages.qa.metric import question_scores
from stages.qa.probing.probes import target_log_probabilities
from stages.qa.progress import progress_bar
from stages.qa.scoring.bootstrap import band, resample, unit_of
from stages.qa.sections import Statistics

CHUNK_GIB = 0.25  # hidden states in memory at once
Scorer = Callable[[Chunk], Tensor]  # -> scores (readings, tokens, 2)


@dataclass(frozen=True)
class Judged:
    """How well each reading does."""

    forced_f1: np.ndarray  # (readings,) percent; not-a-number without questions
    bands: np.ndarray  # (2, readings) percent: lower and upper bounds that hold for all readings at once
    nll: np.ndarray  # (readings,) nats a position: mean over windows and over start and end
    numbers: np.ndarray  # (clusters,): questions with an answer, which forced F1 counts, of each article or paragraph
    sums: np.ndarray  # (readings, clusters): of the forced F1 of these questions, 0 to 1 each

    def columns(self, layers: int) -> dict[str, Any]:
        """The columns of a table from layer to nll, a row for each layer; a single reading stands at all of them."""
        low, high = self.bands
        scores = {"forced_f1": self.forced_f1, "band_low": low, "band_high": high, "nll": self.nll}
        at_layers = {name: np.broadcast_to(values, layers) for name, values in scores.items()}
        return {"layer": range(layers), "questions": int(self.numbers.sum()), **at_layers}


class Judge:
    """Collects the scores of the windows of some questions, chunk by chunk."""

    def __init__(
        self, scorer: Scorer, readings: int, examples: Sequence[Example], windows: Windows, max_answer_tokens: int
    ) -> None:
        """`examples` hold the answers that count, windows.targets the positions that count."""
        self.scorer, self.examples, self.windows = scorer, examples, windows
        self.reader = SpanReader(windows, readings, max_answer_tokens=max_answer_tokens)
        self.nll: list[np.ndarray] = []  # (readings, windows with a target)

    def __call__(self, chunk: Chunk) -> None:
        """Read a chunk of `windows`; NumericsError if a score is not finite."""
        logits = self.scorer(chunk)
        if not torch.isfinite(logits.sum()):
            example = self.examples[self.windows.examples[chunk.rows[0]]]
            raise NumericsError(f"scores are not finite near question {example.id!r}")
        self.reader.read(chunk.rows, logits)
        targets = torch.from_numpy(self.windows.targets[chunk.rows]).to(logits.device)
        lengths = torch.from_numpy(self.windows.lengths[chunk.rows]).to(logits.device)
        log_probabilities = target_log_probabilities(logits, lengths, targets[:, None])
        with_target = log_probabilities[:, targets[:, 0] != IGNORED]  # (readings, windows, 2)
        self.nll.append(-with_target.mean(-1).double().cpu().numpy())

    def judged(self, settings: Statistics) -> Judged:
        """The scores after all windows were read; bands as those of the curves, over articles or paragraphs."""
        spans = self.reader.spans([example.context for example in self.examples])
        answerable = [example for example in self.examples if example.answers]
        nll = np.concatenate(self.nll, axis=1)
        if not answerable:
            unknown = np.full(len(nll), np.nan)
            return Judged(unknown, np.stack([unknown, unknown]), nll.mean(1), np.empty(0), np.empty((len(nll), 0)))
        unit = unit_of(len({example.article for example in self.examples}), settings.unit)
        _, clusters = np.unique([getattr(example, unit) for example in answerable], return_inverse=True)
        sums = []
        for chars in spans.chars.tolist():
            texts = {
                example.id: example.context[first:end] if first >= 0 else ""
                for example, (first, end) in zip(self.examples, chars, strict=True)
                if example.answers
            }
            sums.append(np.bincount(clusters, question_scores(answerable, texts).f1))
        numbers = np.bincount(clusters)
        curves = 100 * resample(np.array([sums]), numbers, settings.resamples, seed=settings.seed, key="")
        bands = np.clip(band(curves, settings.confidence), 0, 100)
        return Judged(curves[0], bands, nll.mean(1), numbers, np.array(sums))


@torch.inference_mode()
def read_windows(encoder: Encoder, windows: Windows, readers: Sequence[Callable[[Chunk], None]]) -> None:
    """Run all windows through the encoder once; each of `readers` gets every chunk of hidden states, in float32."""
    with progress_bar(f"reading {encoder.name}", total=len(windows), unit="window") as progress:
        for rows in pieces(encoder, windows, np.arange(len(windows)), gib=CHUNK_GIB):
            chunk = encode(encoder, windows, rows)
            chunk = replace(chunk, states=chunk.states.float())
            for reader in readers:
                reader(chunk)
            progress.update(len(rows))
