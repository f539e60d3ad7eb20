"""The tokenizer is the one of tokenizer.json; without that file, the vocabulary says whether case counts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from stages.qa.data.guard import check_gold
from stages.qa.data.squad import Answer, Example
from stages.qa.data.windows import make_windows
from stages.qa.errors import InputError, IntegrityError
from stages.qa.models.checkpoints import TEXTS, load_config, load_tokenizer
from tests.conftest import TinyModel
from tests.data.test_windows import ODD
from tests.tiny_models import FAMILIES, TOKENIZERS, UNICODE

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "In", "Berlin", "Zoë", "met", "Al", "Hamburg", "who", "Köln"]
EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "lower case": lambda file: file.update(normalizer={"type": "Lowercase"}),
    "no normaliser": lambda file: file.update(normalizer=None),
    "accents stripped": lambda file: file.update(
        normalizer={"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}]}
    ),
    "composed": lambda file: file.update(normalizer={"type": "NFC"}),
    "words split at spaces": lambda file: file.update(pre_tokenizer={"type": "WhitespaceSplit"}),
    "digits": lambda file: file.update(
        pre_tokenizer={
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, file["pre_tokenizer"]],
        }
    ),
}


def edit(folder: Path, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads((folder / name).read_text(encoding="utf-8"))
    change(values)
    (folder / name).write_text(json.dumps(values), encoding="utf-8")


def encodings(tokenizer: Tokenizer) -> list[tuple[list[int], list[tuple[int, int]]]]:
    tokenizer.encode_special_tokens = True
    found = [tokenizer.encode(text, add_special_tokens=False) for text in [*TEXTS, *UNICODE, *ODD]]
    return [(one.ids, one.offsets) for one in found]


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("family", ["bert", "mpnet", "roberta", "modernbert", "albert", "deberta-v2", "xlm-roberta"])
def test_an_edited_file_is_what_counts(family: str, name: str, tiny_copy: TinyModel) -> None:
    folder = tiny_copy(family)
    edit(folder, "tokenizer.json", EDITS[name])
    tokenizer = load_tokenizer(folder, load_config(folder))
    assert encodings(tokenizer.backend_tokenizer) == encodings(Tokenizer.from_file(str(folder / "tokenizer.json")))
    assert tokenizer.cls_token_id is not None
    tokenizer.save_pretrained(folder)  # as fine-tuning does
    again = load_tokenizer(folder, load_config(folder))
    assert encodings(again.backend_tokenizer) == encodings(tokenizer.backend_tokenizer)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_class_and_the_file_agree_as_a_rule(
    family: str, tiny_model: TinyModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    folder = tiny_model(family)
    load_tokenizer(folder, load_config(folder))
    assert not caplog.text


def test_a_difference_is_logged_with_both_tokenisations_of_a_word(
    tiny_copy: TinyModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    folder = tiny_copy("bert")
    edit(folder, "tokenizer.json", EDITS["no normaliser"])
    load_tokenizer(folder, load_config(folder))
    assert "tokenizer.json is used, not what BertTokenizer makes of it: 'Zoë' is [(1, '[UNK]'" in caplog.text


def cased(folder: Path) -> Path:
    """A cased vocab.txt alone."""
    for name in "tokenizer.json", "tokenizer_config.json":
        (folder / name).unlink()
    (folder / "vocab.txt").write_text("\n".join([*WORDS, "zo", "##e", "berlin2"]), encoding="utf-8")
    edit(folder, "config.json", lambda config: config.update(vocab_size=len(WORDS) + 3))
    return folder


def test_a_cased_vocabulary_alone_keeps_its_capitals(tiny_copy: TinyModel, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    folder = cased(tiny_copy("bert"))
    tokenizer = load_tokenizer(folder, load_config(folder))
    assert tokenizer.tokenize("In Berlin Zoë met Al") == ["In", "Berlin", "Zoë", "met", "Al"]
    assert "the vocabulary has capitals or accents, so the tokenizer keeps them" in caplog.text


@pytest.mark.parametrize("family", [family for family in FAMILIES if TOKENIZERS[family] == "wordpiece"])
def test_a_lower_case_vocabulary_alone_loads_as_before(
    family: str, tiny_copy: TinyModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    folder = tiny_copy(family)
    before = encodings(Tokenizer.from_file(str(folder / "tokenizer.json")))
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=lambda piece: vocabulary[piece])))
    (folder / "tokenizer.json").unlink()
    assert encodings(load_tokenizer(folder, load_config(folder)).backend_tokenizer) == before
    assert not caplog.text


@pytest.mark.parametrize("name", ["spm.model", "sentencepiece.bpe.model"])
def test_a_slow_tokenizer_names_the_package_that_is_missing(
    name: str, tiny_copy: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_copy("deberta-v2")
    (folder / "tokenizer.json").unlink()
    (folder / name).write_bytes(b"\x0a\x0e\x0a\x05<unk>")
    monkeypatch.setattr("stages.qa.models.checkpoints.find_spec", lambda name: None)
    says = rf"{name}: without tokenizer.json, to read this needs sentencepiece and protobuf"
    with pytest.raises(IntegrityError, match=says):
        load_tokenizer(folder, load_config(folder))


# The guard, where the rules above are taken out


def examples() -> list[Example]:
    context = "In Berlin Zoë met Al"
    answers = [Answer("Berlin", 3), Answer("Zoë", 10), Answer("Al", 18)]
    return [Example(f"q{n}", "who", context, (one,), False, 0, 0, "") for n, one in enumerate(answers)]


def guarded(tokenizer: Any) -> dict[str, int]:
    sizes = {"max_seq_length": 64, "doc_stride": 16}
    windows = make_windows(examples(), tokenizer, max_query_length=16, **sizes)
    return check_gold(examples(), windows, tokenizer, file=Path("dev.json"), least=0.99, doc_stride=16)


def test_the_guard_compares_tokens_with_the_file(tiny_copy: TinyModel) -> None:
    folder = tiny_copy("bert")
    assert guarded(AutoTokenizer.from_pretrained(folder)) == {"questions": 3, "came_back": 3}
    edit(folder, "tokenizer.json", EDITS["no normaliser"])
    with pytest.raises(InputError, match=r"tokenizer.json: this is not the tokenizer in use: 'In' is \[\("):
        guarded(AutoTokenizer.from_pretrained(folder))


def test_the_guard_misses_capitals_that_the_vocabulary_has(tiny_copy: TinyModel) -> None:
    folder = cased(tiny_copy("bert"))
    with pytest.raises(InputError, match=r"1 of 3 gold .* q1: 'Zoë' became 'o'|[23] of 3 gold answers"):
        guarded(AutoTokenizer.from_pretrained(folder))
    assert guarded(load_tokenizer(folder, load_config(folder)))["came_back"] == 3
