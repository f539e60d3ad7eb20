"""From Python, without stages or files of parameters: layer curves of any encoder on any SQuAD-format file.

    from transformers import AutoModel, AutoTokenizer
    from stages.qa.notebook import encoder_of, layer_curve
    from stages.qa.data.squad import read_squad

    encoder = encoder_of(AutoModel.from_pretrained(name), AutoTokenizer.from_pretrained(name))
    train, dev = read_squad("train.json", purpose="train"), read_squad("dev.json", purpose="score")
    layer_curve(encoder, train, dev, window_settings=..., probe=..., protocol=...)

The other modules are called in the same way: `examine` and `compare` of checks.examination, for controls and for two
encoders.
"""

from collections.abc import Sequence

import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from stages.qa.answering.answering import answer
from stages.qa.data.squad import Example
from stages.qa.data.windows import make_windows
from stages.qa.encoding.encoder import Encoder
from stages.qa.encoding.features import Features
from stages.qa.errors import InputError
from stages.qa.probing.probes import train_probes
from stages.qa.scoring.curves import layer_rows
from stages.qa.sections import Probe, Protocol


def encoder_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, *, name: str = "encoder") -> Encoder:
    """An encoder from a loaded AutoModel, on the model's own device; its head, if it has one, is not read.

    InputError if the tokenizer is not a fast one, since answers then have no character offsets.
    """
    if not tokenizer.is_fast:
        raise InputError(f"{name}: no fast tokenizer, so answers have no character offsets")
    config = model.config
    return Encoder(
        model=model.eval(),
        device=model.device,
        tokenizer=tokenizer,
        head=None,
        layers=config.num_hidden_layers + 1,
        hidden=config.hidden_size,
        name=name,
    )


def layer_curve(
    encoder: Encoder,
    train: Sequence[Example],
    dev: Sequence[Example],
    *,
    window_settings: dict[str, int],
    probe: Probe,
    protocol: Protocol,
) -> pd.DataFrame:
    """Train AdamW probes on `train`, answer `dev`: a row per layer, epoch, learning rate and seed.

    Scores in percent, under the names of the official metric, and forced_exact and forced_f1.
    """
    windows = make_windows(train, encoder.tokenizer, **window_settings)
    probes = train_probes(Features(encoder, windows, gib=probe.feature_memory_gib), probe)
    windows = make_windows(dev, encoder.tokenizer, **window_settings)
    answers = dict(answer(encoder, dev, windows, probes, {"notebook": protocol}))
    rows = layer_rows(encoder.name, dev, answers, "notebook")
    of_probes = rows[rows["reading"] == "probe"].reset_index(drop=True)
    return of_probes.drop(columns=["protocol", "headline", "reading", "final"])
