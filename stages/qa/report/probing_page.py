"""Controls, code length, mixes, networks and comparisons across layers, as a Markdown page."""

import pandas as pd

from stages.qa.report.depth import centre_of_gravity, expected_layer
from stages.qa.report.probing_results import ProbingResults
from stages.qa.report.tables import last_epoch, markdown, percent

CONTROLS = ("shuffled_question", "no_question", "random_spans", "position_only")


def probing_page(results: ProbingResults, scores: pd.DataFrame) -> str:
    """The page; `scores` is the score frame of the probed models, for the spread over seeds and learning rates."""
    first = results.controls.iloc[0]
    counted = f"{int(first['questions'])} sampled dev questions with an answer"
    parts = [
        "# Beneath the curves\n\nWhat each number is, its source and what it does not show: docs/probing.md. Forced F1 "
        f"is in percent, of {counted}.\n",
        "## Controls\n\nForced F1 of the probe trained on the sample, and its selectivity against each control: task "
        f"minus control, in points. All were trained on {int(first['training_questions'])} questions.\n",
        markdown(_control_rows(results.controls), left=1),
    ]
    if len(results.code_length):
        positions = int(results.code_length["positions"].iloc[0])
        parts += [
            "## Description length\n\nCompression of the positions by the online code, uniform code = 1, and of random "
            f"spans in their place; {positions} positions.\n",
            markdown(_code_rows(results.code_length), left=1),
        ]
    if len(results.mixing):
        parts += [
            "## Mixes\n\nUnit: layers. Centre of gravity: of the weights of the mix of all layers. Expected layer: of "
            "the gains in forced F1 of each mix over the one of a layer less.\n",
            markdown(_mixing_rows(results.mixing), left=1),
        ]
    if len(results.mlp):
        parts += [
            "## One hidden layer\n\nForced F1 of a network with one hidden layer, and of the linear probe, on the same "
            "questions.\n",
            markdown(_mlp_rows(results.mlp), left=1),
        ]
    across = results.transfer[results.transfer["model"] != results.transfer["probes_of"]]
    if len(across):
        parts += [
            "## What fine-tuning moved\n\nCKA of a layer with the same layer of the other model, and forced F1 of the "
            "other model's probe of that layer read on it unchanged.\n",
            markdown(_moved_rows(results.similarity, across), left=2),
        ]
    parts += ["## Spread over seeds and learning rates\n", spread(scores)]
    return "\n".join(parts)


def spread(scores: pd.DataFrame) -> str:
    """Lowest to highest F1 and forced F1 over seeds, and over all learning rates and seeds, after the last epoch."""
    probes = last_epoch(scores[(scores["reading"] == "probe") & scores["seed"].notna()])
    if not len(probes) or len(probes[["learning_rate", "seed"]].drop_duplicates()) == 1:
        return "One seed and one learning rate: no spread was measured.\n"
    rows = [["model", "protocol", "layer", "learning rate", "seeds", "F1", "forced F1"]]
    for keys, part in probes.groupby(["model", "protocol", "layer", "learning_rate"], sort=False):
        ranges = [f"{percent(part[name].min())} to {percent(part[name].max())}" for name in ("f1", "forced_f1")]
        model, protocol, layer, rate = keys
        rows.append([model, protocol, f"{layer:g}", f"{rate:g}", str(len(part)), *ranges])
    return markdown(rows, left=2)


def _control_rows(controls: pd.DataFrame) -> list[list[str]]:
    rows = [["model", "layer", "forced F1", *(name.replace("_", " ") for name in CONTROLS)]]
    for (model, layer), part in controls.groupby(["model", "layer"], sort=False):
        own = part.set_index("control")
        values = [own.loc["task", "forced_f1"], *(own.loc[name, "selectivity"] for name in CONTROLS)]
        rows.append([model, str(layer), *map(percent, values)])
    return rows


def _code_rows(codes: pd.DataFrame) -> list[list[str]]:
    rows = [["model", "layer", "gold", "random spans", "gold, bits a position"]]
    for (model, layer), part in codes.groupby(["model", "layer"], sort=False):
        own = part.set_index("labels")
        bits = own.loc["gold", "bits"] / own.loc["gold", "positions"]
        values = [own.loc["gold", "compression"], own.loc["random_spans", "compression"], bits]
        rows.append([model, str(layer), *map(percent, values)])
    return rows


def _mixing_rows(mixing: pd.DataFrame) -> list[list[str]]:
    rows = [["model", "centre of gravity", "expected layer", "forced F1 of the mix"]]
    for model, part in mixing.groupby("model", sort=False):
        own = part.sort_values("layer")
        values = centre_of_gravity(own["weight"]), expected_layer(own["forced_f1"]), own["forced_f1"].iloc[-1]
        rows.append([model, *map(percent, values)])
    return rows


def _mlp_rows(mlp: pd.DataFrame) -> list[list[str]]:
    rows = [["model", "layer", "network", "linear", "network, nats", "linear, nats"]]
    for row in mlp.to_dict("records"):
        values = [row[name] for name in ("forced_f1", "linear_forced_f1", "nll", "linear_nll")]
        rows.append([row["model"], str(row["layer"]), *map(percent, values)])
    return rows


def _moved_rows(similarity: pd.DataFrame, across: pd.DataFrame) -> list[list[str]]:
    rows = [["model", "against", "layer", "CKA", "forced F1"]]
    cka = similarity.set_index(["model", "other", "layer", "other_layer"])["cka"]
    for row in across[across["layer"] == across["probe_layer"]].to_dict("records"):
        alike = cka.loc[(row["model"], row["probes_of"], row["layer"], row["layer"])]
        values = percent(alike), percent(row["forced_f1"])
        rows.append([row["model"], row["probes_of"], str(row["layer"]), *values])
    return rows
