"""The templates of `dvc plots` name columns that the data of the plots have."""

import json
from pathlib import Path

import pytest

from stages.qa.report.page_data import split_rows
from tests.report.figure_example import example

ROOT = Path(__file__).parents[2]


def fields_of(spec: object) -> set[str]:
    """All columns that a Vega-Lite specification names."""
    if isinstance(spec, list):
        return set().union(*(fields_of(part) for part in spec))
    if not isinstance(spec, dict):
        return set()
    fields = {spec["field"]} if "field" in spec else set(spec.get("fields", []))
    return fields.union(*(fields_of(part) for part in spec.values()))


@pytest.mark.parametrize("template", ["layer_curve", "loss_curve"])
def test_templates_name_columns_that_exist(template: str) -> None:
    results = example([2])
    data = split_rows(results.curves) if template == "layer_curve" else results.losses
    fields = fields_of(json.loads((ROOT / f".dvc/plots/{template}.json").read_text()))
    assert {field for field in fields if not field.startswith("<DVC_METRIC_")} <= {*data.columns, "rev"}
    assert {"model", "rev"} <= fields
