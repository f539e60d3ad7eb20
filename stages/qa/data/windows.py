"""Questions and contexts as token windows, and answers as token positions in them."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryFile, gettempdir

import numpy as np
from transformers import PreTrainedTokenizerFast

from stages.qa.data.squad import Example
from stages.qa.errors import InputError
from stages.qa.files import named

logger = logging.getLogger(__name__)

NO_ANSWER = 0  # the target of a window that does not hold the answer: its first token ([CLS], <s>)
IGNORED = -1  # the target of a window whose answer has no token at all
BATCH = 1000  # questions that are made into windows at once


@dataclass(frozen=True)
class Windows:
    """Token windows of many questions, packed one after the other. All positions count from the start of a window.

    Of more than BATCH questions, the arrays are read-only and lie in unnamed files where temporary files are kept.
    """

    input_ids: np.ndarray  # (tokens,) int32
    token_type_ids: np.ndarray  # (tokens,) uint8
    offsets: np.ndarray  # (tokens, 2) int32: characters of the context; (0, 0) outside the context
    starts: np.ndarray  # (windows + 1,) int64: window w holds the tokens starts[w] to starts[w + 1]
    examples: np.ndarray  # (windows,) int32: index of the window's question; windows of one question are neighbours
    articles: np.ndarray  # (windows,) int32: running number of the question's article
    context: np.ndarray  # (windows, 2) int32: first context token and the one after the last
    targets: np.ndarray  # (windows, 2) int64: first and last token of the answer, or NO_ANSWER, or IGNORED

    def __len__(self) -> int:
        return len(self.examples)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each window, (windows,) int64."""
        return np.diff(self.starts)


@dataclass(frozen=True)
class _Template:
    """The special tokens that a tokenizer puts before the question, between the two texts, and after the context."""

    ids: list[np.ndarray]  # three of (tokens,) int32
    types: list[np.ndarray]  # three of (tokens,) uint8
    question_type: int
    context_type: int


def _read_template(tokenizer: PreTrainedTokenizerFast) -> _Template:
    """Learn the template from one encoded pair: it differs between families ([SEP] once, </s></s> twice)."""
    pair = tokenizer("a", "a", return_token_type_ids=True, split_special_tokens=True)
    sequence = pair.sequence_ids()
    question = [i for i, s in enumerate(sequence) if s == 0]
    context = [i for i, s in enumerate(sequence) if s == 1]
    parts = slice(0, question[0]), slice(question[-1] + 1, context[0]), slice(context[-1] + 1, None)
    ids, types = pair["input_ids"], pair["token_type_ids"]
    return _Template(
        ids=[np.array(ids[part], dtype=np.int32) for part in parts],
        types=[np.array(types[part], dtype=np.uint8) for part in parts],
        question_type=types[question[0]],
        context_type=types[context[0]],
    )


def make_windows(
    examples: Iterable[Example],
    tokenizer: PreTrainedTokenizerFast,
    *,
    max_seq_length: int,
    doc_stride: int,
    max_query_length: int,
) -> Windows:
    """Tokenise each context once and cut it into windows as run_squad did, BATCH questions at a time.

    `doc_stride` is the step from one window of a context to the next (run_squad's meaning), not the overlap that fast
    tokenizers call `stride`. Text that spells a special token stays text. Raises InputError if no context token fits
    beside a question, or if the windows of a context would leave gaps.
    """
    cutter = _Cutter(tokenizer, max_seq_length, doc_stride, max_query_length)
    rest = iter(examples)
    windows = _end_to_end(cutter.windows(batch) for batch in iter(lambda: list(islice(rest, BATCH)), []))
    if cutter.cut:
        logger.info("%d of %d questions cut to %d tokens", cutter.cut, cutter.questions, max_query_length)
    if cutter.unlocated:
        logger.info(
            "%d of %d answers hold no token of this tokenizer; their windows are ignored",
            *(cutter.unlocated, cutter.questions),
        )
    return windows


def _end_to_end(parts: Iterator[Windows]) -> Windows:
    """All parts as one: if there are several, in files, whose pages the kernel may drop and read again."""
    whole = next(parts)
    second = next(parts, None)
    if second is None:
        return whole
    with named(Path(gettempdir())), ExitStack() as opened:
        files = {field.name: opened.enter_context(TemporaryFile()) for field in fields(Windows)}
        for part in chain([whole, second], parts):
            for name, file in files.items():
                array = getattr(part, name)
                file.write(array[1:] if name == "starts" and part is not whole else array)
        mapped = {}
        for name, file in files.items():
            file.flush()
            of_part = getattr(whole, name)
            mapped[name] = np.asarray(np.memmap(file, of_part.dtype, "r")).reshape(-1, *of_part.shape[1:])
    return Windows(**mapped)


