"""The paired differences as a page: where a curve changes, and where fine-tuning changed it, beyond chance."""

import pandas as pd

from stages.qa.report.evidence import Evidence, shown_unit
from stages.qa.report.tables import markdown

NAMES = {"f1": "F1", "HasAns_f1": "HasAns", "NoAns_f1": "NoAns", "forced_f1": "forced"}


def evidence_section(evidence: Evidence, confidence: float) -> str:
    """A Markdown section: the differences of every layer whose band leaves out 0, by model and protocol."""
    shown = shown_unit(evidence.differences)
    parts = [_INTRODUCTION.format(confidence=f"{100 * confidence:g}", basis=_basis(shown))]
    for comparison, rows in shown.groupby("comparison", sort=False):
        parts.append(f"### Differences: {comparison}\n\n{difference_table(rows)}")
    return "\n".join(parts)


def difference_table(rows: pd.DataFrame) -> str:
    """A row per model and protocol, a column per score: the layers that differ, and by how many points."""
    table = [["model", "less", "protocol", *NAMES.values()]]
    for (model, other, protocol), own in rows.groupby(["model", "less", "protocol"], sort=False):
        cells = [_clear(own[own["metric"] == metric]) for metric in NAMES]
        table.append([model, "-" if other == model else other, protocol, *cells])
    return markdown(table, left=7)


def _clear(rows: pd.DataFrame) -> str:
    """Layer: difference, of the layers whose band leaves out 0."""
    clear = rows[(rows["band_low"] > 0) | (rows["band_high"] < 0)].sort_values("layer")
    if rows["band_low"].isna().all():
        return "-"
    return "; ".join(f"{row['layer']:g}: {row['estimate']:+.1f}" for _, row in clear.iterrows()) or "none"


def _basis(shown: pd.DataFrame) -> str:
    if shown.empty:
        return "nothing"
    return f"{shown['questions'].max():,} questions in {shown['clusters'].iloc[0]:,} {shown['unit'].iloc[0]}s"


_INTRODUCTION = """\
## Differences that the choice of questions does not explain

Layer: points of F1, where the {confidence} % band of the whole curve of paired differences leaves out 0;
from {basis}, drawn with replacement. The band says nothing about another seed, another fine-tuning run
or other training data.
"""
