"""What the templates of the report are filled with: tables of texts, lists, and the numbers of the charts."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from stages.qa.config import Params
from stages.qa.errors import InputError
from stages.qa.models.manifest import checksum
from stages.qa.report import findings, original
from stages.qa.report.charts import Chart, evidence_charts
from stages.qa.report.html import MISSING, Table, number
from stages.qa.report.original import Claim, Key, claims
from stages.qa.report.page_data import chart_data
from stages.qa.report.probing_charts import probing_charts, similarity_caption
from stages.qa.report.results import Results, counts_note, no_answer_score, of_readings, runs_note
from stages.qa.scoring.curves import best_layer
from stages.qa.scoring.intervals import Interval, Resampled
from stages.qa.sections import Dataset

RESULT_SCORES = {"exact": "exact", "f1": "F1", "HasAns_f1": "HasAns", "NoAns_f1": "NoAns", "forced_f1": "forced"}
PUBLISHED = {"exact": "exact", "f1": "F1", "HasAns_exact": "HasAns exact", "HasAns_f1": "HasAns F1"}
PUBLISHED |= {"NoAns_exact": "NoAns exact", "NoAns_f1": "NoAns F1"}


def study_view(
    params: Params, results: Results, resampled: Mapping[Key, Resampled], published_rows: pd.DataFrame
) -> tuple[dict[str, Any], dict[str, Chart]]:
    """The values of all templates but for "provenance" and "explorer", and name -> chart below the page's curves.

    The report prints most of `params`. published_rows: of `read_published`.
    """
    curves, protocols, confidence = results.curves, results.protocols, params.statistics.confidence
    family = findings.lineage(results.models, params.encoders, params.finetuned)
    floor = no_answer_score(results.layers)
    summary = findings.headline(resampled, protocols[0], family, floor)
    judged = claims(resampled, family.bases)
    steps = findings.ladder(curves, params.ladder)
    first = [*params.ladder, *protocols][0]  # stands beside the published numbers: a ladder starts from the original's
    comparison = original.compare(results.layers, published_rows, first)
    charts = probing_charts(results, confidence) | evidence_charts(results, comparison, confidence)
    published_curves = original.as_curves(published_rows)
    published_bases = findings.pretrained_bases([model for model, _ in published_curves], {})
    view = {
        "study": params.study,
        "dataset": params.dataset,
        "settings": {"probe": params.probe, "convex": params.convex, "windows": params.windows},
        "protocols": {name: params.protocols[name] for name in protocols},
        "headline": summary,
        "both_forms": findings.both_forms(results.clusters, family.bases, params.statistics),
        "l2": findings.l2_note(results.l2),
        "confidence": f"{100 * confidence:g}",
        "kinds": family.kinds,
        "question_counts": counts_note(results.layers),
        "no_answer": number(floor),
        "runs": runs_note(results),
        "peaks": findings.peaks(resampled, protocols[0], summary.metric),
        "results": [*(result_table(curves, protocol) for protocol in protocols), *depth_tables(results)],
        "ladder": ladder_tables(steps),
        "probe_steps": f"{results.losses['step'].max():,.0f}" if len(results.losses) else MISSING,
        "statements": original.STATEMENTS,
        "claims": judged,
        "statement_note": statement_note(judged, confidence),
        "published": {
            "protocol": first,
            "epoch": original.EPOCH,
            "questions": original.QUESTIONS,
            "same_questions": int(results.layers["total"].iloc[0]) == original.QUESTIONS,
            "rows": len(comparison),
            "run": int((comparison["status"] == "run").sum()),
            "tables": published_tables(comparison),
            "claims": claims(published_curves, published_bases),
        },
        "similarity_caption": similarity_caption(results.similarity).replace("\n", "; "),
        "charts": chart_data(results, charts, steps, family.kinds, summary.metric, confidence),
    }
    return view, charts


def result_table(curves: pd.DataFrame, protocol: str) -> Table:
    """A model's first, highest and last layer, its own QA head, and the ceiling: a row each."""
    rows = []
    for model, points in curves[curves["protocol"] == protocol].groupby("model", sort=False):
        probes = of_readings(points, "probe").sort_values("layer")
        chosen = {}
        if len(probes):
            chosen = {"first layer": probes.iloc[0], "highest F1": best_layer(probes), "last layer": probes.iloc[-1]}
        for name, reading in (("own head", "head"), ("decode ceiling", "gold")):
            if (points["reading"] == reading).any():
                chosen[name] = points[points["reading"] == reading].iloc[0]
        for name, point in chosen.items():
            layer = number(point["layer"], "g") if point["reading"] == "probe" else MISSING
            rows.append([str(model), name, layer, *(number(point[score]) for score in RESULT_SCORES)])
    return Table(["model", "", "layer", *RESULT_SCORES.values()], rows, names=2, caption=f"Protocol {protocol}")


