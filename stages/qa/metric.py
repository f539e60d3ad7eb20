"""The official SQuAD 2.0 metric, to the last digit of evaluate-v2.0.py (Rajpurkar, Jia and Liang, 2018).

As a command it replaces that script: `python -m stages.qa.metric DATA.json PREDICTIONS.json`. It refuses more: missing
and unknown ids, values of a wrong type, NaN, and contradictory or hidden labels. There the script stops with a
traceback or prints a number that means nothing. It draws no plots.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from sys import float_info
from typing import Annotated, Any, Literal

import numpy as np
from typer import Argument, Option

from stages.qa.cli import run
from stages.qa.data.squad import Example, read_squad
from stages.qa.data.strict_json import read_strict_json, shown
from stages.qa.data.text import normalise as normalise
from stages.qa.errors import InputError
from stages.qa.files import write_text


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of each question before any threshold, in the order of the examples."""

    exact: np.ndarray  # (questions,) float64, 0 or 1
    f1: np.ndarray  # (questions,) float64, 0 to 1


@lru_cache(maxsize=2**18)
def _tokens(normalised: str) -> Counter[str]:
    return Counter(normalised.split())


def token_f1(gold: str, prediction: str) -> float:
    """F1 of two different normalised texts as bags of tokens; 0 if either has none."""
    gold_tokens, predicted_tokens = _tokens(gold), _tokens(prediction)
    common = (gold_tokens & predicted_tokens).total()
    if not common:
        return 0.0
    precision = common / predicted_tokens.total()
    recall = common / gold_tokens.total()
    return 2 * precision * recall / (precision + recall)


@lru_cache(maxsize=2**18)
def _golds(answers: tuple[str, ...]) -> frozenset[str]:
    """The normalised gold answers that are not empty; if there are none, no answer is right."""
    return frozenset(filter(None, map(normalise, answers))) or frozenset([""])


def question_scores(examples: Sequence[Example], answers: Mapping[str, str]) -> Scores:
    """Score each question by the best of its gold answers; `answers` maps ids to texts, "" for no answer.

    Raises InputError if there are no examples, their labels are hidden, or `answers` lacks or adds an id or holds
    anything but texts.
    """
    _check(examples, answers, "text", "answers")
    exact, f1 = np.zeros(len(examples)), np.zeros(len(examples))
    for row, example in enumerate(examples):
        prediction = normalise(answers[example.id])
        golds = _golds(tuple(answer.text for answer in example.answers))
        if prediction in golds:
            exact[row] = f1[row] = 1
        elif prediction:
            f1[row] = max(token_f1(gold, prediction) for gold in golds)
    return Scores(exact, f1)


def official_metrics(
    examples: Sequence[Example],
    answers: Mapping[str, str],
    na_probs: Mapping[str, float] | None = None,
    na_prob_thresh: float = 1.0,
) -> dict[str, float | int]:
    """The numbers that the official script prints, under its names and in its order; exact and f1 are in percent.

    `na_probs` maps ids to the probability of no answer, or to any score that grows with it. A question above
    `na_prob_thresh` counts as not answered. Without such questions, the HasAns or NoAns keys are absent; without
    `na_probs`, the best_ keys.

    Raises InputError as `question_scores` does, also for `na_probs` (finite Python numbers) and a NaN threshold.
    """
    if math.isnan(na_prob_thresh):
        raise InputError("na_prob_thresh is NaN, not a number")
    scores = question_scores(examples, answers)
    has_answer = np.array([bool(example.answers) for example in examples])
    refused = np.full(len(examples), na_prob_thresh < 0)  # without na_probs, every probability is 0
    if na_probs is not None:
        _check(examples, na_probs, "number", "na_probs")
        refused = np.array([na_probs[example.id] > na_prob_thresh for example in examples])
    exact = np.where(refused, ~has_answer, scores.exact)
    f1 = np.where(refused, ~has_answer, scores.f1)
    metrics: dict[str, float | int] = {}
    for prefix, group in ("", np.ones_like(has_answer)), ("HasAns_", has_answer), ("NoAns_", ~has_answer):
        total = int(group.sum())
        if total:
            metrics[f"{prefix}exact"] = 100.0 * _sum(exact[group]) / total
            metrics[f"{prefix}f1"] = 100.0 * _sum(f1[group]) / total
            metrics[f"{prefix}total"] = total
    if na_probs is not None:
        ids = [example.id for example in examples]
        wrong = [-float(answers[id_] != "") for id_ in ids]  # the text as written: "." counts as an answer here
        for name, values in ("exact", scores.exact), ("f1", scores.f1):
            gains = dict(zip(ids, np.where(has_answer, values, wrong), strict=True))
            best, threshold = _best(int((~has_answer).sum()), gains, na_probs)
            metrics[f"best_{name}"] = 100.0 * best / len(examples)
            metrics[f"best_{name}_thresh"] = threshold
    return metrics


