"""How a probe grows with its training data: learning curves, and the description length of the answers.

Both use probes at their optimum, on nested parts of the articles that double in size. The description length is the
prequential code of Voita and Titov (2020): the first block of articles is coded uniformly over the tokens of each
window, each further block with probes that are trained on the blocks before it. Its blocks are dev articles, which no
encoder of the study has been trained on: on the text of its fine-tuning, an encoder's memory would count as knowledge.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import log

import numpy as np
import pandas as pd

from stages.qa.data.windows import IGNORED
from stages.qa.encoding.features import Features
from stages.qa.probing.convex import Solver, mean_loss
from stages.qa.readings import DESCRIPTION
from stages.qa.sections import Convex

PARTS = 5  # sizes of a learning curve


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
    columns = {
        "model": model,
        "layer": range(len(online)),
        "articles": len(names),
        "windows": len(with_target),
        "uniform_bits": uniform,
        "online_bits": online,
        "compression": uniform / online,
    }
    return pd.DataFrame(columns, columns=DESCRIPTION)
