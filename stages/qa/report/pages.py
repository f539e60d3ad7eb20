"""The findings, the published numbers and the answers to one question, as Markdown pages."""

import re
from collections.abc import Sequence

import pandas as pd

from stages.qa.report import findings
from stages.qa.report.claims import STATEMENTS, Claim
from stages.qa.report.published import EPOCH, METRICS, QUESTIONS
from stages.qa.report.tables import last_epoch, markdown, percent, question_counts

NAMES = {"f1": "F1", "HasAns_f1": "HasAns", "NoAns_f1": "NoAns", "forced_f1": "forced"}
READINGS = {"head": "own head", "gold": "true span, decoded"}


def findings_page(
    references: pd.DataFrame,
    ladder: pd.DataFrame,
    claims: Sequence[Claim],
    question: pd.DataFrame,
    question_id: str | None,
) -> str:
    """References, ladder (if it has steps), statements, and the answers to the question (if one is set)."""
    protocols = list(dict.fromkeys(references["protocol"]))
    parts = [f"# Findings\n\n{_INTRODUCTION}\n{_REFERENCES}"]
    parts += [f"### {name}\n\n{reference_table(references[references['protocol'] == name])}" for name in protocols]
    if len(ladder):
        parts.append(f"{_LADDER}\n{ladder_table(ladder)}")
    parts.append(_CLAIMS + "".join(f"- {name}: {text}.\n" for name, (text, _, _) in STATEMENTS.items()))
    for name in protocols:
        parts.append(
            f"### Statements under {name}\n\n{claim_table([claim for claim in claims if claim.protocol == name])}"
        )
    if question_id is not None:
        parts.append(f"## Answers to the question {inert(question_id)}\n\n{_QUESTION}")
        parts += [f"### Answers under {name}\n\n{question_table(question, name)}" for name in protocols]
    return "\n".join(parts)


def published_page(frame: pd.DataFrame, rows: pd.DataFrame, claims: Sequence[Claim], protocol: str) -> str:
    """Our numbers beside the published ones (a table for each model), and the statements on the published numbers.

    frame: our scores, rows: of `published.compare` under `protocol`, claims: on the published numbers.
    """
    alike = int(frame["total"].iloc[0]) == QUESTIONS
    done = int((rows["status"] == "run").sum())
    parts = [
        f"""\
# Beside the published numbers

Percent. Published: CS224N's dev split, {QUESTIONS:,} questions; probes after epoch {EPOCH}.
Ours: {question_counts(frame)}; protocol {protocol}.
Our probes are those after epoch {EPOCH} too, or at the optimum where the fit has no epochs.
Difference: ours less published. {done} of {len(rows)} rows have been run.
"""
    ]
    if not alike:
        parts.append("The questions are not the published ones: differences say little.\n")
    for (model, reading), part in rows.groupby(["model_prefix", "reading"], sort=False):
        parts.append(f"## {inert(model)}, {'own head' if reading == 'head' else 'probes'}\n\n{comparison_table(part)}")
    parts.append(f"## The statements on the published numbers\n\n{claim_table(claims)}")
    return "\n".join(parts)


def reference_table(references: pd.DataFrame) -> str:
    """A row per model, a column per reference: exact / F1 / HasAns F1, of one protocol."""
    rows = [["model", *findings.REFERENCES]]
    for model, own in references.groupby("model", sort=False):
        cells = {}
        for _, row in own.iterrows():
            layer = (
                f" ({row['layer']:g})" if row["reference"] in (findings.RANDOM, findings.BEST, findings.LAST) else ""
            )
            scores = " / ".join(percent(row[name]) for name in findings.REFERENCE_SCORES)
            cells[row["reference"]] = scores + layer
        rows.append([model, *(cells.get(name, "-") for name in findings.REFERENCES)])
    return markdown(rows, left=1)


def ladder_table(ladder: pd.DataFrame) -> str:
    """A row per model and step: changes of the scores of the last and of the best layer, in points."""
    both = (findings.LAST, findings.BEST)
    rows = [["model", "step", *(f"{at}: {name}" if name == "F1" else name for at in both for name in NAMES.values())]]
    for (model, step), part in ladder.groupby(["model", "step"], sort=False):
        scores = part.set_index("at").loc[list(both), list(NAMES)].to_numpy().ravel()
        rows.append([model, step, *map(_signed, scores)])
    return markdown(rows, left=2)


def claim_table(claims: Sequence[Claim]) -> str:
    """A row per statement and model: the verdict, and the numbers it rests on."""
    rows = [[claim.statement, claim.model, claim.verdict, claim.numbers] for claim in claims]
    return markdown([["statement", "model", "verdict", "numbers"], *rows], left=4)


def comparison_table(rows: pd.DataFrame) -> str:
    """A row per layer of one model (of `published.compare`): published, ours and the difference for every metric."""
    table = [["layer", *(head for name in METRICS for head in (name, "ours", "diff."))]]
    for _, row in rows.iterrows():
        cells = ["head" if row["reading"] == "head" else f"{row['layer']:g}"]
        for name in METRICS:
            ours = percent(row[f"{name}_ours"]) if row["status"] == "run" else row["status"]
            cells += [percent(row[f"{name}_published"]), ours, _signed(row[f"{name}_difference"])]
        table.append(cells)
    return markdown(table, left=0)


def question_table(question: pd.DataFrame, protocol: str) -> str:
    """What each layer (rows) of each model (columns) answered under `protocol` after the last epoch: Table 1 of the
    original report. Of several learning rates and seeds, the first."""
    points = last_epoch(question[question["protocol"] == protocol])
    points = points.drop_duplicates(["model", "reading", "layer"])
    models = list(dict.fromkeys(points["model"]))
    label = points["reading"].map(READINGS).fillna(points["layer"].astype(str))
    texts = {(m, at): text for m, at, text in zip(points["model"], label, points["answer"], strict=True)}
    layers = sorted(set(points.loc[points["reading"] == "probe", "layer"]))
    rows = [["layer", *models]]
    for at in [*map(str, layers), *(name for name in READINGS.values() if (label == name).any())]:
        rows.append([at, *(_answer(texts[model, at]) if (model, at) in texts else "-" for model in models)])
    return markdown(rows, left=len(rows[0]))


def inert(text: str) -> str:
    """`text` as plain words of a Markdown table cell: no markup, HTML, link, line break or invisible character."""
    text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in " ".join(text.split()))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"[\\`*_\[\]|~$:@]|(?<=www)\.", r"\\\g<0>", text, flags=re.IGNORECASE)


def _answer(text: str) -> str:
    return inert(text) if text else "*no answer*"


def _signed(value: float) -> str:
    return "-" if pd.isna(value) else f"{value:+.2f}"


_INTRODUCTION = """\
Percent. After the last epoch, at the first learning rate, mean over the seeds.
"""
_REFERENCES = """\
## References

Exact / F1 / HasAns F1, and the layer in brackets. Random encoder: the best layer of the same architecture with random
weights. Best: the layer of the highest F1, chosen on the very questions that it is scored on. Own head: the
checkpoint's own question answering head. Decode ceiling: the true spans put through the protocol's own span search and
decoding.
"""
_LADDER = """\
## Ladder

By how many points each step changes the F1 of the last layer, and of the best layer, which may be another after the
step. The steps add up to the total.
"""
_CLAIMS = """\
## Statements of the original report

Layer 0 does not count; thirds are those of layers 1 to the last. The thresholds are this project's own. A statement
holds if:

"""
_QUESTION = """\
After the last epoch; the first learning rate and seed.
"""
