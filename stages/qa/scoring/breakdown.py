"""Scores by kind of question: every breakdown puts each question into one group, so that groups sum to the total."""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np

from stages.qa.data.squad import Example
from stages.qa.metric import normalise, token_f1
from stages.qa.scoring.question_scores import QuestionScores

BREAKDOWN = ["model", "protocol", "reading", "layer", "breakdown", "group"]
BREAKDOWN += ["questions", "answerable", "articles", "exact", "f1", "forced_f1"]
NO_ANSWER = "no answer"
WORDS = re.compile(r"\b(what|when|where|which|who|whom|whose|how|why)\b", re.IGNORECASE)
ALIKE = {"whom": "who", "whose": "who"}
OVERLAP = 0.5  # mean F1 between two annotators' answers from which they count as overlapping
Row = dict[str, str | int | float | None]


def breakdown_rows(model: str, examples: Sequence[Example], scored: Mapping[str, QuestionScores]) -> list[Row]:
    """A row under BREAKDOWN for each protocol, reading, layer and group with questions; percent, means over the seeds.

    forced_f1 is that of the group's questions that have an answer; None if there are none.
    """
    rows: list[Row] = []
    for protocol, scores in scored.items():
        readings = dict.fromkeys((reading.kind, reading.layer) for reading in scores.readings)
        groups = groups_of(examples, scores.windows)
        for kind, layer in readings:
            chosen = [i for i, reading in enumerate(scores.readings) if (reading.kind, reading.layer) == (kind, layer)]
            exact, f1, forced = (getattr(scores, name)[chosen].mean(axis=0) for name in ("exact", "f1", "forced_f1"))
            for name, labels in groups.items():
                for label in dict.fromkeys(sorted(labels, key=list(GROUPS[name]).index)):
                    own = np.array([each == label for each in labels])
                    answerable = own & scores.answerable
                    rows.append(
                        {
                            **{"model": model, "protocol": protocol, "reading": kind, "layer": layer},
                            **{"breakdown": name, "group": label, "questions": int(own.sum())},
                            "answerable": int(answerable.sum()),
                            "articles": len(np.unique(scores.article[own])),
                            "exact": round(100 * float(exact[own].mean()), 4),
                            "f1": round(100 * float(f1[own].mean()), 4),
                            "forced_f1": round(100 * float(forced[answerable].mean()), 4) if answerable.any() else None,
                        }
                    )
    return rows


# breakdown -> its groups, in order
GROUPS: dict[str, tuple[str, ...]] = {
    "question word": ("what", "who", "when", "where", "which", "how", "why", "other"),
    "answer length": ("1 word", "2 words", "3 to 5 words", "6 words or more", NO_ANSWER),
    "paragraph length": ("up to 60 words", "61 to 100 words", "101 to 150 words", "151 to 200 words", "over 200 words"),
    "windows": ("one window", "several windows"),
    "answer position": ("first third", "middle third", "last third", NO_ANSWER),
    "annotators": ("one answer", "all the same", "overlapping", "differing", NO_ANSWER),
}


def groups_of(examples: Sequence[Example], windows: np.ndarray) -> dict[str, list[str]]:
    """Breakdown -> the group of each question (of GROUPS). windows (questions,): token windows of the question."""
    found = {name: [group(example) for example in examples] for name, group in _GROUPINGS.items()}
    found["windows"] = [GROUPS["windows"][int(number > 1)] for number in windows]
    return {name: found[name] for name in GROUPS}


def question_word(example: Example) -> str:
    """The first question word, wherever it stands (whom and whose count as who)."""
    if not (found := WORDS.search(example.question)):
        return "other"
    word = found[0].lower()
    return ALIKE.get(word, word)


def answer_length(example: Example) -> str:
    """Words between spaces of the shortest gold answer."""
    if not example.answers:
        return NO_ANSWER
    return _place("answer length", min(len(answer.text.split()) for answer in example.answers), (1, 2, 5))


def paragraph_length(example: Example) -> str:
    """Words between spaces of the context."""
    return _place("paragraph length", len(example.context.split()), (60, 100, 150, 200))


def answer_position(example: Example) -> str:
    """In which third of the context's characters the first gold answer begins."""
    if not example.answers:
        return NO_ANSWER
    return GROUPS["answer position"][min(3 * example.answers[0].start // max(len(example.context), 1), 2)]


def annotators(example: Example) -> str:
    """How far the gold answers agree: all the same once normalised, or their mean F1 with one another."""
    texts = [normalise(answer.text) for answer in example.answers]
    if not texts:
        return NO_ANSWER
    if len(texts) == 1:
        return "one answer"
    if len(set(texts)) == 1:
        return "all the same"
    mean = np.mean([1.0 if one == other else token_f1(one, other) for one, other in combinations(texts, 2)])
    return "overlapping" if mean >= OVERLAP else "differing"


def _place(name: str, number: int, highest: Sequence[int]) -> str:
    """The group that holds `number`; `highest` are the largest numbers of all groups but the last."""
    return GROUPS[name][sum(number > each for each in highest)]


_GROUPINGS: dict[str, Callable[[Example], str]] = {
    "question word": question_word,
    "answer length": answer_length,
    "paragraph length": paragraph_length,
    "answer position": answer_position,
    "annotators": annotators,
}
