"""What is measured on a bounded sample of questions, to stay cheap: one encoder alone, and one beside another.

Learning curves and description lengths (Voita and Titov 2020; docs/probing.md) use probes at their optimum, on nested
parts of the articles that double in size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import log

import numpy as np
import pandas as pd
from torch import Tensor

from stages.qa.checks import controls
from stages.qa.checks.judging import Judge, Judged, read_windows
from stages.qa.checks.similarity import TokenSample, similarity_rows
from stages.qa.data.splits import evenly_spread
from stages.qa.data.squad import Example
from stages.qa.data.windows import IGNORED, Windows, make_windows
from stages.qa.encoding.encoder import Chunk, Encoder
from stages.qa.encoding.features import Features
from stages.qa.probing.convex import Solver, mean_loss
from stages.qa.probing.probes import token_scores
from stages.qa.readings import CLUSTERS, CONTROLS, DESCRIPTION, LEARNING, SIMILARITY
from stages.qa.sections import Convex, Examine, Statistics

PARTS = 5  # sizes of a learning curve


@dataclass(frozen=True)
class Sample:
    """The sampled questions, and how they become windows."""

    train: list[Example]
    validation: list[Example]  # perhaps none
    dev: list[Example]
    window_settings: dict[str, int]

    def windows(self, encoder: Encoder, examples: Sequence[Example]) -> Windows:
        """Windows of `examples` for the encoder."""
        return make_windows(examples, encoder.tokenizer, **self.window_settings)


def sampled(examples: Sequence[Example], count: int) -> list[Example]:
    """At most `count` of the questions, at even distances."""
    return [examples[i] for i in evenly_spread(len(examples), count)]


def no_tables() -> dict[str, pd.DataFrame]:
    """The tables of `examine` without rows, for a model without probes."""
    columns = {"controls": CONTROLS, "clusters": CLUSTERS, "learning": LEARNING, "description": DESCRIPTION}
    columns |= {"similarity": SIMILARITY}
    return {name: pd.DataFrame(columns=names) for name, names in columns.items()}


def examine(
    encoder: Encoder,
    sample: Sample,
    l2: float,
    *,
    model: str,
    convex: Convex,
    memory: float,
    settings: Examine,
    statistics: Statistics,
) -> dict[str, pd.DataFrame]:
    """Train the task and its controls on the sampled training questions, at the optimum; judge them on the dev ones.

    l2: the study's. memory: GiB of hidden states. Returns the tables of `no_tables`, which call the encoder `model`.
    Beside the states, the fit of controls.PRODUCTS takes the most memory: 3.4 GB at 25 layers of 1,024 (see `Solver`).
    """
    training = sample.windows(encoder, sample.train)
    features = Features(encoder, training, gib=memory)
    windows = sample.windows(encoder, sample.dev)
    tokens = TokenSample(windows, settings.cka_tokens)

    def judge(features: Features, dev: Sequence[Example], windows: Windows) -> Judge:
        weights = Solver(features, convex).fit(l2).weights
        widen = features.widen  # the features themselves are not kept: they hold states

        def scores(chunk: Chunk) -> Tensor:
            wide = widen(encoder, windows, chunk) if widen else chunk
            return token_scores(wide.states, weights)

        return Judge(scores, encoder.layers, dev, windows, settings.max_answer_tokens)

    curve: dict[int, Judge] = {}  # number of training articles -> the task, learned from these
    articles = np.unique(training.articles)
    for count in doublings(len(articles), PARTS):
        curve[count] = judge(features.part(rows_of(training.articles, articles[:count])), sample.dev, windows)
    word_train, word_dev = (controls.word_answers(part, seed=settings.seed) for part in (sample.train, sample.dev))
    targets = sample.windows(encoder, word_train).targets
    # forced F1 counts the questions that it counts of the task
    scored = [word if own.answers else own for word, own in zip(word_dev, sample.dev, strict=True)]
    words = judge(features.part(np.arange(len(training)), targets), scored, sample.windows(encoder, word_dev))
    with_question = judge(
        Features(encoder, training, gib=memory, widen=controls.question_products), sample.dev, windows
    )
    validation = sample.windows(encoder, sample.validation) if sample.validation else None
    position = controls.fit_position(training, validation)
    longest = settings.max_answer_tokens
    by_position = Judge(lambda chunk: position.logits(windows, chunk.rows), 1, sample.dev, windows, longest)
    read_windows(encoder, windows, [*curve.values(), with_question, words, by_position, tokens])

    others = {controls.PRODUCTS: with_question, "words": words, "position_only": by_position}
    parts = sample.train, sample.dev
    shuffled = [controls.shuffled_questions(part, seed=settings.seed) for part in parts]
    unasked = [[replace(example, question="") for example in part] for part in parts]
    encoded = {
        "shuffled_question": (encoder, shuffled),
        "no_question": (encoder, unasked),
        "random_layers": (controls.random_layers(encoder, seed=settings.seed), parts),
    }
    for name, (reader, (train, dev)) in encoded.items():
        dev_windows = sample.windows(encoder, dev)
        others[name] = judge(Features(reader, sample.windows(encoder, train), gib=memory), dev, dev_windows)
        read_windows(reader, dev_windows, [others[name]])
    learned = {count: one.judged(statistics) for count, one in curve.items()}
    judged = {controls.TASK: learned[len(articles)]} | {name: one.judged(statistics) for name, one in others.items()}
    states = tokens.states()
    tables = {
        "controls": controls.control_rows(model, judged, len(sample.train)),
        "clusters": controls.cluster_rows(model, judged),
        "learning": learning_rows(model, sample.train, learned),
        "description": description_rows(model, Features(encoder, windows, gib=memory), l2, convex),
        "similarity": similarity_rows(model, states, model, states),
    }
    return {name: _six_digits(table) for name, table in tables.items()}


def doublings(total: int, parts: int) -> list[int]:
    """At most `parts` whole numbers, each about twice the one before; the last is `total`."""
    return sorted({max(1, round(total / 2**halvings)) for halvings in range(parts)})


def rows_of(articles: np.ndarray, chosen: Sequence[int] | np.ndarray) -> np.ndarray:
    """The windows of the chosen articles; articles (windows,)."""
    return np.flatnonzero(np.isin(articles, chosen))


def description_rows(model: str, features: Features, l2: float, convex: Convex) -> pd.DataFrame:
    """A row under DESCRIPTION for each layer: bits of all starts and ends of `features`, coded uniformly and online.

    compression is the first over the second: 1 where a probe learns nothing that carries over to other articles.
    """
    windows = features.windows
    with_target = np.flatnonzero(windows.targets[:, 0] != IGNORED)
    articles = windows.articles[with_target]
    names = np.unique(articles)
    ends = doublings(len(names), 1 + len(names).bit_length())
    bits = 2 * np.log2(windows.lengths)
    first = with_target[rows_of(articles, names[: ends[0]])]
    online = np.full(features.encoder.layers, bits[first].sum())
    for known, end in pairwise(ends):
        before = with_target[rows_of(articles, names[:known])]
        block = with_target[rows_of(articles, names[known:end])]
        solver = Solver(features.part(before), convex)
        loss, _ = mean_loss(features.part(block), solver.fit(l2).weights)  # (layers, 2)
        online += loss.sum(1).cpu().numpy() * len(block) / log(2)
    uniform = bits[with_target].sum()
    rows = pd.DataFrame({"layer": range(len(online)), "online_bits": online, "compression": uniform / online})
    rows = rows.assign(model=model, articles=len(names), windows=len(with_target), uniform_bits=uniform)
    return rows[DESCRIPTION]


def learning_rows(model: str, train: Sequence[Example], curve: Mapping[int, Judged]) -> pd.DataFrame:
    """A row under LEARNING for each layer and number of training articles; scores as in `controls.control_rows`."""
    articles = np.array([example.article for example in train])
    parts = []
    for count, judged in curve.items():
        questions = len(rows_of(articles, np.unique(articles)[:count]))
        columns = {"model": model, "articles": count, "training_questions": questions}
        columns |= judged.columns(layers=len(judged.nll))
        parts.append(pd.DataFrame(columns, columns=LEARNING))
    return pd.concat(parts, ignore_index=True)


def compare(
    encoder: Encoder, base: Encoder, sample: Sample, *, model: str, other: str, settings: Examine
) -> pd.DataFrame:
    """The table "similarity": the layers of `encoder`, called `model`, against those of `base`, called `other`.

    On the sampled dev questions. InputError if the encoders do not cut the questions into the same tokens.
    """
    states = []
    for each in encoder, base:
        windows = sample.windows(each, sample.dev)
        tokens = TokenSample(windows, settings.cka_tokens)
        read_windows(each, windows, [tokens])
        states.append(tokens.states())
    return _six_digits(similarity_rows(model, states[0], other, states[1]))


def _six_digits(table: pd.DataFrame) -> pd.DataFrame:
    """`table` with all floats to six significant digits."""
    floats = table.select_dtypes("float")
    return table.assign(**{name: [float(f"{value:.6g}") for value in floats[name]] for name in floats})
