"""Random damage to parameters and prediction files: a right result or one line, never a traceback or a wrong score.

The same for SQuAD files: tests/data/test_squad.py, test_a_damaged_structure_is_read_or_refused and the one after it.
"""

import copy
import json
import random
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from stages.qa.answering.answers import load_answers
from stages.qa.config import load_params
from stages.qa.errors import InputError, UserError
from stages.qa.files import read_json
from stages.qa.metric import main
from stages.qa.probing.readouts import load_probes
from tests.data.test_squad import damaged, valid
from tests.faults.launcher import ROOT
from tests.faults.test_36_40_metric import expected

PARAMS = (ROOT / "params.yaml").read_text()
VALUES = YAML(typ="safe").load(PARAMS)
GOOD = json.dumps({"q1": "Oaks", "q2": "", "q3": "in Finland"}).encode()
GOLDS = {"q1": ["Oaks"], "q2": [], "q3": ["Finland"]}
bounded = settings(max_examples=150, deadline=None, derandomize=True)
fewer = settings(bounded, max_examples=60)  # a whole params.yaml takes 0.1 s to read


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def one_line(error: UserError, path: Path) -> None:
    assert len(str(error).splitlines()) == 1
    assert str(path) in str(error)


def params_or_line(path: Path) -> None:
    try:
        params = load_params(path, ROOT / "method.yaml").model_dump()
    except InputError as error:
        return one_line(error, path)
    # what is read is what is written: no value was guessed, cut or filled in
    written = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    for name, section in written.pop("effort").items():
        assert section.items() <= params[name].items()
    assert written.keys() <= params.keys()
    for name in ("study", "dataset", "probed", "runs", "compared", "protocols", "headline", "ladder"):
        assert params[name] == written[name]


@fewer
@given(random_=st.randoms(use_true_random=False))
def test_params_of_a_damaged_structure(folder: Path, random_: random.Random) -> None:
    text = StringIO()
    values = damaged(copy.deepcopy(VALUES), random_)
    try:
        YAML(typ="safe").dump(values, text)
    except (ValueError, OverflowError):  # half a surrogate is nothing that YAML can write
        return
    path = folder / "params.yaml"
    try:
        path.write_text(text.getvalue(), encoding="utf-8")
    except UnicodeEncodeError:
        return
    params_or_line(path)


@fewer
@given(at=st.integers(0, len(PARAMS)), length=st.integers(0, 30), patch=st.binary(max_size=8))
def test_params_of_damaged_bytes(folder: Path, at: int, length: int, patch: bytes) -> None:
    path = folder / "params.yaml"
    path.write_bytes(PARAMS.encode()[:at] + patch + PARAMS.encode()[at + length :])
    params_or_line(path)


def score_or_line(folder: Path, content: bytes) -> None:
    """A score only where the file is JSON that has one text for each of the three questions, and then the right one."""
    data, path, out = (folder / name for name in ("data.json", "predictions.json", "out.json"))
    data.write_text(json.dumps(valid()))
    path.write_bytes(content)
    out.unlink(missing_ok=True)
    try:
        main(data, path, None, 1.0, out)
    except InputError as error:
        assert not out.exists()
        return one_line(error, path)
    given_ = json.loads(content.decode("utf-8-sig"))
    assert given_.keys() == GOLDS.keys()
    scores = [expected(golds, given_[id_]) for id_, golds in GOLDS.items()]
    assert read_json(out)["exact"] == 100.0 * sum(exact for exact, _ in scores) / 3
    assert read_json(out)["f1"] == pytest.approx(100 * sum(f1 for _, f1 in scores) / 3, rel=1e-14)


@bounded
@given(at=st.integers(0, len(GOOD)), length=st.integers(0, 12), patch=st.binary(max_size=6))
def test_predictions_of_damaged_bytes(folder: Path, at: int, length: int, patch: bytes) -> None:
    score_or_line(folder, GOOD[:at] + patch + GOOD[at + length :])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@bounded
@given(value=JSON | st.fixed_dictionaries({id_: st.text(max_size=12) | JSON for id_ in GOLDS}))
def test_predictions_of_any_json(folder: Path, value: Any) -> None:
    score_or_line(folder, json.dumps(value).encode())


@bounded
@given(random_=st.randoms(use_true_random=False), name=st.sampled_from(["answers.json", "readouts.json"]))
def test_damaged_headers_of_the_pipelines_own_files(evaluated: Path, random_: random.Random, name: str) -> None:
    """The reader raises IntegrityError, or what it read is whole."""
    answers = name == "answers.json"
    place = evaluated / ("data/predictions/tiny/tiny/standard" if answers else "data/probes/tiny/tiny")
    path = place / name
    content = path.read_bytes()
    try:
        path.write_text(json.dumps(damaged(json.loads(content), random_)))
        try:
            found: Any = load_answers(place) if answers else load_probes(place)
        except UserError as error:
            return one_line(error, place)
        assert len(found.readings if answers else found.readouts) > 0
    finally:
        path.write_bytes(content)
