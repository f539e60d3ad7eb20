"""One encoder beside another: the tables have their columns, and an encoder beside itself is the same."""

import numpy as np
import pytest
import torch

from stages.qa.checks.controls import CONTROLS
from stages.qa.checks.examination import Sample, compare, examine
from stages.qa.checks.judging import TRANSFER
from stages.qa.checks.similarity import SIMILARITY
from stages.qa.data.squad import Example
from stages.qa.encoding.encoder import load_encoder
from stages.qa.errors import InputError
from tests.checks.test_controls import EXAMINE, PROBE, WINDOWS
from tests.conftest import CPU, TinyModel


def test_an_encoder_beside_itself(tiny_model: TinyModel, sample: list[Example]) -> None:
    encoder = load_encoder(tiny_model("bert"), device=CPU)
    questions = Sample(sample[:40], sample[40:60], WINDOWS)
    draw = torch.Generator().manual_seed(0)
    weights = torch.randn(encoder.layers, encoder.hidden, 2, generator=draw).numpy()
    alone = examine(encoder, questions, weights, model="one", probe=PROBE, settings=EXAMINE)
    both = compare(encoder, encoder, questions, weights, model="one", other="two", settings=EXAMINE)
    assert list(alone["controls"].columns) == CONTROLS
    for name, columns, other in ("transfer", TRANSFER, "probes_of"), ("similarity", SIMILARITY, "other"):
        assert list(both[name].columns) == columns
        assert set(both[name][other]) == {"two"}
        assert both[name].assign(**{other: "one"}).equals(alone[name])
        assert len(both[name]) == encoder.layers**2
    same = both["similarity"].query("layer == other_layer")
    np.testing.assert_allclose(same["cka"], 1, rtol=1e-4)
    assert all(value == float(f"{value:.6g}") for value in both["transfer"]["nll"])


def test_two_widths_cannot_be_compared(tiny_model: TinyModel, sample: list[Example]) -> None:
    encoder = load_encoder(tiny_model("bert"), device=CPU)
    questions = Sample([], sample[:5], WINDOWS)
    with pytest.raises(InputError, match="the probes are of 7"):
        compare(encoder, encoder, questions, np.zeros((2, 7, 2)), model="one", other="two", settings=EXAMINE)
