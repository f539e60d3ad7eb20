"""What the page's tables show, as plain lists and dictionaries for its template."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from stages.qa.data.squad import Example
from stages.qa.report import findings, published
from stages.qa.report.claims import STATEMENTS, Claim
from stages.qa.report.page_data import result_rows
from stages.qa.report.tables import protocols_of


def result_tables(scores: pd.DataFrame, references: pd.DataFrame, ladder: pd.DataFrame) -> dict[str, Any]:
    """Per protocol the results and the references (model -> reference -> point); per model the steps of the ladder."""
    points: dict[str, dict[str, dict[str, Any]]] = {}
    for row in references.to_dict("records"):
        points.setdefault(row["protocol"], {}).setdefault(row["model"], {})[row["reference"]] = row
    return {
        "results": {protocol: result_rows(scores, protocol) for protocol in protocols_of(scores)},
        "references": points,
        "reference_names": findings.REFERENCES,
        "chosen_layers": (findings.RANDOM, findings.BEST, findings.LAST),
        "ladder": _grouped(ladder, "model"),
    }


def claim_tables(claims: Sequence[Claim]) -> dict[str, Any]:
    """Statement -> its claims, and when it holds."""
    return {
        "claims": {statement: [claim for claim in claims if claim.statement == statement] for statement in STATEMENTS},
        "conditions": {statement: condition for statement, (condition, _, _) in STATEMENTS.items()},
    }


def published_tables(comparison: pd.DataFrame, protocol: str) -> dict[str, Any]:
    """Rows of `published.compare` under `protocol`, by model, and how many have been run."""
    return {
        "published": _grouped(comparison, "model_prefix"),
        "published_protocol": protocol,
        "published_run": int((comparison["status"] == "run").sum()),
        "published_rows": len(comparison),
        "published_questions": published.QUESTIONS,
        "published_epoch": published.EPOCH,
    }


def question_counts(examples: Sequence[Example]) -> dict[str, int]:
    """What the dev file holds."""
    return {
        "questions": len(examples),
        "HasAns": sum(bool(example.answers) for example in examples),
        "NoAns": sum(not example.answers for example in examples),
        "articles": len({example.article for example in examples}),
        "paragraphs": len({example.paragraph for example in examples}),
    }


def _grouped(frame: pd.DataFrame, column: str) -> dict[str, list[dict[str, Any]]]:
    return {str(name): part.to_dict("records") for name, part in frame.groupby(column, sort=False)}
