"""Probes trained on one layer, read on another: do layers hold the answer in the same direction?

Entry (i, j): the probe of layer i on the hidden states of layer j, of the same encoder or of another of the same width
(the fine-tuned one, say). Without retraining: what a probe loses off its own layer may be there in another direction.
"""

import numpy as np
import torch

from stages.qa.checks.judging import Scorer
from stages.qa.encoding.encoder import Chunk, Encoder
from stages.qa.errors import InputError
from stages.qa.probing.probes import token_scores
from stages.qa.probing.readouts import Probes


def headline_weights(probes: Probes, optimizer: str) -> np.ndarray:
    """Vectors (layers, hidden, 2) of the first learning rate and seed of `optimizer`, after its last epoch."""
    own = [i for i, readout in enumerate(probes.readouts) if readout.optimizer == optimizer]
    if not own:
        raise InputError(f"no probe was trained by {optimizer}; run probe_train again")
    last = max(probes.readouts[i].epoch or 0 for i in own)
    return probes.weights[next(i for i in own if (probes.readouts[i].epoch or 0) == last)]


def transfer_scorer(weights: np.ndarray, encoder: Encoder) -> Scorer:
    """Scores of every probe on every layer, (probes x layers, tokens, 2); weights (probes, hidden, 2).

    InputError if the encoder is of another width than the probes.
    """
    if weights.shape[1] != encoder.hidden:
        raise InputError(f"model {encoder.name}: {encoder.hidden} features, the probes are of {weights.shape[1]}")
    vectors = torch.from_numpy(weights).permute(1, 0, 2).flatten(1)  # (hidden, probes x 2)

    def scorer(chunk: Chunk) -> torch.Tensor:
        columns = vectors.to(chunk.states.device).expand(len(chunk.states), -1, -1)  # the same for every layer
        return token_scores(chunk.states, columns).unflatten(-1, (len(weights), 2)).permute(2, 0, 1, 3).flatten(0, 1)

    return scorer
