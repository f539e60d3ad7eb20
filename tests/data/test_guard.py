"""Gold answers that do not come back from their tokens stop a stage."""

from pathlib import Path
from typing import Any

import pytest

from stages.qa.data import windows as windows_module
from stages.qa.data.guard import check_gold
from stages.qa.data.squad import Answer, Example
from stages.qa.data.windows import make_windows
from stages.qa.errors import InputError
from tests.data.test_text import TEXTS
from tests.tiny_models import train_tokenizer


def example(id_: str, context: str, answer: str | None, start: int | None = None) -> Example:
    place = context.index(answer) if answer and start is None else start or 0
    answers = () if answer is None else (Answer(answer, place),)
    return Example(id_, "Who?", context, answers, answer is None, 0, 0, "")


def guarded(examples: list[Example], kind: str = "wordpiece", least: float = 0.99, **sizes: int) -> dict[str, int]:
    tokenizer: Any = train_tokenizer(kind)
    settings = {"max_seq_length": 64, "doc_stride": 32, "max_query_length": 8} | sizes
    windows = make_windows(examples, tokenizer, **settings)
    stride = settings["doc_stride"]
    return check_gold(examples, windows, tokenizer, file=Path("dev.json"), least=least, doc_stride=stride)


def test_counts_and_examples() -> None:
    good = [example(f"g{n}", "Ann sang at the fair.", "the fair") for n in range(96)]
    odd = [example("p", "Ann sang.", "nn"), example("q", "Ann sang.", "sa"), example("r", "In 3.5 days.", "3.5")]
    none = [example("n", "Nobody.", None), example("o", "a \u200d b", "\u200d")]
    assert guarded(good + odd + none, least=0.97) == {"questions": 100, "came_back": 97}
    says = (
        r"^dev.json: 3 of 100 gold answers do not come back from the tokens of .* \(guard in method.yaml: 0.99\): "
        r"p: 'nn' became 'Ann'; q: 'sa' became 'san'; o: '\\u200d' became ''\. "
    )
    with pytest.raises(InputError, match=says):
        guarded(good + odd + none)


def test_any_of_the_gold_answers_will_do_and_normalisation_counts() -> None:
    one = example("a", "It was the 'fair', they say.", "fair")
    two = Example("b", "Who?", "Ann sang.", (Answer("nn", 1), Answer("Ann", 0)), False, 0, 0, "")
    assert guarded([one, two], least=1) == {"questions": 2, "came_back": 2}


def test_hidden_labels_and_questions_without_answers() -> None:
    hidden = Example("h", "Who?", "Ann sang.", (), None, 0, 0, "")
    assert guarded([hidden, example("n", "Nobody.", None)], least=1) == {"questions": 0, "came_back": 0}


def test_an_answer_longer_than_what_windows_share_does_not_count() -> None:
    long = "one two three four five six seven eight nine ten " * 6
    context = f"They say: {long.strip()}. Then no more. " + "So it was. " * 20
    questions = [example("l", context, long.strip()), example("a", "Ann sang.", "Ann")]
    assert guarded(questions, least=1) == {"questions": 1, "came_back": 1}


def test_offsets_that_are_wild_count_though_no_window_holds_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def wild(text: str, offsets: Any) -> Any:
        offsets[:] = [0, len(text)]
        return offsets

    monkeypatch.setattr(windows_module, "covering", wild)
    with pytest.raises(InputError, match="1 of 1 gold answers"):
        guarded([example("l", "So it was. " * 40 + "Ann sang.", "Ann")])


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("wordpiece", name) for name in ("Hindi", "Malayalam with joiners", "Arabic with vowel signs", "emoji")),
        *((kind, "decomposed Latin") for kind in ("wordpiece", "albert", "deberta", "modern")),
    ],
)
def test_the_guard_stops_what_the_rule_for_marks_mends(kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = TEXTS[name].split("|")
    context = "".join(parts)
    places = range(1, len(parts), 2)
    questions = [example(str(n), context, parts[n], len("".join(parts[:n]))) for n in places]
    assert guarded(questions, kind, max_seq_length=512)["came_back"] == len(questions)
    monkeypatch.setattr(windows_module, "covering", lambda text, offsets: offsets)
    with pytest.raises(InputError, match="gold answers do not come back"):
        guarded(questions, kind, max_seq_length=512)
