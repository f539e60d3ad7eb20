"""Questions and contexts as token windows, and answers as token positions in them."""

import logging
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from transformers import PreTrainedTokenizerFast

from stages.qa.data.squad import Example
from stages.qa.data.text import covering
from stages.qa.errors import InputError

logger = logging.getLogger(__name__)

IGNORED = -1  # the target of a window whose answer has no token at all
BATCH = 1000  # texts that are tokenised at once


@dataclass(frozen=True)
class Windows:
    """Token windows of many questions, packed one after the other. All positions count from the start of a window."""

    input_ids: np.ndarray  # (tokens,) int32
    token_type_ids: np.ndarray  # (tokens,) uint8
    offsets: np.ndarray  # (tokens, 2) int32: characters of the context; (0, 0) outside the context
    starts: np.ndarray  # (windows + 1,) int64: window w holds the tokens starts[w] to starts[w + 1]
    examples: np.ndarray  # (windows,) int32: index of the window's question; windows of one question are neighbours
    articles: np.ndarray  # (windows,) int32: running number of the question's article
    context: np.ndarray  # (windows, 2) int32: first context token and the one after the last
    null: np.ndarray  # (windows,) int64: the token of "no answer": [CLS], <s>
    targets: np.ndarray  # (windows, 2) int64: first and last token of the answer; `null` if it is not here; or IGNORED

    def __len__(self) -> int:
        return len(self.examples)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each window, (windows,) int64."""
        return np.diff(self.starts)


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
    tokenizers call `stride`. Text that spells a special token stays text. The target of a window is the first answer of
    its question if the window holds that answer whole. InputError if a question has no visible token, if no context
    token fits beside it, if the windows of a context would leave gaps, or if the tokenizer gives a pair no [CLS].
    """
    before, any_question, between, any_context, after = _read_template(tokenizer)
    texts = list(dict.fromkeys(example.context for example in examples))
    contexts = dict(zip(texts, _tokenise(tokenizer, texts, any_context[0, 1]), strict=True))
    for text, tokens in contexts.items():
        tokens[:, 2:] = covering(text, tokens[:, 2:])
    questions = _tokenise(tokenizer, [example.question.strip() for example in examples], any_question[0, 1])
    pieces: list[np.ndarray] = []  # of all windows, joined at the end
    lengths, numbers, bounds, nulls, targets = [], [], [], [], []
    for number, (example, question) in enumerate(zip(examples, questions, strict=True)):
        context = contexts[example.context]
        question = question[:max_query_length]
        read = example.question.strip()[: question[:, 3].max(initial=0)]  # the characters that its tokens stand for
        if example.question and all(unicodedata.category(character)[0] in "ZC" for character in read):
            raise InputError(
                f"question {example.id!r}: none of its first {len(question)} tokens is a visible character"
            )
        head = np.concatenate([before, question, between])
        head[:, 2:] = 0
        room = max_seq_length - len(head) - len(after)
        beyond_first_window = max(len(context) - room, 0)
        if room < 1 or (beyond_first_window and doc_stride > room):
            raise InputError(
                f"question {example.id!r}: {max(room, 0)} context tokens fit beside its {len(question)} tokens; "
                f"raise windows.max_seq_length ({max_seq_length}) or lower windows.doc_stride ({doc_stride})"
            )
        answer = _answer_tokens(example, context)
        for first in range(0, beyond_first_window + doc_stride, doc_stride):
            last = min(first + room, len(context))  # the window holds the context tokens from first to before last
            window = [head, context[first:last], after]
            null = int(np.flatnonzero(np.concatenate(window)[:, 0] == tokenizer.cls_token_id)[0])
            target = (null, null)
            if answer == (IGNORED, IGNORED):
                target = answer
            elif answer is not None and first <= answer[0] and answer[1] < last:
                target = (len(head) + answer[0] - first, len(head) + answer[1] - first)
            pieces += window
            lengths.append(len(head) + last - first + len(after))
            numbers.append(number)
            bounds.append((len(head), len(head) + last - first))
            nulls.append(null)
            targets.append(target)
    if cut := sum(len(question) > max_query_length for question in questions):
        logger.info("%d of %d questions cut to %d tokens", cut, len(examples), max_query_length)
    tokens = np.concatenate(pieces)
    return Windows(
        input_ids=tokens[:, 0].copy(),
        token_type_ids=tokens[:, 1].astype(np.uint8),
        offsets=tokens[:, 2:].copy(),
        starts=np.cumsum([0, *lengths]),
        examples=np.array(numbers, dtype=np.int32),
        articles=np.array([examples[number].article for number in numbers], dtype=np.int32),
        context=np.array(bounds, dtype=np.int32),
        null=np.array(nulls, dtype=np.int64),
        targets=np.array(targets, dtype=np.int64),
    )


