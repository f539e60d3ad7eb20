"""Questions and contexts as token windows, and answers as token positions in them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise

import numpy as np
from transformers import PreTrainedTokenizerFast

from stages.qa.errors import InputError
from stages.qa.squad import Example

logger = logging.getLogger(__name__)

NO_ANSWER = 0  # the target of a window that does not hold the answer: its first token ([CLS], <s>)
IGNORED = -1  # the target of a window whose answer has no token at all


@dataclass(frozen=True)
class Windows:
    """Token windows of many questions, packed one after the other. All positions count from the start of a window."""

    input_ids: np.ndarray  # (tokens,) int32
    token_type_ids: np.ndarray  # (tokens,) uint8
    offsets: np.ndarray  # (tokens, 2) int32: characters of the context; (0, 0) outside the context
    starts: np.ndarray  # (windows + 1,) int64: window w holds the tokens starts[w] to starts[w + 1]
    examples: np.ndarray  # (windows,) int32: index of the window's question; windows of one question are neighbours
    context: np.ndarray  # (windows, 2) int32: first context token and the one after the last
    targets: np.ndarray  # (windows, 2) int64: first and last token of the answer, or NO_ANSWER, or IGNORED

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each window, (windows,) int64."""
        return np.diff(self.starts)


@dataclass(frozen=True)
class _Template:
    """The special tokens that a tokenizer puts before the question, between the two texts, and after the context."""

    ids: tuple[list[int], list[int], list[int]]
    types: tuple[list[int], list[int], list[int]]
    question_type: int
    context_type: int

    @property
    def size(self) -> int:
        return sum(map(len, self.ids))


def _read_template(tokenizer: PreTrainedTokenizerFast) -> _Template:
    """Learn the template from one encoded pair: it differs between families ([SEP] once, </s></s> twice)."""
    pair = tokenizer("a", "a", return_token_type_ids=True)
    sequence = pair.sequence_ids()
    question = [i for i, s in enumerate(sequence) if s == 0]
    context = [i for i, s in enumerate(sequence) if s == 1]
    parts = slice(0, question[0]), slice(question[-1] + 1, context[0]), slice(context[-1] + 1, None)
    ids, types = pair["input_ids"], pair["token_type_ids"]
    return _Template(
        ids=(ids[parts[0]], ids[parts[1]], ids[parts[2]]),
        types=(types[parts[0]], types[parts[1]], types[parts[2]]),
        question_type=types[question[0]],
        context_type=types[context[0]],
    )


