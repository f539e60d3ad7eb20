"""A small study with texts that must stay texts, for the tests of the report: no other stage is run."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages import report
from stages.qa.data.squad import Example, read_squad
from stages.qa.files import write_json, write_table
from stages.qa.readings import Reading, Readout
from stages.qa.report.results import CLUSTERS, CONTROLS, DESCRIPTION, LEARNING, SIMILARITY
from stages.qa.scoring.answerability import QUALITY
from stages.qa.scoring.breakdown import BREAKDOWN
from stages.qa.scoring.curves import LAYERS as LAYER_COLUMNS
from stages.qa.scoring.curves import LOSS
from stages.qa.scoring.intervals import DIFFERENCES, INTERVALS
from stages.qa.scoring.question_scores import QuestionScores, save_question_scores
from tests.report.example import gold_or_head, point
from tests.tiny_models import read_yaml, write_yaml

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
PROTOCOLS = ("one", "two")  # the headline first
UNIT = {"questions": 3, "clusters": 2, "unit": "article"}


def write_squad(path: Path) -> None:
    """The questions in SQuAD's form."""
    qas = []
    for number, (question, answer) in enumerate(QUESTIONS):
        answers = [] if answer is None else [{"text": answer, "answer_start": CONTEXT.index(answer)}]
        qas.append({"id": f"q{number}", "question": question, "answers": answers, "is_impossible": not answers})
    data = [{"title": f"Title {HOSTILE}", "paragraphs": [{"context": CONTEXT, "qas": qas}]}]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"version": "v2.0", "data": data}), encoding="utf-8")


def scores(examples: list[Example], since: int, head: bool) -> QuestionScores:
    """Right from layer `since` on; before it, the first word, or no answer at layer 0."""
    readings = [Reading("probe", layer, Readout("adamw", 2, 0.1, 1)) for layer in range(LAYERS + 1)]
    own = [Reading("lens", layer, None) for layer in range(LAYERS + 1)] + [Reading("head", LAYERS, None)]
    readings += own if head else []
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
        runs=["run"] * len(readings),
        ids=[e.id for e in examples],
        texts=texts,
        chars=chars,
        answered=answered,
        null_probability=null,
        **dict.fromkeys(("exact", "f1", "forced_f1"), exact),
        **dict.fromkeys(("start_nll", "end_nll"), 1 - exact),
        answerable=np.array([bool(e.answers) for e in examples]),
        article=article,
        paragraph=paragraph,
    )


def write_study(folder: Path) -> None:
    """The tables of the study, as evaluate, examine and compare write them."""
    for number, key in enumerate(MODELS):
        curve = [
            point(key, layer, (15 * epoch - 12 * number) * layer, 90 - 5 * layer, epoch=epoch, seed=seed)
            for epoch in (1, 2)
            for layer in range(LAYERS + 1)
            for seed in (1, 2)
        ]
        curve += [gold_or_head("head", key, LAYERS, 80, 80)] if number == 0 else []
        headline = {name: name == PROTOCOLS[0] for name in PROTOCOLS}
        rows = [row | {"protocol": name, "headline": first} for name, first in headline.items() for row in curve]
        write(folder, key, "evaluate/layers", rows, LAYER_COLUMNS)
        losses = [
            {"model": key, "layer": layer, "epoch": epoch, "step": 7 * epoch, "loss": 3 / (1 + epoch)}
            for layer in range(LAYERS + 1)
            for epoch in (0.5, 1, 2)
        ]
        write(folder, key, "evaluate/loss", losses, LOSS)
        lens = [row | {"reading": "lens"} for row in intervals(key) if key == "tuned"]
        write(folder, key, "evaluate/intervals", intervals(key) + lens, INTERVALS)
        steps = differences(key, key, "layer less the one below")[1:]
        write(folder, key, "evaluate/steps", steps, DIFFERENCES)
        points = [
            {"model": key, "protocol": PROTOCOLS[0], "headline": True, "reading": "probe", "layer": layer}
            for layer in range(LAYERS + 1)
        ]
        quality = [row | dict.fromkeys(QUALITY[5:], 10.0 + row["layer"]) for row in points]
        write(folder, key, "evaluate/quality", quality, QUALITY)
        groups = [
            row
            | {"breakdown": "question word", "group": word, "answerable": count, "forced_f1": 5.0 * row["layer"]}
            | {"reading": reading, "questions": count + 5, "settled": share * row["layer"]}
            for row in points
            for reading in ("probe", "lens")[: 1 + (key == "tuned")]
            for word, count, share in (("what", 30, 10.0), ("who", 25, 20.0), ("why", 19, 20.0))
        ]
        write(folder, key, "evaluate/breakdown", groups, BREAKDOWN)
        files = {"model.safetensors": {"bytes": 9, "sha256": "0" * 64}}
        record = {"source": f"path:{HOSTILE}", "files": files, "model_type": "bert"}
        record["gold"] = {"questions": 8, "came_back": 7}
        write_json(folder / key / "evaluate/runs.json", {key: record})
        write_examination(folder, key)
    losses = [{"l2": l2, "loss": 3.0} for l2 in (0.1, 1.0)]
    write_json(folder / "l2.json", {"l2": 0.1, "at_edge": True, "validation_loss": losses})
    write(folder, "tuned", "compare/differences", differences("tuned", "base", "tuned less base"), DIFFERENCES)
    grafts = [row | {"reading": kind} for kind in ("graft", "graft_reverse") for row in intervals("tuned")]
    write(folder, "tuned", "compare/grafts", grafts, INTERVALS)
    write_layer_pairs(folder, "tuned", "compare", "base")


