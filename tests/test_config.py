"""params.yaml and method.yaml: YAML 1.2, typed, nothing unknown, nothing missing, one line for a fault."""

from pathlib import Path

import pytest

from stages.qa.config import load_params
from stages.qa.errors import InputError

ROOT = Path(__file__).parents[1]
FILES = {name: (ROOT / name).read_text() for name in ("params.yaml", "method.yaml")}


def changed(folder: Path, old: str, new: str) -> tuple[Path, Path]:
    """Both files in `folder`, with `new` in the place of `old` in the one that has it."""
    assert any(old in text for text in FILES.values())
    for name, text in FILES.items():
        (folder / name).write_text(text.replace(old, new, 1))
    return folder / "params.yaml", folder / "method.yaml"


def test_values_have_their_types(tmp_path: Path) -> None:
    params = load_params(*changed(tmp_path, "learning_rate: 3e-4", "learning_rate: 5e-5"))
    assert params.finetuned["minilm-finetuned"].learning_rate == 5e-5  # a string under YAML 1.1
    assert params.datasets["sample"].train.source == "data/sample/train.json"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("learning_rate: 3e-4", 'learning_rate: "3e-4"', r"finetuned.minilm-finetuned.learning_rate: .*number"),
        ("learning_rate: 3e-4", "learning_rate: -1.0", r"learning_rate: .*greater than 0 \(found -1.0\)"),
        ("learning_rate: 3e-4", "learning_rate: .nan", r"learning_rate"),
        ("num_train_epochs: 3", "num_train_epochs: 0", r"num_train_epochs: .*greater than 0"),
        ("num_train_epochs: 3", "num_train_epochs: 3.5", r"num_train_epochs: .*integer"),
        ("num_train_epochs: 3", "num_train_epochs: no", r"num_train_epochs: .*integer .*'no'"),
        ("num_train_epochs: 3", "num_train_epoch: 2", r"minilm-finetuned.num_train_epochs: Field required"),
        ("study: demo", "study: demo\nextra: 1", r"extra: Extra inputs are not permitted"),
        ("study: demo", "study: ../x", r"study: .*pattern"),
        ("study: demo", 'study: "x; touch PWNED #"', r"study: .*pattern"),
        ("dataset: sample", "dataset: other", r"dataset: 'other' is no key of datasets"),
        ("base: minilm\n", "base: nothing\n", r"finetuned.minilm-finetuned.base: 'nothing' is no key"),
        ("minilm, minilm-random]", "minilm, minilm]", r"probed: .*minilm occurs twice"),
        ("minilm, minilm-random]", "minilm, nothing]", r"probed or runs: 'nothing' is no key"),
        ("  minilm: minilm\n  minilm-r", "  minilm-r", r"runs: minilm is in probed, so it is a run and a curve"),
        ("minilm-finetuned-1: minilm-finetuned", "minilm-finetuned-1: other", r"runs: 'other' is not among probed"),
        (
            "minilm-finetuned-1: minilm-finetuned",
            "minilm-finetuned-1: minilm",
            r"runs of minilm differ in more than their seed",
        ),
        (
            "<<: *recipe, seed: 1",
            "<<: *recipe, seed: 1, dropout: 0.1",
            r"runs of minilm-finetuned differ in more than their seed",
        ),
        (
            "random_weights_of: minilm, seed: 0",
            "random_weights_of: minilm",
            r"random_weights_of and seed go together",
        ),
        ("random_weights_of: minilm", "random_weights_of: other", r"encoders.minilm-random: 'other' is no key"),
        ("random_weights_of: minilm", "random_weights_of: minilm, sha256: {}", r"minilm-random: .*sha256 differ"),
        ("@1110a243fdf4706b3f48f1d95db1a4f5529b4d41", "@../x", r"encoders.minilm.sources.0: "),
        ("hub:sentence-transformers/all-MiniLM-L6-v2", "hub:..", r"encoders.minilm.sources.0"),
        ("ladder: []", "ladder: [paper, corrected]", r"paper to corrected changes optimizer, answer_text"),
        ("ladder: []", "ladder: [nothing]", r"headline or ladder: 'nothing' is no key of protocols"),
        ("headline: corrected", "headline: nothing", r"headline or ladder: 'nothing' is no key of protocols"),
        ("seeds: [0, 1]", "seeds: [0, 0]", r"probe.seeds: .*0 occurs twice"),
        ("optimizers: [convex, adamw]", "optimizers: [adamw, adamw]", r"optimizers: .*adamw occurs twice"),
        ("optimizers: [convex, adamw]", "optimizers: [adamw]", r"protocols: 'convex' is not among optimizers"),
        ("minilm-finetuned: minilm\n", "minilm: minilm\n", r"compared: 'minilm' with itself"),
        ("minilm-finetuned: minilm\n", "minilm-finetuned: other\n", r"compared: 'other' is not among probed"),
        ("validation_share: 0.1", "validation_share: 1.0", r"parts.validation_share: .*less than 1"),
        ("validation_share: 0.1", "validation_share: 0.0", r"effort.convex.l2: several need validation articles"),
        ("unit: auto", "unit: question", r"statistics.unit: .*'article', 'paragraph' or 'auto'"),
        ("folds: 5", "folds: 1", r"statistics.folds: .*greater than or equal to 2"),
        ("    l2: [1e-3", "    gap: 1.0\n    l2: [1e-3", r"effort.convex: gap is set in method.yaml already"),
        (
            "    dropout: 0.0",
            "    weight_decay: 0.0",
            r"finetuned.minilm-finetuned: weight_decay is set in method.yaml",
        ),
        ("study: demo", "study: demo\nprecision: fp32", r"params: precision is set in method.yaml already"),
        ("study: demo", "study: demo\nstudy: other", r"params.yaml: cannot be read as YAML .*duplicate key"),
        ("study: demo", "study: [", r"params.yaml: cannot be read as YAML"),
        ("precision: auto", "precision: [", r"method.yaml: cannot be read as YAML"),
        ("windows:\n", "windows:\n- 3\nother:\n", r"windows: .*valid dictionary"),
        ("effort:\n", "effort: 3\nother:\n", r"a section is not a mapping"),
    ],
)
def test_a_fault_is_one_line_that_names_the_key(tmp_path: Path, old: str, new: str, told: str) -> None:
    files = changed(tmp_path, old, new)
    with pytest.raises(InputError, match=told) as caught:
        load_params(*files)
    assert str(caught.value).startswith((str(files[0]), str(files[1])))
    assert "\n" not in str(caught.value)


def test_a_missing_file_or_a_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("- a\n")
    with pytest.raises(InputError, match="must hold a mapping"):
        load_params(tmp_path / "params.yaml")