def question_rows(windows: Windows, questions: int) -> list[slice]:
    """The rows of each question's windows, which are neighbours."""
    bounds = np.searchsorted(windows.examples, np.arange(questions + 1))
    return [slice(first, end) for first, end in pairwise(bounds.tolist())]


def touching(offsets: np.ndarray, start: int, end: int) -> np.ndarray:
    """The tokens that touch the characters from `start` to `end`, without `end`: their indices in `offsets`, int64.

    `offsets` (tokens, 2) are the first character of each token and the one after its last. A token without a character
    of its own, as one that stands for a space alone, touches nothing.
    """
    first, after = offsets[:, 0], offsets[:, 1]
    return np.flatnonzero((after > start) & (first < end) & (first < after))


def _answer_tokens(example: Example, context: np.ndarray) -> tuple[int, int] | None:
    """First and last context token of the first answer; IGNORED twice if it has no token, None without an answer."""
    if example.is_impossible or not example.answers:
        return None
    answer = example.answers[0]
    tokens = touching(context[:, 2:], answer.start, answer.start + len(answer.text))
    return (int(tokens[0]), int(tokens[-1])) if len(tokens) else (IGNORED, IGNORED)


def _read_template(tokenizer: PreTrainedTokenizerFast) -> list[np.ndarray]:
    """A pair of texts in five parts: special tokens, a question, special tokens, a context, special tokens.

    Tokens are as `_tokenise` gives them. Special ones differ between families ([SEP] once, </s></s> twice).
    """
    pair = tokenizer("a", "a", return_token_type_ids=True, split_special_tokens=True)
    nowhere = [0] * len(pair["input_ids"])
    tokens = np.array([pair["input_ids"], pair["token_type_ids"], nowhere, nowhere], dtype=np.int32).T
    sequence = pair.sequence_ids()
    question = [place for place, text in enumerate(sequence) if text == 0]
    context = [place for place, text in enumerate(sequence) if text == 1]
    if tokenizer.cls_token_id not in pair["input_ids"]:
        template = " ".join(tokenizer.convert_ids_to_tokens(pair["input_ids"]))
        what = f"its tokenizer puts no cls_token ({tokenizer.cls_token}), which stands for no answer, beside two texts"
        raise InputError(f"{tokenizer.name_or_path}: {what}: {template}")
    return np.split(tokens, [question[0], question[-1] + 1, context[0], context[-1] + 1])


def _tokenise(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], token_type: int) -> list[np.ndarray]:
    """The tokens of each text without special tokens, (tokens, 4) int32: id, type, first character, the one after.

    A Unigram vocabulary lists special tokens among its pieces, so it finds them in a text even when told to split them.
    The unknown token then takes their place.
    """
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True  # as text
    unknown = tokenizer.unk_token_id
    special = set() if unknown is None else set(tokenizer.all_special_ids) - {unknown}
    tokenised = []
    for begin in range(0, len(texts), BATCH):
        for encoding in backend.encode_batch(list(texts[begin : begin + BATCH]), add_special_tokens=False):
            tokens = np.full((len(encoding.ids), 4), token_type, dtype=np.int32)
            tokens[:, 0] = [unknown if token in special else token for token in encoding.ids]
            tokens[:, 2:] = np.reshape(encoding.offsets, (-1, 2))
            tokenised.append(tokens)
    return tokenised
