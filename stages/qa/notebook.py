"""From Python, without stages: the layer curve of any encoder on any two SQuAD-format files.

from stages.qa.notebook import layer_curve
curve = layer_curve("bert-base-uncased", train="train.json", dev="dev.json")
curve.plot(x="layer", y="forced_f1")
"""

from pathlib import Path
from typing import cast

import pandas as pd
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from stages.qa.answering.answering import answer
from stages.qa.config import load_params
from stages.qa.data.splits import evenly_spread
from stages.qa.data.squad import read_squad
from stages.qa.data.windows import make_windows
from stages.qa.encoding.encoder import Encoder, in_precision
from stages.qa.encoding.features import Features
from stages.qa.errors import InputError
from stages.qa.probing.convex import fit_optimum
from stages.qa.scoring.curves import layer_rows
from stages.qa.scoring.intervals import all_resampled, interval_rows
from stages.qa.scoring.question_scores import score_questions

ROOT = Path(__file__).parents[2]
SCORES = ["exact", "f1", "HasAns_f1", "NoAns_f1", "forced_f1"]


def layer_curve(
    model: str | Path | PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast | None = None,
    *,
    train: str | Path,
    dev: str | Path,
    l2: float = 0.1,
    questions: int | None = None,
) -> pd.DataFrame:
    """A row for each layer: SCORES in percent, and low and high, the interval of forced_f1 over articles or paragraphs.

    model: a name of the hub, a folder, or a loaded AutoModel with its fast tokenizer. A probe is fitted on each layer
    at its optimum under `l2`, on at most `questions` of `train`, evenly spread; it answers all of `dev`. All other
    values are those of method.yaml and of the protocol `corrected` in params.yaml. InputError for a tokenizer that is
    not a fast one.
    """
    params = load_params(ROOT / "params.yaml", ROOT / "method.yaml")
    encoder = encoder_of(model, tokenizer)
    train_examples = read_squad(Path(train), purpose="train")
    chosen = evenly_spread(len(train_examples), questions or len(train_examples))
    examples = read_squad(Path(dev), purpose="score")
    windows = make_windows([train_examples[i] for i in chosen], encoder.tokenizer, **params.windows.model_dump())
    encoder = in_precision(encoder, windows, params.precision)
    features = Features(encoder, windows, gib=params.probe.feature_memory_gib)
    probes = fit_optimum(features, None, params.convex.model_copy(update={"l2": [l2]}))
    windows = make_windows(examples, encoder.tokenizer, **params.windows.model_dump())
    given = answer(encoder, examples, windows, probes, {"corrected": params.protocols["corrected"]})
    answers = {protocol: {encoder.name: answers} for protocol, answers in given}
    rows = layer_rows(encoder.name, examples, answers, "corrected", l2)
    scored = {name: score_questions(examples, given, l2) for name, given in answers.items()}
    intervals = interval_rows(encoder.name, all_resampled(encoder.name, scored, params.statistics), "corrected")
    intervals = intervals[intervals["metric"] == "forced_f1"].drop_duplicates("layer")  # the first unit
    curve = rows.loc[rows["reading"] == "probe", ["layer", *SCORES]]
    return curve.merge(intervals[["layer", "low", "high"]], on="layer", how="left")


def encoder_of(model: str | Path | PreTrainedModel, tokenizer: PreTrainedTokenizerFast | None = None) -> Encoder:
    """An encoder, on the model's own device; a question answering head, if there is one, is not read.

    InputError if there is no fast tokenizer, since answers then have no character offsets.
    """
    if isinstance(model, str | Path):
        fast = cast(PreTrainedTokenizerFast, AutoTokenizer.from_pretrained(model))  # whether it is fast: see below
        return encoder_of(AutoModel.from_pretrained(model), fast)
    name = model.name_or_path or "encoder"
    if tokenizer is None or not tokenizer.is_fast:
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
