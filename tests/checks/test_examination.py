"""One encoder beside another: the tables have their columns, and an encoder beside itself is the same."""

import numpy as np

from stages.qa.checks.examination import Sample, compare, examine
from stages.qa.data.squad import Example
from stages.qa.encoding.encoder import load_encoder
from stages.qa.readings import CONTROLS, SIMILARITY
from tests.checks.test_controls import CONVEX, EXAMINE, WINDOWS
from tests.conftest import CPU, TinyModel
from tests.scoring.test_intervals import SETTINGS


def test_an_encoder_beside_itself(tiny_model: TinyModel, sample: list[Example]) -> None:
    encoder = load_encoder(tiny_model("bert"), device=CPU)
    questions = Sample(sample[:40], [], sample[40:60], WINDOWS)
    alone = examine(
        encoder, questions, 0.1, model="one", convex=CONVEX, memory=1.0, settings=EXAMINE, statistics=SETTINGS
    )
    nll = alone["controls"].pivot(index="layer", columns="control", values="nll")
    assert nll.loc[0, "random_layers"] == nll.loc[0, "task"]  # its own embeddings
    assert (nll.loc[1:, "random_layers"] != nll.loc[1:, "task"]).all()
    sums = alone["clusters"].groupby(["control", "layer"])[["f1_sum", "questions"]].sum()
    of_forms = alone["controls"].set_index(["control", "layer"])["forced_f1"].loc[["task", "question_products"]]
    np.testing.assert_allclose(100 * sums["f1_sum"] / sums["questions"], of_forms.sort_index(), rtol=1e-5)
    both = compare(encoder, encoder, questions, model="one", other="two", settings=EXAMINE)
    assert list(alone["controls"].columns) == CONTROLS
    answerable = sum(bool(example.answers) for example in questions.dev)
    assert answerable < len(questions.dev)
    assert set(alone["controls"]["questions"]) == {answerable}  # selectivity compares scores of the same questions
    assert list(both.columns) == SIMILARITY
    assert set(both["other"]) == {"two"}
    assert both.assign(other="one").equals(alone["similarity"])
    assert len(both) == encoder.layers**2
    np.testing.assert_allclose(both.query("layer == other_layer")["cka"], 1, rtol=1e-4)
    assert all(value == float(f"{value:.6g}") for value in alone["controls"]["nll"])
