"""Scores of every reading of a model: the points of its layer curves, and their summary."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.qa.answering.answers import Answers
from stages.qa.data.squad import Example
from stages.qa.errors import InputError
from stages.qa.files import write_json, write_text
from stages.qa.metric import official_metrics
from stages.qa.progress import Progress

SCORES = (
    *("total", "exact", "f1"),
    *("HasAns_total", "HasAns_exact", "HasAns_f1", "NoAns_total", "NoAns_exact", "NoAns_f1"),
    *("forced_exact", "forced_f1", "best_exact", "best_exact_thresh", "best_f1", "best_f1_thresh"),
)
COLUMNS = ("model", "protocol", "reading", "epoch", "layer", "learning_rate", "seed", *SCORES)
Point = dict[str, Any]  # one row under COLUMNS; None: does not apply


def curve_points(model: str, examples: Sequence[Example], answers: Mapping[str, Answers]) -> list[Point]:
    """The official metric of each reading under each protocol, in percent, and the one with an answer forced.

    forced_*: questions that have an answer, answered by the best span whatever the null score. best_*: the official
    best threshold over the null probabilities. Raises InputError if the answers are not those of these questions.
    """
    answerable = [example for example in examples if example.answers]
    points: list[Point] = []
    with Progress("scoring", total=sum(len(a.readings) for a in answers.values()), unit="reading") as progress:
        for protocol, given in answers.items():
            if given.ids != [example.id for example in examples]:
                raise InputError(f"{model}: the answers are not those of this dev file; run predict again")
            for row, reading in enumerate(given.readings):
                probabilities = given.null_probabilities(row)
                scores: Point = official_metrics(examples, given.final(row))
                every = given.forced(row)
                # the best threshold is sought over all spans, refused or not, as the official script is used
                best = official_metrics(examples, every, probabilities)
                scores |= {name: best[name] for name in best if name.startswith("best_")}
                if answerable:
                    forced = official_metrics(answerable, {e.id: every[e.id] for e in answerable})
                    scores |= {"forced_exact": forced["exact"], "forced_f1": forced["f1"]}
                readout = reading.readout
                point: Point = {
                    "model": model,
                    "protocol": protocol,
                    "reading": reading.kind,
                    "epoch": readout and readout.epoch,
                    "layer": reading.layer,
                    "learning_rate": readout and readout.learning_rate,
                    "seed": readout and readout.seed,
                }
                points.append(point | {name: scores.get(name) for name in SCORES})
                progress.advance()
    return points


def write_points(path: Path, points: Sequence[Point]) -> None:
    """CSV under COLUMNS, numbers in full."""
    write_rows(path, COLUMNS, points)


def write_rows(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """CSV of rows that hold the columns' values."""
    table = io.StringIO()
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, table.getvalue())


def write_losses(path: Path, model: str, losses: Path) -> None:
    """The loss curve of the model's probes, with the model's name as first column."""
    header, *rows = losses.read_text(encoding="utf-8").splitlines()
    write_text(path, "".join(f"{line}\n" for line in [f"model,{header}", *(f"{model},{row}" for row in rows)]))


def write_summary(path: Path, points: Sequence[Point]) -> None:
    """A flat JSON for `dvc metrics show`: best layer, last layer and head, last epoch of the first protocol."""
    first = [point for point in points if point["protocol"] == points[0]["protocol"]]
    probes = [point for point in first if point["reading"] == "probe"]
    summary: dict[str, float | None] = {}
    if probes:
        variant = probes[-1]["epoch"], probes[0]["learning_rate"], probes[0]["seed"]
        curve = [p for p in probes if (p["epoch"], p["learning_rate"], p["seed"]) == variant]
        best = max(curve, key=lambda point: (point["f1"], point["HasAns_f1"] or 0))  # the shallowest of equals
        summary = {"best_layer": best["layer"]} | _short("best", best) | _short("last", curve[-1])
    for point in first:
        if point["reading"] == "head":
            summary |= _short("head", point)
    write_json(path, summary)


def write_question(
    path: Path, model: str, id_: str | None, examples: Sequence[Example], answers: Mapping[str, Answers]
) -> None:
    """The original's Table 1: what each reading answered to one question; a file with a header only if `id_` is None.

    Raises InputError if no question has that id.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)  # else \r ends a row
    writer.writerow(["model", "protocol", "reading", "epoch", "layer", "answer", "null_probability"])
    if id_ is not None and id_ not in {example.id for example in examples}:
        raise InputError(f"question: no dev question has the id {id_!r}")
    if id_ is not None:
        for protocol, given in answers.items():
            for row, reading in enumerate(given.readings):
                epoch = reading.readout and reading.readout.epoch
                text, probability = given.final(row)[id_], given.null_probabilities(row)[id_]
                writer.writerow([model, protocol, reading.kind, epoch, reading.layer, text, probability])
    write_text(path, table.getvalue())


def _short(prefix: str, point: Point) -> dict[str, float | None]:
    names = ("exact", "f1", "HasAns_f1", "NoAns_f1", "forced_f1")
    return {f"{prefix}_{name.lower()}": None if point[name] is None else round(point[name], 2) for name in names}
