"""Online (prequential) code length of the answers' positions, given the hidden states of each layer.

How many bits does it take to send the start and end positions of all training windows to somebody who holds the hidden
states? Batch by batch, each is coded under a probe trained on the batches before it, and then learned from by both
sides; minus log-probabilities add up to the length of the code (Dawid 1984; Blier and Ollivier 2018; as a measure of
probes: Voita and Titov 2020). The probe starts at 0, so the first batch is coded uniformly over each window's tokens.
The windows come in the order of the first epoch of the AdamW probes, each once, and only the first so many of them; a
batch is a block of the code.

A learning rate that is too low would make the code long whatever the layer holds. So several run side by side, and
each layer and side is coded with their even mixture: at most log2(number of rates) bits longer than the best of them.
"""

import csv
import io
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from stages.qa import processes
from stages.qa.encoding.features import Batch
from stages.qa.files import write_text
from stages.qa.probing.probes import ProbeBank, has_target

COLUMNS = ("labels", "layer", "positions", "uniform_bits", "bits", "compression")


@dataclass(frozen=True)
class CodeRow:
    """The code of one layer."""

    labels: str  # gold, or a control
    layer: int
    positions: int  # that were coded, start and end
    uniform_bits: float  # under the uniform code, log2(tokens of the window) a position
    bits: float  # under the online code

    @property
    def compression(self) -> float:
        """Uniform code over online code: above 1 if the layer helps."""
        return self.uniform_bits / self.bits


class CodeLength:
    """Codes the first `windows` windows of the first epoch (rounded up to whole batches), and learns; a `Learner`.

    `targets` (windows, 2) are the labels to code in place of those of the batches; None: those of the batches.
    """

    def __init__(
        self,
        labels: str,
        layers: int,
        hidden: int,
        learning_rates: list[float],
        *,
        windows: int,
        max_grad_norm: float,
        device: torch.device,
        targets: np.ndarray | None = None,
    ) -> None:
        self.labels, self.targets, self.left = labels, targets, windows
        rates = torch.tensor(learning_rates, device=device)
        zero = torch.zeros(layers, hidden, 2, len(learning_rates), device=device)
        self.bank = ProbeBank(zero, rates, max_grad_norm=max_grad_norm)
        self.nats = torch.zeros(layers, 2, len(learning_rates), dtype=torch.float64, device=device)
        self.uniform_nats = torch.zeros((), dtype=torch.float64, device=device)  # of this process's windows
        self.positions = 0

    def update(self, epoch: int, size: int, batch: Batch) -> None:
        """Code a batch, then learn from it; all that follows is passed over."""
        if epoch or self.left <= 0:
            return
        self.left -= size
        if self.targets is not None:
            batch = replace(batch, targets=torch.from_numpy(self.targets[batch.rows]).to(batch.targets.device))
        loss, counts = self.bank.update(batch)
        self.nats += loss
        self.uniform_nats += (has_target(batch.lengths, batch.targets) * batch.lengths.double().log()[:, None]).sum()
        self.positions += int(counts.sum())

    def rows(self) -> list[CodeRow]:
        """The code length of each layer."""
        rates = self.nats.shape[-1]
        mixture = math.log(rates) - torch.logsumexp(-self.nats, dim=-1)  # (layers, 2)
        uniform = float(processes.summed(self.uniform_nats)[0]) / math.log(2)
        return [
            CodeRow(self.labels, layer, self.positions, uniform, nats / math.log(2))
            for layer, nats in enumerate(mixture.sum(1).tolist())
        ]


def write_code_lengths(path: Path, rows: list[CodeRow]) -> None:
    """CSV under COLUMNS; only the header if there are no rows."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        numbers = f"{row.uniform_bits:.1f}", f"{row.bits:.1f}", f"{row.compression:.4f}"
        writer.writerow((row.labels, row.layer, row.positions, *numbers))
    write_text(path, table.getvalue())