def make_windows(
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerFast,
    *,
    max_seq_length: int,
    doc_stride: int,
    max_query_length: int,
) -> Windows:
    """Tokenise each context once and cut it into windows as run_squad did.

    `doc_stride` is the step from one window of a context to the next (run_squad's meaning), not the overlap that fast
    tokenizers call `stride`. Text that spells a special token stays text. Raises InputError if no context token fits
    beside a question, or if the windows of a context would leave gaps.
    """
    template = _read_template(tokenizer)
    before, between, after = (np.array(ids, dtype=np.int32) for ids in template.ids)
    types = [np.array(part, dtype=np.uint8) for part in template.types]
    question_types = np.full(max_query_length, template.question_type, dtype=np.uint8)
    context_types = np.full(max_seq_length, template.context_type, dtype=np.uint8)
    no_offsets = np.zeros((max_seq_length, 2), dtype=np.int32)
    contexts = list(dict.fromkeys(example.context for example in examples))
    context_rows = {context: row for row, context in enumerate(contexts)}
    context_ids, context_offsets = _tokenise(tokenizer, contexts)
    question_ids, _ = _tokenise(tokenizer, [example.question for example in examples])

    input_ids: list[np.ndarray] = []
    token_type_ids: list[np.ndarray] = []
    offsets: list[np.ndarray] = []
    sizes: list[int] = []
    owners: list[int] = []
    bounds: list[tuple[int, int]] = []
    targets: list[tuple[int, int]] = []
    cut = unlocated = 0
    for index, example in enumerate(examples):
        question, row = question_ids[index], context_rows[example.context]
        cut += len(question) > max_query_length
        question = question[:max_query_length]
        ids, chars = context_ids[row], context_offsets[row]
        room = max_seq_length - len(question) - template.size
        if room < 1 or (len(ids) > room and doc_stride > room):
            raise InputError(
                f"question {example.id!r}: {max(room, 0)} context tokens fit beside its {len(question)} tokens; raise "
                f"windows.max_seq_length ({max_seq_length}) or lower windows.doc_stride ({doc_stride})"
            )
        answer = _token_span(example, chars)
        unlocated += answer == (IGNORED, IGNORED)
        head = [before, question, between]
        size = len(before) + len(question) + len(between)
        for first in range(0, max(len(ids) - room, 0) + doc_stride, doc_stride):
            last = min(first + room, len(ids))
            input_ids += [*head, ids[first:last], after]
            token_type_ids += [
                types[0],
                question_types[: len(question)],
                types[1],
                context_types[: last - first],
                types[2],
            ]
            offsets += [no_offsets[:size], chars[first:last], no_offsets[: len(after)]]
            sizes.append(size + last - first + len(after))
            owners.append(index)
            bounds.append((size, size + last - first))
            targets.append(_window_target(answer, first, last, size))
    if cut:
        logger.info("%d of %d questions cut to %d tokens", cut, len(examples), max_query_length)
    if unlocated:
        logger.info(
            "%d of %d answers hold no token of this tokenizer; their windows are ignored", unlocated, len(examples)
        )
    return Windows(
        input_ids=np.concatenate(input_ids),
        token_type_ids=np.concatenate(token_type_ids),
        offsets=np.concatenate(offsets),
        starts=np.fromiter(accumulate(sizes, initial=0), dtype=np.int64),
        examples=np.array(owners, dtype=np.int32),
        context=np.array(bounds, dtype=np.int32),
        targets=np.array(targets, dtype=np.int64),
    )


def _tokenise(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Token ids (tokens,) int32 and character offsets (tokens, 2) int32 of each text, without special tokens.

    A Unigram vocabulary lists the special tokens among its pieces, so it matches them in a text even when told to split
    them. The unknown token then takes their place.
    """
    encodings = tokenizer(
        texts,
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        split_special_tokens=True,
        verbose=False,
    )
    sizes = [len(row) for row in encodings["input_ids"]]
    ids = np.fromiter(chain.from_iterable(encodings["input_ids"]), dtype=np.int32, count=sum(sizes))
    pairs = chain.from_iterable(chain.from_iterable(encodings["offset_mapping"]))
    offsets = np.fromiter(pairs, dtype=np.int32, count=2 * sum(sizes)).reshape(-1, 2)
    unknown = tokenizer.unk_token_id
    if unknown is not None:
        ids[np.isin(ids, [i for i in tokenizer.all_special_ids if i != unknown])] = unknown
    bounds = list(pairwise(accumulate(sizes, initial=0)))
    return [ids[first:last] for first, last in bounds], [offsets[first:last] for first, last in bounds]


def _token_span(example: Example, chars: np.ndarray) -> tuple[int, int] | None:
    """First and last context token that touch the first answer, IGNORED twice if none does; None without an answer."""
    if not example.answers or example.is_impossible:
        return None
    answer = example.answers[0]
    first, end = chars.T  # equal for a token that stands for a space alone
    touching = np.flatnonzero((end > answer.start) & (first < answer.start + len(answer.text)) & (first < end))
    return (int(touching[0]), int(touching[-1])) if len(touching) else (IGNORED, IGNORED)


def _window_target(answer: tuple[int, int] | None, first: int, last: int, head: int) -> tuple[int, int]:
    """`answer`, in context tokens, as positions of the window that holds the context tokens first to last."""
    if answer == (IGNORED, IGNORED):
        return IGNORED, IGNORED
    if answer is None or answer[0] < first or answer[1] >= last:
        return NO_ANSWER, NO_ANSWER
    return head + answer[0] - first, head + answer[1] - first
