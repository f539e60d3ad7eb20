"""The original study's features: one question at a time, one word at a time, everything padded to one length.

Source: squad_convert_examples_to_features of transformers 2.5.1 (data/processors/squad.py), which the study called with
threads=1, written anew: words and a character-to-word table for every question, a slow tokenizer called for each word,
`_improve_answer_span`, windows by overflowing tokens. Only BERT's form ([CLS] question [SEP] context [SEP]) is covered.
What is left out is in the original's favour: its worker process, its progress bar, and maps of every window that the
study never read.

The slow tokenizer itself is transformers' own BertTokenizerLegacy, the Python tokenizer of that day.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch.utils.data import TensorDataset
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

from stages.qa.data.squad import Answer, Example


@dataclass(frozen=True)
class Window:
    """One window of one question, as transformers 2.5.1 kept it."""

    input_ids: list[int]
    attention_mask: list[int]
    token_type_ids: list[int]
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
    windows: list[Window] = []
    for index, example in enumerate(examples):
        words, word_of_character = _words(example.context)
        document: list[str] = []
        first_token: list[int] = []  # of each word
        for word in words:
            first_token.append(len(document))
            document += tokenizer.tokenize(word)
        answer = None
        if training and example.answers and not example.is_impossible:
            answer = _answer_tokens(example.answers[0], words, word_of_character, document, first_token, tokenizer)
            if answer is None:
                continue
        question = tokenizer.tokenize(example.question)[:max_query_length]
        windows += _windows_of(index, question, document, answer, tokenizer, max_seq_length, doc_stride)
    columns = [
        torch.tensor([window.input_ids for window in windows]),
        torch.tensor([window.attention_mask for window in windows]),
        torch.tensor([window.token_type_ids for window in windows]),
    ]
    if training:
        columns.append(torch.tensor([window.start for window in windows]))
        columns.append(torch.tensor([window.end for window in windows]))
    else:
        columns.append(torch.arange(len(windows)))
    return windows, TensorDataset(*columns)


def _answer_tokens(
    answer: Answer,
    words: list[str],
    word_of_character: list[int],
    document: list[str],
    first_token: list[int],
    tokenizer: BertTokenizerLegacy,
) -> tuple[int, int] | None:
    """First and last token of the answer; None if its words are not those of the context."""
    first_word = word_of_character[answer.start]
    last_word = word_of_character[min(answer.start + len(answer.text) - 1, len(word_of_character) - 1)]
    if " ".join(words[first_word : last_word + 1]).find(" ".join(answer.text.split())) == -1:
        return None
    start = first_token[first_word]
    end = [*first_token, len(document)][last_word + 1] - 1  # the token before the next word
    return _improve(document, start, end, tokenizer, answer.text)


def _windows_of(
    index: int,
    question: list[str],
    document: list[str],
    answer: tuple[int, int] | None,
    tokenizer: BertTokenizerLegacy,
    max_seq_length: int,
    doc_stride: int,
) -> list[Window]:
    """The windows of question number `index`; `answer` has its first and last token in `document`."""
    head = len(question) + 2
    room = max_seq_length - head - 1  # for tokens of the document
    windows: list[Window] = []
    start = 0
    while start < len(document):
        kept = document[start : start + room]
        ids = cast(list[int], tokenizer.convert_tokens_to_ids(["[CLS]", *question, "[SEP]", *kept, "[SEP]"]))
        padding = max_seq_length - len(ids)
        inside = answer is not None and answer[0] >= start and answer[1] < start + len(kept)
        windows.append(
            Window(
                input_ids=ids + [tokenizer.pad_token_id] * padding,
                attention_mask=[1] * len(ids) + [0] * padding,
                token_type_ids=[0] * head + [1] * (len(kept) + 1) + [0] * padding,
                start=answer[0] - start + head if answer and inside else 0,  # 0 is [CLS]
                end=answer[1] - start + head if answer and inside else 0,
                example=index,
            )
        )
        if start + room >= len(document):
            break
        start += doc_stride
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
