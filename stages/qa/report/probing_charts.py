"""The three curves of depth; the probes themselves: strength of the penalty, controls, learning curves, similarity."""

import numpy as np
import pandas as pd

from stages.qa.report.charts import KINDS, Chart, bands_from
from stages.qa.report.results import Results, joined, mean_of_runs, of_readings, runs_note


def probing_charts(results: Results, confidence: float) -> dict[str, Chart]:
    """Name -> chart. confidence: of the bands, a share."""
    parts = "Forced F1 of probes trained on nested parts of the sampled training questions"
    learning = results.learning.rename(columns={"training_questions": "training questions"})
    code = "Compression of the answers of unseen articles\nuniform code over online code of the sampled dev questions"
    description, levels = results.description.assign(panel="compression"), [("compression", "nothing learned", 1.0)]
    loss = "Training loss of the probes\nmean cross-entropy of start and end position"
    return {
        "three_curves": three_curves(results, confidence),
        "strengths": strengths(results.layers),
        "controls": controls(results.controls),
        "learning": Chart(parts, learning, "model", "layer", "forced_f1", x="training questions", y="forced F1 (%)"),
        "description": Chart(code, description, "panel", "model", "compression", y="times", levels=levels),
        "loss_curves": Chart(loss, results.losses, "model", "layer", "loss", x="epoch", y="loss (nats)"),
    }


def three_curves(results: Results, confidence: float) -> Chart:
    """What a layer holds, what the head would answer there, and which layers fine-tuning needs to have changed.

    Three panels for each compared model, under the headline protocol. Two floors stand beside the probes: a reader that
    sees no word, and random layers over the base's embeddings.
    """
    pairs = results.differences[["model", "less"]].drop_duplicates().itertuples(index=False)
    rows = results.intervals[results.intervals["headline"].astype(bool)]
    metric = "forced_f1" if (rows["metric"] == "forced_f1").any() else "f1"
    rows, grafts = (part[part["metric"] == metric] for part in (rows, results.grafts))
    names = {"graft": "base up to this layer", "graft_reverse": "base after this layer"}
    floors = results.controls if metric == "forced_f1" else results.controls.iloc[:0]
    parts, panels, levels = [], [], []
    for model, base in pairs:
        read, lens, grafted = (f"{model}: {name}" for name in ("probe", "lens", "grafts"))
        panels += [read, lens, grafted]
        of_both = of_readings(rows[rows["model"].isin([model, base])], "probe")
        of_lens = of_readings(rows[rows["model"] == model], "lens")
        of_grafts = grafts[grafts["model"] == model]
        parts += [
            of_both.assign(panel=read, line=of_both["model"].map({model: "fine-tuned", base: "its base"})),
            of_lens.assign(panel=lens, line="fine-tuned"),
            of_grafts.assign(panel=grafted, line=of_grafts["reading"].map(names)),
        ]
        by_chance = floors[(floors["model"] == base) & (floors["control"] == "random_layers")]
        parts.append(by_chance.rename(columns={"forced_f1": "estimate"}).assign(panel=read, line="random layers"))
        by_position = floors[(floors["model"] == model) & (floors["control"] == "position_only")]
        levels += [(read, "position alone", f1) for f1 in by_position["forced_f1"].head(1)]
    points = joined([pd.DataFrame(columns=[*rows.columns, "panel", "line"]), *parts])
    points = points.assign(low=points["band_low"], high=points["band_high"])
    caption = f"Three curves of depth: F1 by layer\n{KINDS[metric]}{runs_note(results)}{bands_from(rows, confidence)}"
    caption += "; grafts and floors: sampled questions"
    lines = ["fine-tuned", "its base", *names.values(), "random layers"]
    return Chart(
        caption, points, "panel", "line", "estimate", y="F1 (%)", lines=lines, panels=panels, across=3, levels=levels
    )


def controls(rows: pd.DataFrame) -> Chart:
    """Forced F1 by layer of the probe and of its controls."""
    caption = "A probe and its controls: forced F1"
    if len(rows):
        size = rows.iloc[0]
        caption += f", {size['questions']:.0f} sampled HasAns questions\n"
        caption += f"all trained on the same {size['training_questions']:.0f} questions"
    rows = rows.rename(columns={"band_low": "low", "band_high": "high"})
    return Chart(caption, rows, "model", "control", "forced_f1", y="forced F1 (%)")


def strengths(layers: pd.DataFrame) -> Chart:
    """HasAns F1, refused and forced, of the probes at their optimum under each l2; a line for each layer.

    No rows if there is one l2 alone.
    """
    kinds = {name: KINDS[name] for name in ("HasAns_f1", "forced_f1")}
    layers = layers[layers["headline"] & layers["l2"].notna() & (layers["l2"].nunique() > 1)]
    rows = mean_of_runs(layers, ["model", "layer", "l2"], list(kinds))
    rows = rows.melt(["model", "layer", "l2"], list(kinds), "metric")
    rows["log10 of l2"] = np.log10(rows["l2"])
    rows["panel"] = rows["model"] + ": " + rows["metric"].map(kinds)
    panels = [f"{model}: {kind}" for model in rows["model"].unique() for kind in kinds.values()]
    caption = "F1 of a probe on each layer, by the strength of its penalty"
    return Chart(caption, rows, "panel", "layer", "value", x="log10 of l2", y="F1 (%)", panels=panels)


def similarity_rows(results: Results) -> pd.DataFrame:
    """Columns panel, layer, other_layer, value: CKA, a panel for each pair of models."""
    rows = results.similarity
    names = rows["model"].where(rows["model"] == rows["other"], rows["model"] + " and " + rows["other"])
    return rows.assign(panel=names, value=rows["cka"])[["panel", "layer", "other_layer", "value"]]


def similarity_caption(similarity: pd.DataFrame) -> str:
    """Caption of the maps of `similarity_rows`."""
    tokens = similarity["tokens"].max() if len(similarity) else 0
    return f"Linear CKA between layers\n{tokens:.0f} tokens of the sampled dev questions"
