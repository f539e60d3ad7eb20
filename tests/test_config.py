"""params.yaml: YAML 1.2, typed, nothing unknown, nothing missing, one line for a fault."""

from pathlib import Path

import pytest

from stages.qa.config import load_params
from stages.qa.errors import InputError

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "params.yaml").read_text()


def changed(folder: Path, old: str, new: str) -> Path:
    assert old in TEXT
    path = folder / "params.yaml"
    path.write_text(TEXT.replace(old, new, 1))
    return path


def test_values_have_their_types(tmp_path: Path) -> None:
    params = load_params(changed(tmp_path, "learning_rate: 3e-4", "learning_rate: 5e-5"))
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
        ("dataset: sample", "dataset: other", r"dataset: 'other' is not among datasets"),
        ("base: minilm\n", "base: nothing\n", r"finetuned.minilm-finetuned.base: 'nothing' is no key"),
        ("- minilm-random\n", "- minilm\n", r"probed and heads: a key occurs twice"),
        ("- minilm-random\n", "- nothing\n", r"probed or heads: 'nothing' is no key"),
        ("weights: random\n    seed: 0", "weights: random\n    seed: null", r"random weights need one"),
        ("@1110a243fdf4706b3f48f1d95db1a4f5529b4d41", "@main", r"encoders.minilm.sources.0: .*main"),
        ("hub:sentence-transformers/all-MiniLM-L6-v2", "hub:..", r"encoders.minilm.sources.0"),
        (
            "ladder: []",
            "ladder: [paper, corrected]",
            r"paper to corrected changes optimizer, answer_text",
        ),
        ("headline: corrected", "headline: nothing", r"headline: 'nothing' is no key of protocols"),
        ("epochs_read: null", "epochs_read: []", r"epochs_read.*at least 1 item"),
        ("epochs_read: null", "epochs_read: [2, 4]", r"epochs_read: epoch 4 of probe.epochs 3"),
        ("  seeds:\n  - 0\n  - 1", "  seeds:\n  - 0\n  - 0", r"probe.seeds: 0 occurs twice"),
        ("optimizers:\n- convex", "optimizers:\n- adamw", r"optimizers: adamw occurs twice"),
        ("minilm-finetuned: minilm\n", "minilm: minilm\n", r"compared: 'minilm' with itself"),
        ("held_out: 0.1", "held_out: 0.7", r"convex.held_out: .*less than or equal to 0.5"),
        ("unit: auto", "unit: question", r"statistics.unit: .*'article', 'paragraph' or 'auto'"),
        ("folds: 5", "folds: 1", r"statistics.folds: .*greater than or equal to 2"),
        ("ladder: []", "ladder: [nothing]", r"ladder: 'nothing' is no key of protocols"),
        (
            "optimizers:\n- convex\n- adamw",
            "optimizers:\n- adamw",
            r"protocols.corrected.optimizer: convex is not among optimizers",
        ),
        ("study: demo", "study: demo\nstudy: other", r"not YAML .*duplicate key"),
        ("study: demo", "study: [", r"not YAML"),
    ],
)
def test_a_fault_is_one_line_that_names_the_key(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = changed(tmp_path, old, new)
    with pytest.raises(InputError, match=told) as caught:
        load_params(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_or_a_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("- a\n")
    with pytest.raises(InputError, match="must hold a mapping"):
        load_params(tmp_path / "params.yaml")
