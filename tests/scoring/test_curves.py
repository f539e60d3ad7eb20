"""Points of a curve by hand: scores, forced answers, the best threshold; the summary and losses."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.qa.answering.answers import Answers, Spans, Texts
from stages.qa.data.squad import Answer, Example
from stages.qa.errors import InputError
from stages.qa.files import read_table, write_table
from stages.qa.readings import Reading, Readout
from stages.qa.scoring.curves import LAYERS, best_layer, layer_rows, loss_rows, summary
from stages.qa.scoring.intervals import resampled
from stages.qa.scoring.question_scores import score_questions
from stages.qa.sections import Statistics

READOUT = Readout("adamw", 1, 0.1, 0)


def question(id_: str, gold: str | None) -> Example:
    answers = (Answer(gold, 0),) if gold else ()
    return Example(id_, "?", gold or "x", answers, not answers, article=0, paragraph=0, title="")


EXAMPLES = [question("a", "red fox"), question("b", "owl"), question("c", None), question("d", None)]


def answers(texts: list[list[str]], margins: list[list[float]]) -> Answers:
    """Readings at layers 0, 1, ...; a margin is span score - null score."""
    score = np.array(margins, dtype=np.float32)
    nothing = np.zeros((*score.shape, 2), dtype=np.int32)
    spans = Spans(chars=nothing, tokens=nothing, score=score, null_score=np.zeros_like(score))
    readings = [Reading("probe", layer, READOUT) for layer in range(len(texts) - 1)] + [Reading("head", 1, None)]
    ids, nll = [example.id for example in EXAMPLES], np.zeros((*score.shape, 2), dtype=np.float32)
    given = Texts.of(zip(*texts, strict=True), score.shape)
    return Answers(readings, ids, given, spans, 0.0, nll=nll)


GIVEN = answers(
    [["fox", "cat", "x", "x"], ["red fox", "owl", "x", "x"], ["red fox", "owl", "x", "x"]],
    [[1.0, 1.0, -1.0, 1.0], [1.0, -1.0, -3.0, -2.0], [-1.0, -1.0, -1.0, -1.0]],
)


def layers(examples: list[Example] = EXAMPLES) -> pd.DataFrame:
    return layer_rows("m", examples, {"p": {"run": GIVEN}, "other": {"run": GIVEN}}, headline="p")


def test_points() -> None:
    rows = layers()
    assert list(rows.columns) == LAYERS
    assert rows["final"].all()
    assert rows["headline"].tolist() == [True] * 3 + [False] * 3
    names = ["model", "protocol", "reading", "epoch", "layer", "seed"]
    assert rows[names].iloc[0].tolist() == ["m", "p", "probe", 1, 0, 0]
    first, second, head = (row for _, row in rows.head(3).iterrows())
    # layer 0: "fox" for "red fox" is F1 2/3; "cat" is wrong; c is refused rightly, d answered wrongly
    assert first["exact"] == 25
    assert first["f1"] == pytest.approx(100 * (2 / 3 + 1) / 4)
    assert first["HasAns_f1"] == pytest.approx(100 / 3)
    assert first["NoAns_f1"] == 50
    assert first["forced_f1"] == pytest.approx(100 / 3)
    # layer 1: b is refused wrongly; a lower threshold would answer it and still refuse c and d
    assert second[["exact", "HasAns_exact", "NoAns_exact"]].tolist() == [75, 50, 100]
    assert second["forced_exact"] == 100
    assert second["best_exact"] == 100
    assert second["best_exact_thresh"] == pytest.approx(1 / (1 + np.exp(-1)))
    assert head[["reading", "exact"]].tolist() == ["head", 50]
    assert pd.isna(head["epoch"])


def test_answers_to_other_questions_are_refused() -> None:
    with pytest.raises(InputError, match="m: the answers are not those of this dev file"):
        layers(EXAMPLES[:3])


def test_an_absent_group_is_missing_never_0() -> None:
    point = layers([question(id_, "red fox") for id_ in "abcd"]).iloc[0]
    assert point[["NoAns_f1", "NoAns_total"]].isna().all()
    point = layers([question(id_, None) for id_ in "abcd"]).iloc[0]
    assert point[["HasAns_f1", "forced_f1"]].isna().all()


def test_to_disk_and_back(tmp_path: Path) -> None:
    write_table(tmp_path / "layers.csv", layers())
    assert (
        (tmp_path / "layers.csv").read_text().splitlines()[1].startswith("m,p,True,run,probe,1,0,0.1,0,,True,4,25.0,")
    )
    pd.testing.assert_frame_equal(read_table(tmp_path / "layers.csv", LAYERS), layers(), check_dtype=False)


SETTINGS = Statistics(unit="auto", resamples=500, confidence=0.95, seed=0, folds=5, calibration_bins=10)
CURVE = resampled("m", score_questions(EXAMPLES, {"run": GIVEN}), "probe", SETTINGS)


def test_summary() -> None:
    result = summary(layers(), CURVE)
    names = ["layers_from", "best_f1", "last_f1", "last_forced_f1", "head_f1", "l2"]
    assert [result[name] for name in names] == [1, 75, 75, 100, 50, None]
    optimum = layers().assign(l2=0.1)
    assert summary(pd.concat([optimum] * 3), CURVE)["l2"] == 0.1  # three runs: no mean of floats
    only_heads = layers().query("reading == 'head'")
    assert list(summary(only_heads, CURVE)) == ["head_f1", "head_forced_f1"]


def test_the_best_layer_is_the_shallowest_of_equals() -> None:
    points = pd.DataFrame({"layer": [0, 2, 1, 3], "f1": [50.0, 60, 60, 60], "HasAns_f1": [9.0, 5, 5, 4]})
    assert best_layer(points)["layer"] == 1
    assert best_layer(points.assign(HasAns_f1=np.nan))["layer"] == 1


def test_losses_are_means_over_the_seeds_at_the_first_learning_rate() -> None:
    rows = [(0, 0.1, 0, 1.0), (0, 0.1, 1, 2.0), (1, 0.1, 0, 4.0), (0, 0.2, 0, 9.0)]
    losses = pd.DataFrame(rows, columns=["layer", "learning_rate", "seed", "loss"]).assign(epoch=0.5, step=4)
    assert loss_rows("m", [losses]).to_numpy().tolist() == [["m", 0, 0.5, 4, 1.5], ["m", 1, 0.5, 4, 4.0]]
    assert list(loss_rows("m", [losses.head(0)]).columns) == ["model", "layer", "epoch", "step", "loss"]
    assert loss_rows("m", [losses.head(0)]).empty