def _best(nothing: int, gains: Mapping[str, float], na_probs: Mapping[str, float]) -> tuple[float, float]:
    """The highest total over all thresholds, and the lowest threshold that reaches it.

    nothing: the total if no question is answered; gains: what the answer to each question adds. As in the official
    script, the threshold is 0.0 where it is best to answer nothing, even if null scores are negative, and questions
    with equal null scores enter one by one, in the order of `na_probs`.
    """
    order = sorted(na_probs, key=na_probs.__getitem__)  # a stable sort
    totals = np.cumsum([nothing, *(gains[id_] for id_ in order)])
    best = int(totals.argmax())
    return float(totals[best]), na_probs[order[best - 1]] if best else 0.0


def _sum(values: np.ndarray) -> float:
    """The sum from left to right: np.sum adds in pairs, and since Python 3.12 sum() corrects the last digit."""
    return float(np.cumsum(values)[-1])


def _check(examples: Sequence[Example], given: Mapping[str, Any], kind: Literal["text", "number"], source: str) -> None:
    """Raise InputError, with `source` as the place, unless each example has one value of the right kind."""
    if not examples:
        raise InputError("no questions to score")
    if any(example.is_impossible is None for example in examples):
        raise InputError("labels are hidden: every empty answer would count as right")
    ids = dict.fromkeys(example.id for example in examples)
    if missing := [id_ for id_ in ids if id_ not in given]:
        raise InputError(f"{source}: no {kind} for {len(missing)} of {len(ids)} questions: {_first(missing)}")
    if unknown := [id_ for id_ in given if id_ not in ids]:
        what = f"{len(unknown)} ids that the data do not have: {_first(unknown)}"
        raise InputError(f"{source}: {what}; another data file?")
    if wrong := [id_ for id_, value in given.items() if not _is_a(kind, value)]:
        value = shown(given[wrong[0]])
        raise InputError(f"{source}: not a {kind} for {len(wrong)} of {len(ids)} ids: {_first(wrong)}; got {value}")


def _first(ids: list[str]) -> str:
    return ", ".join(map(shown, ids[:5])) + (", ..." if len(ids) > 5 else "")


def _is_a(kind: Literal["text", "number"], value: object) -> bool:
    if kind == "text":
        return isinstance(value, str)
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= float_info.max


def main(
    data_file: Annotated[Path, Argument(help="SQuAD-format JSON with the gold answers.")],
    pred_file: Annotated[Path, Argument(help="JSON object: id -> answer text, empty for no answer.")],
    na_prob_file: Annotated[
        Path | None, Option("--na-prob-file", "-n", help="JSON object: id -> probability of no answer.")
    ] = None,
    na_prob_thresh: Annotated[
        float, Option("--na-prob-thresh", "-t", help="Questions above it count as not answered.")
    ] = 1.0,
    out_file: Annotated[Path | None, Option("--out-file", "-o", help="Write here instead of printing.")] = None,
) -> None:
    """The official SQuAD 2.0 metric, with the output of evaluate-v2.0.py and its arguments, but for plots."""
    examples = read_squad(data_file, purpose="score")
    answers = read_strict_json(pred_file, of="ids and texts")
    _check(examples, answers, "text", str(pred_file))
    na_probs = None if na_prob_file is None else read_strict_json(na_prob_file, of="ids and numbers")
    if na_probs is not None:
        _check(examples, na_probs, "number", str(na_prob_file))
    metrics = official_metrics(examples, answers, na_probs, na_prob_thresh)
    if out_file is None:
        print(json.dumps(metrics, indent=2, allow_nan=False))
    else:
        write_text(out_file, json.dumps(metrics, allow_nan=False))


if __name__ == "__main__":
    run(main)
