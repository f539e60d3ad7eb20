"""Grafts of two tiny models against models that are built by mixing their state dicts by name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.qa.answering.answering import answer
from stages.qa.answering.answers import Answers
from stages.qa.checks.grafting import graft
from stages.qa.data.squad import Answer, Example
from stages.qa.data.windows import Windows, make_windows
from stages.qa.encoding.encoder import Encoder, load_encoder
from stages.qa.errors import InputError
from stages.qa.models.manifest import write_manifest
from stages.qa.probing.readouts import Probes
from stages.qa.scoring.question_scores import score_questions
from stages.qa.sections import Protocol
from tests.conftest import CPU
from tests.encoding.test_encoder import edit_config
from tests.tiny_models import make_tiny

PROTOCOL = Protocol(
    optimizer="adamw", answer_text="slice", windows="official", max_answer_tokens=30, null_threshold=0.0
)
ORIGINAL = PROTOCOL.model_copy(update={"answer_text": "wordpieces", "windows": "highest"})
TEXTS = ["In 3.5 years Zoe met Al. " * 9, "Nobody knows Ann.", "Zoe won the 1st of two games against Al and Ann."]
EXAMPLES = [
    Example(f"{n}", "Who met Al?", text, (Answer("Ann", text.index("Ann")),) if "Ann" in text else (), n == 0, n, 0, "")
    for n, text in enumerate(TEXTS)
]
Pair = tuple[Path, Path]
FAMILIES = ["bert", "electra", "modernbert", "deberta-v2"]
# family -> prefix of the base model; names of the parts that are exchanged, up to the numbers of the layers
NAMES = {
    "bert": ("bert.", "embeddings.", "encoder.layer."),
    "electra": ("electra.", "embeddings", "encoder.layer."),
    "modernbert": ("model.", "embeddings.", "layers."),
    "deberta-v2": ("deberta.", "embeddings.", "encoder.layer."),
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    """pair(family) -> a model with a head, and another one without."""
    root, made = tmp_path_factory.mktemp("pairs"), dict[str, Pair]()

    def folders(family: str) -> Pair:
        if family not in made:
            tuned = make_tiny(family, root / f"{family}-tuned", head=True, seed=1)
            made[family] = tuned, make_tiny(family, root / f"{family}-base", seed=2)
        return made[family]

    return folders


def load(folder: Path) -> Encoder:
    return load_encoder(folder, device=CPU)


def windowed(encoder: Encoder) -> Windows:
    return make_windows(EXAMPLES, encoder.tokenizer, max_seq_length=40, doc_stride=10, max_query_length=10)


def own_answers(encoder: Encoder, protocol: Protocol) -> tuple[Answers, int]:
    """The answers of an encoder, and the row of its own head."""
    probes = Probes.empty(encoder.layers, encoder.hidden)
    answers = dict(answer(encoder, EXAMPLES, windowed(encoder), probes, {"it": protocol}))["it"]
    return answers, [reading.kind for reading in answers.readings].index("head")


def check_row(found: Answers, row: int, encoder: Encoder, protocol: Protocol = PROTOCOL) -> None:
    """The row is what the own head of `encoder` answers."""
    expected, head = own_answers(encoder, protocol)
    assert found.texts[row] == expected.texts[head]
    for name, array in vars(found.spans).items():
        np.testing.assert_allclose(array[row], vars(expected.spans)[name][head], rtol=1e-5, atol=1e-5, err_msg=name)


def mixture(folders: Pair, family: str, layer: int, folder: Path, *, reverse: bool) -> Encoder:
    """A checkpoint whose parts up to `layer`, or after it if `reverse`, are the base's."""
    prefix, embeddings, layers = NAMES[family]
    mixed, base = (load_file(folder / "model.safetensors") for folder in folders)
    for name in mixed:
        own = name.removeprefix(prefix)
        if own.startswith(embeddings):
            place = 0
        elif own.startswith(layers):
            place = int(own.removeprefix(layers).split(".")[0]) + 1
        else:
            continue
        if (place > layer) == reverse:
            mixed[name] = base[own]
    make_tiny(family, folder, head=True)
    save_file(mixed, folder / "model.safetensors", metadata={"format": "pt"})
    write_manifest(folder, source="mixed")
    return load(folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_grafts_are_mixtures_of_state_dicts(family: str, pair: Callable[[str], Pair], tmp_path: Path) -> None:
    tuned, base = map(load, pair(family))
    found = graft(tuned, base, EXAMPLES, windowed(tuned), PROTOCOL)
    kinds = [(reading.kind, reading.layer) for reading in found.readings]
    assert kinds == [(kind, layer) for kind in ("graft", "graft_reverse") for layer in range(tuned.layers)]
    for row, (kind, layer) in enumerate(kinds):
        reverse = kind == "graft_reverse"
        check_row(found, row, mixture(pair(family), family, layer, tmp_path / f"{row}", reverse=reverse))
    check_row(found, len(kinds) - 1, tuned)
    assert len(np.unique(found.spans.null_score, axis=0)) == len(kinds)  # no two grafts are alike


@pytest.mark.parametrize("protocol", [PROTOCOL, ORIGINAL], ids=["slice", "joined"])
def test_a_graft_with_itself_changes_nothing(protocol: Protocol, pair: Callable[[str], Pair]) -> None:
    tuned = load(pair("bert")[0])
    found = graft(tuned, tuned, EXAMPLES, windowed(tuned), protocol)
    for row in range(2 * tuned.layers):
        check_row(found, row, tuned, protocol)
    scores = score_questions(EXAMPLES, {"run": found})
    assert [reading.kind for reading in scores.readings] == ["graft"] * 3 + ["graft_reverse"] * 3
    assert np.isnan(scores.start_nll).all()
    assert (scores.forced_f1 == scores.forced_f1[0]).all()


def test_the_encoders_stay_as_they_are(pair: Callable[[str], Pair]) -> None:
    encoders = [load(folder) for folder in pair("bert")]
    before = [{name: tensor.clone() for name, tensor in one.model.state_dict().items()} for one in encoders]
    graft(*encoders, EXAMPLES, windowed(encoders[0]), PROTOCOL)
    for one, weights in zip(encoders, before, strict=True):
        after = one.model.state_dict()
        assert weights.keys() == after.keys()
        assert all(torch.equal(after[name], tensor) for name, tensor in weights.items())


def test_pairs_that_are_refused(pair: Callable[[str], Pair], tmp_path: Path) -> None:
    tuned, base = map(load, pair("bert"))
    windows = windowed(tuned)
    with pytest.raises(InputError, match="model bert-base: has no question answering head"):
        graft(base, tuned, EXAMPLES, windows, PROTOCOL)
    albert = load(make_tiny("albert", tmp_path / "albert", head=True))
    with pytest.raises(InputError, match=r"model albert \(type albert\): .* 3 layers are no modules apart"):
        graft(albert, albert, EXAMPLES, windowed(albert), PROTOCOL)
    heads = make_tiny("bert", tmp_path / "heads")
    edit_config(heads, num_attention_heads=2)
    wide = make_tiny("bert", tmp_path / "wide")
    edit_config(wide, intermediate_size=32)
    weights = {
        name: tensor[:32] if "intermediate.dense" in name else tensor
        for name, tensor in load_file(wide / "model.safetensors").items()
    }
    weights |= {name: tensor[:, :32].clone() for name, tensor in weights.items() if tensor.shape[-1] == 64}
    save_file(weights, wide / "model.safetensors", metadata={"format": "pt"})
    for folder in heads, wide:
        write_manifest(folder, source="other")
    for other in (heads, wide, pair("electra")[1]):
        with pytest.raises(InputError, match=r"models bert-tuned and .* differ in family, shape or vocabulary"):
            graft(tuned, load(other), EXAMPLES, windows, PROTOCOL)
