"""The original study's features: one question at a time, one word at a time, everything padded to one length.

Source: squad_convert_examples_to_features of transformers 2.5.1 (data/processors/squad.py), which the study called with
threads=1, written anew with the same work in it: words and a character-to-word table for every question, a slow
tokenizer called for each word, `_improve_answer_span`, windows by overflowing tokens, and for every window the maps
that transformers built and the study never read (token -> word; token -> has it the most context here). Only BERT's
form ([CLS] question [SEP] context [SEP]) is covered. What is left out is in the original's favour: it ran in a worker
process that sent its features back, and showed a progress bar.

The slow tokenizer itself is transformers' own BertTokenizerLegacy, the Python tokenizer of that day.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch.utils.data import TensorDataset
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

from stages.qa.data.squad import Example


@dataclass(frozen=True)
class Window:
    """One window of one question, as transformers 2.5.1 kept it."""

    input_ids: list[int]
    attention_mask: list[int]
    token_type_ids: list[int]
    p_mask: np.ndarray
    cls_index: int
    tokens: list[str]
    token_to_word: dict[int, int]
    token_is_max_context: dict[int, bool]
    start: int
    end: int
    example: int


def original_features(
    examples: Sequence[Example],
    tokenizer: BertTokenizerLegacy,
    *,
    max_seq_length: int,
    doc_stride: int,
    max_query_length: int,
    training: bool,
) -> tuple[list[Window], TensorDataset]:
    """Windows, and the data set (ids, attention mask, token types, start, end) of int64, (windows, max_seq_length).

    Without `training` the last two are replaced by the number of the window.
    """
    windows = []
    for index, example in enumerate(examples):
        windows += _windows_of(example, index, tokenizer, max_seq_length, doc_stride, max_query_length, training)
    columns = [torch.tensor([getattr(w, name) for w in windows]) for name in ("input_ids", "attention_mask")]
    columns.append(torch.tensor([w.token_type_ids for w in windows]))
    if training:
        columns += [torch.tensor([w.start for w in windows]), torch.tensor([w.end for w in windows])]
    else:
        columns.append(torch.arange(len(windows)))
    return windows, TensorDataset(*columns)


def _windows_of(
    example: Example,
    index: int,
    tokenizer: BertTokenizerLegacy,
    max_seq_length: int,
    doc_stride: int,
    max_query_length: int,
    training: bool,
) -> list[Window]:
    words, word_of_character = _words(example.context)
    word_of_token: list[int] = []
    first_token: list[int] = []
    document: list[str] = []
    for number, word in enumerate(words):
        first_token.append(len(document))
        for piece in tokenizer.tokenize(word):
            word_of_token.append(number)
            document.append(piece)

    answered = training and bool(example.answers) and not example.is_impossible
    answer_start = answer_end = 0
    if answered:
        answer = example.answers[0]
        first_word = word_of_character[answer.start]
        last_word = word_of_character[min(answer.start + len(answer.text) - 1, len(word_of_character) - 1)]
        if " ".join(words[first_word : last_word + 1]).find(" ".join(answer.text.split())) == -1:
            return []
        answer_start = first_token[first_word]
        answer_end = first_token[last_word + 1] - 1 if last_word < len(words) - 1 else len(document) - 1
        answer_start, answer_end = _improve(document, answer_start, answer_end, tokenizer, answer.text)

    question = tokenizer.tokenize(example.question)[:max_query_length]
    room = max_seq_length - len(question) - 3
    head = len(question) + 2
    spans: list[tuple[int, int]] = []  # first document token and number of them
    encoded: list[tuple[list[int], list[int], list[int]]] = []
    rest = document
    while len(spans) * doc_stride < len(document):
        kept = rest[:room]
        ids = cast(list[int], tokenizer.convert_tokens_to_ids(["[CLS]", *question, "[SEP]", *kept, "[SEP]"]))
        types = [0] * head + [1] * (len(kept) + 1)
        padding = max_seq_length - len(ids)
        mask = [1] * len(ids) + [0] * padding
        encoded.append((ids + [tokenizer.pad_token_id] * padding, mask, types + [0] * padding))
        spans.append((len(spans) * doc_stride, len(kept)))
        if len(rest) <= room:
            break
        rest = rest[doc_stride:]

    windows = []
    for place, ((ids, mask, types), (start, length)) in enumerate(zip(encoded, spans, strict=True)):
        real = ids[: ids.index(tokenizer.pad_token_id)] if tokenizer.pad_token_id in ids else ids
        token_to_word = {head + i: word_of_token[start + i] for i in range(length)}
        most = {head + i: _most_context(spans, place, start + i) for i in range(length)}
        cls_index = ids.index(tokenizer.cls_token_id)
        p_mask = 1 - np.minimum(np.array(types), 1)
        p_mask[np.where(np.array(ids) == tokenizer.sep_token_id)[0]] = 1
        p_mask[cls_index] = 0
        inside = answered and answer_start >= start and answer_end <= start + length - 1
        windows.append(
            Window(
                input_ids=ids,
                attention_mask=mask,
                token_type_ids=types,
                p_mask=p_mask,
                cls_index=cls_index,
                tokens=tokenizer.convert_ids_to_tokens(real),
                token_to_word=token_to_word,
                token_is_max_context=most,
                start=answer_start - start + head if inside else cls_index,
                end=answer_end - start + head if inside else cls_index,
                example=index,
            )
        )
    return windows


def _words(context: str) -> tuple[list[str], list[int]]:
    """Words between white space, and the number of the word of each character."""
    words: list[str] = []
    word_of_character = []
    after_space = True
    for character in context:
        if character in " \t\r\n" or ord(character) == 0x202F:
            after_space = True
        else:
            if after_space:
                words.append(character)
            else:
                words[-1] += character
            after_space = False
        word_of_character.append(len(words) - 1)
    return words, word_of_character


def _improve(document: list[str], start: int, end: int, tokenizer: BertTokenizerLegacy, answer: str) -> tuple[int, int]:
    """The tokens within start to end that spell the answer, if some do: whole words hold too much ("(1895-1943)")."""
    wanted = " ".join(tokenizer.tokenize(answer))
    for new_start in range(start, end + 1):
        for new_end in range(end, new_start - 1, -1):
            if " ".join(document[new_start : new_end + 1]) == wanted:
                return new_start, new_end
    return start, end


def _most_context(spans: list[tuple[int, int]], place: int, position: int) -> bool:
    best_score, best = -np.inf, None
    for other, (start, length) in enumerate(spans):
        if start <= position <= start + length - 1:
            score = min(position - start, start + length - 1 - position) + 0.01 * length
            if score > best_score:
                best_score, best = score, other
    return best == place
