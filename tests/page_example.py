"""A small study with texts that must stay texts, for the tests of the page: no stage but the page's is run."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

from stages import page
from stages.qa.answering.answers import Reading
from stages.qa.data.squad import Example, read_squad
from stages.qa.files import write_json
from stages.qa.probing.readouts import Readout
from stages.qa.scoring.question_scores import QuestionScores, save_question_scores
from tests.report.test_findings import other, point

ROOT = Path(__file__).parents[1]
HOSTILE = "<script>window.struck = 1</script><img src=x onerror='window.struck = 2'>"
CONTEXT = f"=cmd|'/C calc'!A0 {HOSTILE} \u05e9\u05dc\u05d5\u05dd \U0001f600 the red fox saw an owl. <!-- --> \u202eend"
QUESTIONS = (
    (f"Who saw {HOSTILE}?", "red fox"),
    ("=HYPERLINK(1) What did \U0001f600 see?", "owl"),
    ("\u05de\u05d9 \u202ewhere was it?", None),
    ("How many </script> are there?", "\U0001f600 the red"),
)
MODELS = {"tuned": "fine-tuned", "base": "pretrained", "noise": "random weights"}
LAYERS = 3  # and the embeddings
PROTOCOLS = ("one", "two")


def write_squad(path: Path) -> None:
    """The questions in SQuAD's form."""
    answers = [[] if a is None else [{"text": a, "answer_start": CONTEXT.index(a)}] for _, a in QUESTIONS]
    qas = [
        {"id": f"q{i}", "question": question, "answers": given, "is_impossible": not given}
        for i, ((question, _), given) in enumerate(zip(QUESTIONS, answers, strict=True))
    ]
    data = [{"title": f"Title {HOSTILE}", "paragraphs": [{"context": CONTEXT, "qas": qas}]}]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"version": "v2.0", "data": data}), encoding="utf-8")


def scores(examples: list[Example], since: int, head: bool) -> QuestionScores:
    """Right from layer `since` on; before it, the first word, or no answer at layer 0."""
    readings = [Reading("probe", layer, Readout("adamw", 2, 0.1, 1)) for layer in range(LAYERS + 1)]
    readings += [Reading("head", LAYERS, None)] if head else []
    shape = len(readings), len(examples)
    chars, exact, answered = np.zeros((*shape, 2), np.int32), np.zeros(shape), np.ones(shape, bool)
    texts = []
    for row, reading in enumerate(readings):
        texts.append([])
        for column, example in enumerate(examples):
            right = reading.layer >= since
            gold = example.answers[0] if example.answers and right else None
            span = (gold.start, gold.start + len(gold.text)) if gold else (0, 4)
            chars[row, column], exact[row, column] = span, right
            answered[row, column] = reading.layer > 0 and (gold is not None or not right)
            texts[-1].append(example.context[slice(*span)] + (" ." if row == 1 else ""))
    null = np.where(answered, 0.2, 0.7)
    article, paragraph = (np.array([getattr(e, unit) for e in examples]) for unit in ("article", "paragraph"))
    return QuestionScores(
        readings=readings,
        ids=[e.id for e in examples],
        texts=texts,
        chars=chars,
        answered=answered,
        null_probability=null,
        **dict.fromkeys(("exact", "f1", "forced_exact", "forced_f1"), exact),
        **dict.fromkeys(("start_nll", "end_nll"), 1 - exact),
        answerable=np.array([bool(e.answers) for e in examples]),
        article=article,
        paragraph=paragraph,
        windows=np.ones_like(article),
    )


def build(root: Path) -> Path:
    """Write the study under `root` and its page; returns the page's path."""
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    encoder = params["encoders"]["minilm"]
    params |= {"compared": {}, "study": "small", "probed": list(MODELS), "ladder": list(PROTOCOLS)}
    params["statistics"]["confidence"] = 0.9
    params["encoders"] = {"base": encoder, "noise": encoder | {"weights": "random", "seed": 3}}
    params["finetuned"] = {"tuned": params["finetuned"]["minilm-finetuned"] | {"base": "base"}}
    params["datasets"]["sample"]["dev"]["source"] = f"dev {HOSTILE}"
    protocol = params["protocols"]["corrected"]
    params |= {"protocols": {"one": protocol, "two": protocol | {"answer_text": "wordpieces"}}, "headline": "one"}
    root.mkdir(parents=True, exist_ok=True)
    YAML().dump(params, root / "params.yaml")
    for name in ("train.json", "held_out.json", "dev.json"):
        write_squad(root / "squad" / name)
    examples = read_squad(root / "squad/dev.json", purpose="score")
    metrics = root / "metrics"
    for i, key in enumerate(MODELS):
        for folder in ("layers", "loss"):
            (metrics / folder).mkdir(parents=True, exist_ok=True)
        rows = [
            point(key, layer, (15 * epoch - 12 * i) * layer, 90 - 5 * layer, protocol=name, epoch=epoch, seed=seed)
            for name in PROTOCOLS
            for epoch in (1, 2)
            for layer in range(LAYERS + 1)
            for seed in (1, 2)
        ]
        rows += [other("head", key, LAYERS, 80, 80, protocol=name) for name in PROTOCOLS if i == 0]
        pd.DataFrame(rows).to_csv(metrics / f"layers/{key}.csv", index=False)
        losses = [[key, layer, 0.1, 1, epoch, 3 / (1 + epoch)] for layer in range(LAYERS + 1) for epoch in (0.5, 1, 2)]
        names = ["model", "layer", "learning_rate", "seed", "epoch", "loss"]
        pd.DataFrame(losses, columns=names).to_csv(metrics / f"loss/{key}.csv", index=False)
        files = {"model.safetensors": {"bytes": 9, "sha256": "0" * 64}}
        write_json(metrics / f"models/{key}.json", {"source": f"path:{HOSTILE}", "files": files, "model_type": "bert"})
        for name in PROTOCOLS:
            save_question_scores(root / f"scores/{key}/{name}", scores(examples, i + 1, head=i == 0))
        (metrics / "intervals").mkdir(exist_ok=True)
        own = intervals().query("model == @key")
        own.assign(unit="article", estimate=12.0, questions=3, clusters=2).to_csv(
            metrics / f"intervals/{key}.csv", index=False
        )
    before = Path.cwd()
    os.chdir(root)
    try:
        inputs = Path("metrics"), Path("scores"), Path("squad"), ROOT / "studies/published", ROOT / "requirements.txt"
        page.main(*inputs, Path("report.html"), Path("CARD.md"))
    finally:
        os.chdir(before)
    return root / "report.html"


def intervals() -> pd.DataFrame:
    """Intervals of every point, each 4 points wide, and a band of 8."""
    rows = [
        [key, name, "probe", layer, metric, 10.0, 14.0, 8.0, 16.0]
        for key in MODELS
        for name in PROTOCOLS
        for layer in range(LAYERS + 1)
        for metric in ("f1", "forced_f1")
    ]
    columns = ["model", "protocol", "reading", "layer", "metric", "low", "high", "band_low", "band_high"]
    return pd.DataFrame(rows, columns=columns)
