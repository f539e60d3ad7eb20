"""Results of a small study, with numbers that are easy to work out by hand, for the tests of the figures."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.qa.readings import CLUSTERS
from stages.qa.report.results import Results

NAN = float("nan")
POINT = ["model", "protocol", "headline", "reading", "layer"]
SCORES = ["total", "HasAns_total", "NoAns_total"]
SCORES += [f"{kind}{score}" for score in ("f1", "exact") for kind in ("", "HasAns_", "NoAns_", "forced_")]
METRICS = ["f1", "HasAns_f1", "NoAns_f1", "forced_f1", "exact"]
GROUPS = {
    "breakdown": ["question word", "question word", "windows"],
    "group": ["what", "who", "one window"],
    "questions": [90, 19, 109],
    "answerable": [60, 19, 60],
}


def example(
    sizes: Sequence[int],
    *,
    protocols: Sequence[str] = ("paper",),
    epochs: int = 1,
    seeds: int = 1,
    heads: int = 0,
    bands: bool = False,
) -> Results:
    """Model m<i> has layers 0..sizes[i], and a QA head and lens if i < heads; m0 is compared with m1 if there is one.

    At layer l, HasAns F1 is 10 i + l + epoch + seed / 10, NoAns F1 80. Bands are 2 points wide on each side.
    """
    rows = []
    for i, size in enumerate(sizes):
        for protocol in protocols:
            same = {
                "model": f"m{i}",
                "run": f"m{i}",
                "protocol": protocol,
                "headline": protocol == protocols[0],
                "final": True,
            }
            for layer in range(size + 1):
                probe = {**same, "reading": "probe", "layer": layer, "learning_rate": 0.1}
                rows.append({**probe, **scores(0), "learning_rate": 0.9, "epoch": epochs, "seed": 0, "final": False})
                rows += [
                    {**probe, **scores(10 * i + layer + epoch + seed / 10)}
                    | {"epoch": epoch, "seed": seed, "l2": NAN, "final": epoch == epochs}
                    for epoch in range(1, epochs + 1)
                    for seed in range(seeds)
                ]
            if i < heads:
                rows += [{**same, **scores(3), "reading": "lens", "layer": layer} for layer in range(size + 1)]
                rows.append({**same, **scores(90), "reading": "head", "layer": size, "f1": 84 + i, "exact": 42 + i / 2})
                rows.append({**same, **scores(100), "reading": "gold", "layer": size})
    return of_layers(pd.DataFrame(rows), bands=bands)


def scores(has: float) -> dict[str, float]:
    """Percent, of 4 HasAns and 6 NoAns questions: exact match is half of F1."""
    f1 = {"f1": 48 + 0.4 * has, "HasAns_f1": has, "NoAns_f1": 80, "forced_f1": has + 5}
    exact = {name.replace("f1", "exact"): score / 2 for name, score in f1.items()}
    return {"total": 10, "HasAns_total": 4, "NoAns_total": 6, **f1, **exact}


def of_layers(layers: pd.DataFrame, *, bands: bool = False) -> Results:
    """Results whose other frames follow from `layers` (columns POINT, epoch, learning_rate, seed, final and SCORES)."""
    models = list(layers["model"].unique())
    curves = layers[layers["final"]].groupby(POINT, sort=False)[SCORES].mean().reset_index()
    points = curves[curves["reading"] != "gold"]
    probes = points[points["reading"] == "probe"]
    above = probes[probes["layer"] > 0].assign(comparison="layer less the one below")
    tuned = probes[(probes["model"] == "m0") & (len(models) > 1)]
    tuned = tuned.assign(comparison="fine-tuned less pretrained", less="m1")
    states = probes[["model", "layer"]].drop_duplicates()
    controls = [states.assign(control="task", forced_f1=40 + states["layer"])]
    controls += [states.assign(control=name, forced_f1=10) for name in ("no_question", "position_only")]
    return Results(
        models=models,
        layers=layers,
        curves=curves,
        losses=pd.concat([states.assign(epoch=epoch, loss=5 - epoch * states["layer"] / 20) for epoch in (0.5, 1.0)]),
        intervals=intervals(points) if bands else intervals(points).iloc[:0],
        steps=intervals(above),
        differences=intervals(tuned),
        quality=points[POINT].assign(
            questions=700,
            articles=15,
            start_nll=points["layer"],
            end_nll=points["layer"] + 1,
            auprc=points["f1"],
            auprc_chance=40.0,
            ece=points["f1"] / 2,
            crossfit_f1=points["f1"] + 1,
        ),
        breakdown=points[[*POINT, "forced_f1"]].merge(pd.DataFrame(GROUPS), how="cross").assign(settled=7.0),
        controls=pd.concat(controls).assign(training_questions=33, questions=12),
        clusters=pd.DataFrame(columns=CLUSTERS),
        learning=states.assign(training_questions=33, forced_f1=states["layer"]),
        description=states.assign(compression=1.0 + states["layer"]),
        l2={"l2": None, "at_edge": False, "validation_loss": []},
        similarity=pairs(states).assign(tokens=99),
        grafts=intervals(points).iloc[:0],
        runs={model: {model: {}} for model in models},
    )


def intervals(points: pd.DataFrame) -> pd.DataFrame:
    """A row for each of `points` and METRICS, from 12 articles; the estimate is the score."""
    keys = [name for name in ("comparison", "less", *POINT) if name in points]
    rows = points.melt(keys, METRICS, "metric", "estimate")
    return rows.assign(band_low=rows["estimate"] - 2, band_high=rows["estimate"] + 2, clusters=12, unit="article")


def pairs(states: pd.DataFrame) -> pd.DataFrame:
    """cka = 10 times the other's layer, plus the layer: of each model with itself, and of m0 with m1."""
    others = states.rename(columns={"model": "other", "layer": "other_layer"})
    rows = states.merge(others, how="cross")
    rows = rows[(rows["model"] == rows["other"]) | ((rows["model"] == "m0") & (rows["other"] == "m1"))]
    return rows.assign(cka=10 * rows["other_layer"] + rows["layer"])


def lines(axes: Axes, prefix: str = "m") -> list:
    """The lines whose labels begin with `prefix`."""
    return [line for line in axes.lines if str(line.get_label()).startswith(prefix)]


def legend_of(figure: Figure) -> list[str]:
    """The texts of the legend below all axes."""
    return [text.get_text() for text in figure.legends[0].get_texts()]