def depth_tables(results: Results) -> list[Table]:
    """A table per model with a lens, a row per layer: what its encoder costs and its head scores if it ends there."""
    points, groups = of_readings(results.intervals, "lens"), of_readings(results.breakdown, "lens")
    points, groups = points[points["headline"]], groups[groups["headline"]]
    tables = []
    for model, part in points[points["metric"] == "forced_f1"].groupby("model", sort=False):
        rows = []
        for row in part.to_dict("records"):
            here = groups[(groups["model"] == model) & (groups["layer"] == row["layer"])]
            # each breakdown has every question once
            settled = (here["settled"] * here["questions"]).sum() / here["questions"].sum()
            forced = Interval(row["estimate"], row["low"], row["high"])
            cost = 100 * row["layer"] / part["layer"].max()
            rows.append([number(row["layer"], "g"), f"{cost:.1f}", str(forced), f"{settled:.1f}"])
        tables.append(Table(["layer", "multiply-adds", "forced", "settled"], rows, caption=f"{model}, cut at a layer"))
    return tables


def ladder_tables(steps: pd.DataFrame) -> list[Table]:
    """A table per model, a row per step: by how many points the scores of the last layer change."""
    tables, scores = [], {name: RESULT_SCORES[name] for name in findings.STEP_SCORES}
    for model, part in steps.groupby("model", sort=False):
        rows = [[row["step"], *(number(row[name], "+.2f") for name in scores)] for row in part.to_dict("records")]
        tables.append(Table(["step", *scores.values()], rows, caption=str(model)))
    return tables


def statement_note(judged: Sequence[Claim], confidence: float) -> str:
    """How the claims are judged, and how many are looked at."""
    if not judged:
        return "No model of this study is fine-tuned, so there is nothing to judge."
    count = len(judged)
    return (
        "Layer 0 does not count; thirds are those of layers 1 to the last. The thresholds are this project's own. In "
        f"brackets: {100 * confidence:g} % intervals of the very quantities. A statement holds, or does not, if they "
        f"lie on one side of the thresholds; else it is not decided. {count} claims were judged, each on its own: by "
        f"chance, about {(1 - confidence) * count:.1f} of them may be wrong."
    )


def published_tables(comparison: pd.DataFrame) -> list[dict[str, Any]]:
    """A table per published model, and whether any of its rows was run here; ours only where one was."""
    tables = []
    for model, part in comparison.groupby("model_prefix", sort=False):
        run = bool((part["status"] == "run").any())
        head = ["layer"]
        for name in PUBLISHED.values():
            head += [name, "ours", "diff."] if run else [name]
        rows = []
        for row in part.to_dict("records"):
            cells = ["head" if row["reading"] == "head" else number(row["layer"], "g")]
            for name in PUBLISHED:
                cells.append(number(row[f"{name}_published"]))
                if run:
                    cells += [number(row[f"{name}_ours"]), number(row[f"{name}_difference"], "+.2f")]
            rows.append(cells)
        tables.append({"run": run, "table": Table(head, rows, caption=str(model))})
    return tables


def sources(
    params: Params, runs: Mapping[str, Mapping[str, dict[str, Any]]], data_dir: Path, requirements: Path
) -> dict[str, Any]:
    """Where the numbers come from: tables of the files of `data_dir` and of the models, and the pinned versions.

    runs: model -> run -> what the predict stage writes to model.json. InputError if a file of questions is missing.
    """
    records = {run: record for of_model in runs.values() for run, record in of_model.items()}
    pins = re.findall(r"^([\w-]+)==([\w.]+)", requirements.read_text(encoding="utf-8"), re.MULTILINE)
    return {
        "files": file_table(data_dir, params.datasets[params.dataset]),
        "models": model_table(records, params),
        "weights": weights_table(records),
        "versions": dict(pins),
    }


def file_table(folder: Path, dataset: Dataset) -> Table:
    """The files of questions in `folder`: where they are from, which articles they hold, and their checksums."""
    rows = []
    for name, file in (("train.json", dataset.train), ("dev.json", dataset.dev)):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: is missing; run the dataset stage again")
        articles = "all" if file.articles is None else f"first {file.articles}"
        rows.append([name, file.source, articles, checksum(folder / name)])
    return Table(["file", "source", "articles", "sha256"], rows, names=4)


def model_table(records: Mapping[str, Mapping[str, Any]], params: Params) -> Table:
    """The runs: source (hub:name@commit, wheel:name==version, finetune:base, ...) and settings."""
    family = findings.lineage(list(records), params.encoders, params.finetuned)
    rows = []
    for key, record in records.items():
        settings = "as fetched"
        if key in params.finetuned:
            run = params.finetuned[key]
            settings = (
                f"from {run.base}: {run.num_train_epochs} epochs, batch {run.train_batch_size}"
                f" × {run.gradient_accumulation_steps}, learning rate {run.learning_rate:g}, seed {run.seed}"
            )
        elif (seed := params.encoders[key].seed) is not None:
            settings = f"weights drawn with seed {seed}"
        back = "{came_back:,} of {questions:,}".format(**record["gold"])
        rows.append([key, family.kinds[key], record["model_type"], record["source"], settings, back])
    head = ["model", "kind", "architecture", "source", "settings", "gold answers that its tokens give back"]
    return Table(head, rows, names=5)


def weights_table(records: Mapping[str, Mapping[str, Any]]) -> Table:
    """The files of weights and their checksums."""
    rows = []
    for key, record in records.items():
        for name, file in record["files"].items():
            if name.endswith((".safetensors", ".bin")):
                rows.append([key, name, f"{file['bytes']:,}", file["sha256"]])
    return Table(["model", "file", "bytes", "sha256"], rows, names=4)
