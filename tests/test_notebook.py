"""The example runs; its curve is the one that the stages' functions give."""

import numpy as np
import pytest
from transformers import AutoModel, AutoTokenizer

from examples import layer_curve as example
from stages.qa.errors import InputError
from stages.qa.notebook import encoder_of
from tests.conftest import TinyModel
from tests.tiny_models import SAMPLE


@pytest.mark.parametrize("family", ["bert", "distilroberta"])
def test_the_example_runs_on_any_encoder(
    tiny_model: TinyModel, family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny_model(family)
    curve, controls = example.main(str(folder), str(SAMPLE), str(SAMPLE.with_name("dev.json")))
    layers = AutoModel.from_pretrained(folder).config.num_hidden_layers + 1
    assert sorted(curve["layer"].unique()) == list(range(layers))
    assert curve["total"].eq(100).all()
    assert set(controls["control"]) >= {"task", "no_question"}
    out = capsys.readouterr().out
    assert "forced_f1" in out
    assert "shuffled_question" in out
    assert np.isfinite(controls["forced_f1"]).all()


def test_a_slow_tokenizer_is_refused(tiny_model: TinyModel) -> None:
    folder = tiny_model("bert")
    tokenizer = AutoTokenizer.from_pretrained(folder)

    class Slow:
        is_fast = False

        def __getattr__(self, name: str) -> object:
            return getattr(tokenizer, name)

    with pytest.raises(InputError, match="no fast tokenizer"):
        encoder_of(AutoModel.from_pretrained(folder), Slow())