def write_examination(folder: Path, key: str) -> None:
    """Controls, and the layers of one model against one another."""
    sizes = {"training_questions": 33, "questions": 12}
    falls = {"task": 0.0, "shuffled_question": 20.0, "no_question": 30.0, "position_only": 35.0}
    falls["question_products"] = -5.0 if key == "base" else 0.0
    rows = [
        {"model": key, "control": name, "layer": layer, **sizes, "forced_f1": 40.0 + layer - fall, "selectivity": fall}
        for name, fall in falls.items()
        for layer in range(LAYERS + 1)
    ]
    write(folder, key, "examine/controls", rows, CONTROLS)
    sums = {"task": 1.0, "question_products": 1.15 if key == "base" else 1.0}
    clusters = [
        {"model": key, "control": form, "layer": layer, "cluster": cluster, "questions": 3}
        | {"f1_sum": f1_sum + 0.1 * layer}
        for form, f1_sum in sums.items()
        for layer in range(LAYERS + 1)
        for cluster in range(4)
    ]
    write(folder, key, "examine/clusters", clusters, CLUSTERS)
    layers = [{"model": key, "layer": layer} for layer in range(LAYERS + 1)]
    curve = [
        row | {"articles": n, "training_questions": 11 * n, "forced_f1": 9.0 * n} for row in layers for n in (1, 3)
    ]
    write(folder, key, "examine/learning", curve, LEARNING)
    write(folder, key, "examine/description", [row | {"compression": 1.5} for row in layers], DESCRIPTION)
    write_layer_pairs(folder, key, "examine", key)


def write_layer_pairs(folder: Path, key: str, stage: str, other: str) -> None:
    """Similarity of every layer of one model with every layer of another."""
    similarity = [
        {"model": key, "layer": layer, "other": other, "other_layer": partner, "tokens": 99}
        | {"cka": 1 / (1 + abs(layer - partner))}
        for layer in range(LAYERS + 1)
        for partner in range(LAYERS + 1)
    ]
    write(folder, key, f"{stage}/similarity", similarity, SIMILARITY)


def write(folder: Path, key: str, table: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """One table; columns that the rows lack are empty."""
    write_table(folder / key / f"{table}.csv", pd.DataFrame(rows, columns=list(columns)))


def intervals(key: str) -> list[dict[str, Any]]:
    """Of every point, each 4 points wide, and a band of 8."""
    bounds = {"estimate": 12.0, "low": 10.0, "high": 14.0, "band_low": 8.0, "band_high": 16.0}
    return [
        {"model": key, "protocol": name, "headline": name == PROTOCOLS[0], "reading": "probe", "layer": layer}
        | {"metric": metric, **bounds, **UNIT}
        for name in PROTOCOLS
        for layer in range(LAYERS + 1)
        for metric in ("f1", "forced_f1")
    ]


def differences(key: str, less: str, comparison: str) -> list[dict[str, Any]]:
    """Of forced F1 under the headline protocol: layer l differs by l points, give or take 1.5."""
    return [
        {"comparison": comparison, "model": key, "less": less, "protocol": PROTOCOLS[0], "headline": True}
        | {"layer": layer, "metric": "forced_f1", "estimate": layer, "low": layer - 1, "high": layer + 1}
        | {"band_low": layer - 1.5, "band_high": layer + 1.5, **UNIT}
        for layer in range(LAYERS + 1)
    ]


def build(root: Path, *, questions: bool = True) -> Path:
    """Write the study and its report without PNGs, and perhaps without its questions; returns the path of the page."""
    params = read_yaml(ROOT / "params.yaml")
    encoder = params["encoders"]["minilm"]
    params |= {"compared": {"tuned": "base"}, "study": "small", "probed": list(MODELS), "ladder": list(PROTOCOLS)}
    params["runs"] = {key: key for key in MODELS}
    params["encoders"] = {"base": encoder, "noise": encoder | {"random_weights_of": "base", "seed": 3}}
    params["finetuned"] = {"tuned": params["finetuned"]["minilm-finetuned"] | {"base": "base"}}
    params["datasets"]["sample"]["dev"]["source"] = f"dev {HOSTILE}"
    protocol = params["protocols"]["corrected"]
    params |= {"protocols": {"one": protocol, "two": protocol | {"answer_text": "wordpieces"}}, "headline": "one"}
    root.mkdir(parents=True, exist_ok=True)
    write_yaml(root / "params.yaml", params)
    method = read_yaml(ROOT / "method.yaml")
    method["statistics"]["confidence"] = 0.9
    write_yaml(root / "method.yaml", method)
    for name in ("train.json", "dev.json"):
        write_squad(root / "squad" / name)
    write_study(root / "metrics")
    examples = read_squad(root / "squad/dev.json", purpose="score")
    for number, key in enumerate(MODELS):
        for name in PROTOCOLS:
            save_question_scores(root / f"scores/{key}/{name}", scores(examples, number + 1, head=number == 0))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(report, "write_figures", lambda *given: None)
        inputs = Path("metrics"), Path("scores"), Path("squad"), ROOT / "studies/published", ROOT / "requirements.txt"
        report.main(*inputs, Path("plots"), questions=questions)
    return root / "plots/report.html"
