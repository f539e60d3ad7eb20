"""The published numbers: ours beside them, and the report's statements on the report's own numbers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.qa.errors import InputError
from stages.qa.report import findings
from stages.qa.report import original as published
from stages.qa.report.views import published_tables
from stages.qa.scoring.curves import LAYERS as COLUMNS

FOLDER = Path(__file__).parents[2] / "studies" / "published"
PUBLISHED = published.read_published(FOLDER)
LAYERS = PUBLISHED[PUBLISHED["reading"] == "probe"]
HEADS = PUBLISHED[PUBLISHED["reading"] == "head"]
NAN = float("nan")


def copy(**changes: object) -> pd.DataFrame:
    """The frame `layers` of a study that got exactly the published numbers, under protocol "paper" after epoch 3."""
    probes = LAYERS.assign(epoch=3, learning_rate=3e-5, seed=0)
    heads = HEADS.assign(epoch=NAN, learning_rate=NAN, seed=NAN, layer=12)
    frame = pd.concat([probes, heads], ignore_index=True).assign(protocol="paper", headline=True, final=True)
    return frame.assign(total=6078.0, NoAns_total=3168.0).reindex(columns=COLUMNS).assign(**changes)


def test_the_published_tables() -> None:
    assert len(LAYERS) == 60
    assert LAYERS["model_prefix"].nunique() == 6
    assert len(HEADS) == 5
    share = 2910 / published.QUESTIONS  # of HasAns questions; some figures were printed with two decimals
    for table in (LAYERS, HEADS):
        for name in ("exact", "f1"):
            whole = share * table[f"HasAns_{name}"] + (1 - share) * table[f"NoAns_{name}"]
            np.testing.assert_allclose(table[name], whole, atol=0.011)


def test_a_model_of_the_hub_has_the_key_of_its_name(tmp_path: Path) -> None:
    for name in ("layer_results.csv", "finetuned_results.csv"):
        table = (FOLDER / name).read_text()
        (tmp_path / name).write_text(table.replace("bert-base-uncased,", "a.b/c-v1.1,"))
    keys = dict(published.read_published(tmp_path)[["model_prefix", "model"]].to_numpy().tolist())
    assert keys["a.b/c-v1.1"] == "a_b--c-v1_1"
    assert keys["twmkn9/albert-base-v2-squad2"] == "twmkn9--albert-base-v2-squad2"
    assert keys["ahotrod/albert_xxlargev1_squad2_512"] == "ahotrod--albert_xxlargev1_squad2_512"


def test_an_exact_copy_differs_by_nothing() -> None:
    rows = published.compare(copy(), PUBLISHED, "paper")
    assert len(rows) == 65
    assert set(rows["status"]) == {"run"}
    assert (rows.filter(like="_difference") == 0).all(axis=None)
    assert list(rows["reading"]) == ["probe"] * 60 + ["head"] * 5


def test_differences_are_ours_less_published() -> None:
    frame = copy()
    one = (frame["model"] == "twmkn9--bert-base-uncased-squad2") & (frame["layer"] == 12)
    frame.loc[one & (frame["reading"] == "probe"), "f1"] += 1.5
    frame.loc[one & (frame["reading"] == "head"), "HasAns_exact"] -= 2
    seeds = pd.concat([frame, frame[frame["reading"] == "probe"].assign(seed=1, exact=lambda f: f["exact"] + 4)])
    rows = published.compare(seeds, PUBLISHED, "paper")
    bert = rows[rows["model_prefix"] == "twmkn9/bert-base-uncased-squad2"].set_index(["reading", "layer"])
    assert bert.loc[("probe", 12), "f1_difference"] == pytest.approx(1.5)
    assert bert.loc[("probe", 12), "exact_difference"] == pytest.approx(2)  # mean of two seeds
    assert bert.loc[("probe", 11), "f1_difference"] == 0
    assert bert.loc["head", "HasAns_exact_difference"].tolist() == pytest.approx([-2])


@pytest.mark.parametrize(
    ("changes", "run"),
    [
        ({"epoch": 2}, 0),
        ({"protocol": "corrected"}, 0),
        ({"model": "mine"}, 0),
        ({"epoch": NAN}, 65),  # a convex fit has no epochs
    ],
)
def test_only_what_was_run_is_compared(changes: dict[str, object], run: int) -> None:
    frame = copy(**changes)
    if changes == {"model": "mine"}:
        frame = frame.drop_duplicates(["model", "reading", "layer"])
    rows = published.compare(frame, PUBLISHED, "paper")
    assert len(rows) == 65
    assert (rows["status"] == "run").sum() == run
    assert rows.loc[rows["status"] == "not run"].filter(like="_difference").isna().all(axis=None)


def test_the_third_epoch_and_the_final_rate_are_compared() -> None:
    probes = copy()[lambda f: f["reading"] == "probe"].assign(final=False)
    others = [probes.assign(epoch=2, f1=0.0), probes.assign(learning_rate=1.0, f1=0.0)]
    last = probes.assign(epoch=4, f1=0.0, final=True)
    rows = published.compare(pd.concat([probes, *others, last]), PUBLISHED, "paper")
    assert (rows.loc[rows["reading"] == "probe", "f1_difference"] == 0).all()


def test_tables_say_what_was_not_run() -> None:
    frame = copy()
    frame = frame[(frame["model"] == "bert-base-uncased") & (frame["layer"] > 1)]
    comparison = published.compare(frame, PUBLISHED, "paper")
    assert (comparison["status"] == "run").sum() == 11
    parts = {part["table"].caption: part for part in published_tables(comparison)}
    bert = parts["bert-base-uncased"]
    assert bert["run"]
    assert bert["table"].head[:4] == ["layer", "exact", "ours", "diff."]
    assert [row[:4] for row in bert["table"].rows[:2]] == [["1", "52.12", "–", "–"], ["2", "52.12", "52.12", "+0.00"]]
    tuned = parts["twmkn9/bert-base-uncased-squad2"]
    assert not tuned["run"]
    assert tuned["table"].head[:3] == ["layer", "exact", "F1"]
    assert tuned["table"].rows[-1][0] == "head"


def test_the_statements_on_the_published_numbers() -> None:
    theirs = published.as_curves(PUBLISHED)
    bases = findings.pretrained_bases([model for model, _ in theirs], {})
    assert bases == {f"twmkn9--{base}-squad2": base for base in bases.values()}
    claims = published.claims(theirs, bases)
    assert len(claims) == 15
    assert {claim.verdict for claim in claims} == {"holds"}  # on the numbers alone: they have no intervals
    assert not any("(" in claim.numbers for claim in claims)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model_prefix,exact\nb,1\n", "not the published table"),
    ],
)
def test_a_damaged_table_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "layer_results.csv"
    with pytest.raises(InputError, match="not the published table"):
        published.read_published(tmp_path)
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        published.read_published(tmp_path)
    assert str(path) in str(caught.value)
