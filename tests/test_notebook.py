"""`layer_curve` takes names, folders and loaded models; its numbers are those of the official metric."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from transformers import AutoModel, AutoTokenizer

from stages.qa.errors import InputError
from stages.qa.notebook import SCORES, encoder_of, layer_curve
from tests.conftest import TinyModel
from tests.tiny_models import SAMPLE

DEV = SAMPLE.with_name("dev.json")


@pytest.mark.parametrize("family", ["bert", "distilroberta"])
def test_a_curve_of_a_folder_and_of_a_loaded_model(tiny_model: TinyModel, family: str) -> None:
    folder = tiny_model(family)
    curve = layer_curve(folder, train=SAMPLE, dev=str(DEV), questions=60)
    model = AutoModel.from_pretrained(folder)
    assert curve["layer"].tolist() == list(range(model.config.num_hidden_layers + 1))
    assert list(curve.columns) == ["layer", *SCORES, "low", "high"]
    assert curve["forced_f1"].between(curve["low"], curve["high"]).all()
    assert np.isfinite(curve.to_numpy(dtype=float)).all()
    again = layer_curve(model, AutoTokenizer.from_pretrained(folder), train=SAMPLE, dev=DEV, questions=60)
    pd.testing.assert_frame_equal(curve, again)


def test_a_slow_tokenizer_and_a_missing_file_are_refused(tiny_model: TinyModel) -> None:
    folder = tiny_model("bert")
    tokenizer = AutoTokenizer.from_pretrained(folder)

    class Slow:
        is_fast = False

        def __getattr__(self, name: str) -> object:
            return getattr(tokenizer, name)

    with pytest.raises(InputError, match="no fast tokenizer"):
        encoder_of(AutoModel.from_pretrained(folder), Slow())
    with pytest.raises(InputError, match=r"nothing\.json"):
        layer_curve(folder, train=Path("nothing.json"), dev=DEV)