class _Cutter:
    """Makes batches of questions into windows, one batch after the other."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, max_seq_length: int, doc_stride: int, max_query_length: int
    ) -> None:
        self.tokenizer, self.template = tokenizer, _read_template(tokenizer)
        self.max_seq_length, self.doc_stride, self.max_query_length = max_seq_length, doc_stride, max_query_length
        self.questions = self.tokens = 0  # so far
        self.cut = self.unlocated = 0  # questions longer than max_query_length; answers without a token

    def windows(self, batch: Sequence[Example]) -> Windows:
        """Those of `batch`; `starts` and `examples` go on from the batch before."""
        template, stride = self.template, self.doc_stride
        rows = {context: row for row, context in enumerate(dict.fromkeys(example.context for example in batch))}
        context_ids, context_sizes, chars = _tokenise(self.tokenizer, list(rows), offsets=True)
        question_ids, question_sizes = _tokenise(self.tokenizer, [example.question for example in batch], offsets=False)
        # of each question: its tokens, those of its context, where the context begins among all, and the room for it
        asked = np.minimum(question_sizes, self.max_query_length)
        row = np.array([rows[example.context] for example in batch])
        held, origin = context_sizes[row], (np.cumsum(context_sizes) - context_sizes)[row]
        room = self.max_seq_length - asked - sum(map(len, template.ids))
        for bad in np.flatnonzero((room < 1) | ((held > room) & (stride > room)))[:1]:
            raise InputError(
                f"question {batch[bad].id!r}: {max(room[bad], 0)} context tokens fit beside its {asked[bad]} tokens; "
                f"raise windows.max_seq_length ({self.max_seq_length}) or lower windows.doc_stride ({stride})"
            )
        counts = 1 - np.minimum(room - held, 0) // stride
        # of each window: its question, its first context token and the one after the last
        owner = np.repeat(np.arange(len(batch)), counts)
        first = stride * (np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts))
        last = np.minimum(first + room[owner], held[owner])
        # each window is five runs of tokens, of all that there are
        ids = [*template.ids, question_ids, context_ids]
        text_types = (
            np.full(len(question_ids), template.question_type),
            np.full(len(context_ids), template.context_type),
        )
        types = np.concatenate([*template.types, *text_types]).astype(np.uint8)
        own, questions, contexts = np.split(np.cumsum([0, *map(len, ids[:-1])]), [3, 4])
        size = np.empty((len(owner), 5), dtype=np.int64)
        size[:, ::2] = [len(part) for part in template.ids]
        size[:, 1], size[:, 3] = asked[owner], last - first
        place = np.empty_like(size)
        place[:, ::2] = own
        place[:, 1] = questions + (np.cumsum(question_sizes) - question_sizes)[owner]
        place[:, 3] = contexts + origin[owner] + first
        tokens = _runs(place.ravel(), size.ravel())
        offsets = np.concatenate([np.zeros((contexts[0], 2), dtype=np.int32), chars])
        ends = np.cumsum(size, axis=1)
        spans = _token_spans(batch, chars, origin, held)
        inside = (spans[owner, 0] >= first) & (spans[owner, 1] < last)
        targets = np.where(inside[:, None], spans[owner] + (ends[:, 2] - first)[:, None], NO_ANSWER)
        targets[spans[owner, 0] == IGNORED] = IGNORED
        windows = Windows(
            input_ids=np.concatenate(ids)[tokens],
            token_type_ids=types[tokens],
            offsets=offsets[tokens],
            starts=self.tokens + np.append(0, np.cumsum(ends[:, -1])),
            examples=(self.questions + owner).astype(np.int32),
            articles=np.array([example.article for example in batch], dtype=np.int32)[owner],
            context=ends[:, 2:4].astype(np.int32),
            targets=targets,
        )
        self.questions += len(batch)
        self.tokens += len(tokens)
        self.cut += int((question_sizes > self.max_query_length).sum())
        self.unlocated += int((spans[:, 0] == IGNORED).sum())
        return windows


def _runs(firsts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The numbers from firsts[i] on, sizes[i] of them, one run after the other, (sum of sizes,) int64."""
    ends = np.cumsum(sizes)
    return np.repeat(firsts - ends + sizes, sizes) + np.arange(sizes.sum())


def _tokenise(tokenizer: PreTrainedTokenizerFast, texts: list[str], *, offsets: bool) -> tuple[np.ndarray, ...]:
    """Token ids (tokens,) int32 of all texts, the tokens of each (texts,), and, if asked for, `offsets` (tokens, 2).

    Special tokens are not added. A Unigram vocabulary lists them among its pieces, so it matches them in a text even
    when told to split them. The unknown token then takes their place.
    """
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True  # as text
    encode = backend.encode_batch if offsets else backend.encode_batch_fast
    encodings = encode(texts, add_special_tokens=False)
    sizes = np.array([len(encoding) for encoding in encodings])
    ids = np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), dtype=np.int32, count=sizes.sum())
    unknown = tokenizer.unk_token_id
    if unknown is not None:
        ids[np.isin(ids, [i for i in tokenizer.all_special_ids if i != unknown])] = unknown
    if not offsets:
        return ids, sizes
    pairs = chain.from_iterable(chain.from_iterable(encoding.offsets for encoding in encodings))
    return ids, sizes, np.fromiter(pairs, dtype=np.int32, count=2 * sizes.sum()).reshape(-1, 2)


def _token_spans(batch: Sequence[Example], chars: np.ndarray, origin: np.ndarray, held: np.ndarray) -> np.ndarray:
    """First and last context token that touch the first answer of each question, (questions, 2).

    IGNORED twice if none does, -2 without an answer. The context of question q has the `chars` origin[q] to
    origin[q] + held[q].
    """
    spans = np.full((len(batch), 2), -2)
    answered = [q for q, example in enumerate(batch) if example.answers and not example.is_impossible]
    answers = [batch[q].answers[0] for q in answered]
    # an offset may be any number where only the text counts
    start = np.array([min(a.start, len(batch[q].context)) for q, a in zip(answered, answers, strict=True)], dtype=int)
    end = start + [len(answer.text) for answer in answers]
    size = held[answered]
    owner = np.repeat(np.arange(len(answered)), size)
    before, after = chars[_runs(origin[answered], size)].T  # equal for a token that stands for a space alone
    touching = np.flatnonzero((after > start[owner]) & (before < end[owner]) & (before < after))
    ends = np.cumsum(size)
    low, high = np.searchsorted(touching, [ends - size, ends])
    spans[answered] = IGNORED
    found = low < high
    located = np.array(answered, dtype=int)[found]
    spans[located, 0], spans[located, 1] = touching[low[found]], touching[high[found] - 1]
    spans[located] -= (ends - size)[found, None]
    return spans
