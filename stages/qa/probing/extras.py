"""What learns beside the AdamW probes, from the same batches: code lengths, scalar mixes, one-layer networks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from stages.qa.config import Probe
from stages.qa.encoding.encoder import Encoder
from stages.qa.files import read_tensors
from stages.qa.probing.code_length import CodeLength, write_code_lengths
from stages.qa.probing.learners import GradientLearner, SpanModule, load_weights, save_module
from stages.qa.probing.mixing import ScalarMixes
from stages.qa.probing.mlp import LayerMlps
from stages.qa.probing.probes import Learner
from stages.qa.probing_sections import CodeLength as CodeLengthSettings
from stages.qa.probing_sections import Mixing, Mlp


@dataclass(frozen=True)
class Extras:
    """Learners and what they learn; either may be empty."""

    codes: list[CodeLength]
    modules: dict[str, SpanModule]  # "mixing", "mlp"
    learners: list[Learner]


def new_extras(
    encoder: Encoder,
    *,
    probe: Probe,
    code_length: CodeLengthSettings | None,
    mixing: Mixing | None,
    mlp: Mlp | None,
    random_targets: np.ndarray,
) -> Extras:
    """What is asked for. Codes: of the gold positions, beside it that of `random_targets` (windows, 2)."""
    codes: list[CodeLength] = []
    modules: dict[str, SpanModule] = {}
    learners: list[Learner] = []
    device = encoder.device
    if code_length:
        size, norm = (encoder.layers, encoder.hidden, code_length.learning_rates), probe.max_grad_norm
        codes = [
            CodeLength(labels, *size, targets=targets, windows=code_length.windows, max_grad_norm=norm, device=device)
            for labels, targets in (("gold", None), ("random_spans", random_targets))
        ]
    if mixing:
        modules["mixing"] = ScalarMixes(encoder.layers, encoder.hidden).to(device)
        learners.append(GradientLearner(modules["mixing"], mixing.learning_rate, mixing.windows))
    if mlp:
        generator = torch.Generator().manual_seed(probe.seeds[0])
        modules["mlp"] = LayerMlps(encoder.layers, encoder.hidden, mlp.width, generator=generator).to(device)
        learners.append(GradientLearner(modules["mlp"], mlp.learning_rate, mlp.windows))
    return Extras(codes, modules, [*codes, *learners])


def save_extras(folder: Path, extras: Extras) -> None:
    """Write code_length.csv (a header alone if there is no code), and a safetensors file for each module."""
    write_code_lengths(folder / "code_length.csv", [row for code in extras.codes for row in code.rows()])
    for name, module in extras.modules.items():
        save_module(folder / f"{name}.safetensors", module)


def load_modules(folder: Path, encoder: Encoder) -> dict[str, SpanModule]:
    """The modules that `save_extras` wrote for this encoder, those of them that were trained."""
    modules: dict[str, SpanModule] = {}
    if (path := folder / "mixing.safetensors").exists():
        modules["mixing"] = ScalarMixes(encoder.layers, encoder.hidden)
        load_weights(path, modules["mixing"])
    if (path := folder / "mlp.safetensors").exists():
        width = read_tensors(path)["inner"].shape[1]
        modules["mlp"] = LayerMlps(encoder.layers, encoder.hidden, width, generator=torch.Generator())
        load_weights(path, modules["mlp"])
    return {name: module.to(encoder.device).eval() for name, module in modules.items()}
