"""The original study's probes: one module and one optimiser for each layer and side, a Python loop for the best span.

Source: github traviemcg/cs224nfinalproject at d488afa, probe.py, train.py and predict.py, written anew with the same
operations in the same order. Where today's libraries have no such thing, or where the original does nothing at all
today:

- AdamW without bias correction and without weight decay (transformers 2.5.1's) is an optimiser of a dozen lines here.
- The bounds of the context are the intended ones. The original's expressions rely on `argmax` returning the last of
  equal maxima, as torch did before 1.7; today the search is empty, which would be much faster and always wrong.
- Scores in the table of predictions start as 0.0, not 0: pandas 3 takes no float in a column of integers.
- DataParallel, which passes everything through on a CPU, is left out.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset
from transformers import PreTrainedModel
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

from stages.qa.data.squad import Example

LEARNING_RATE, DROPOUT, BATCH = 3e-5, 0.1, 8
MAX_ANSWER_TOKENS = 18


class AdamW(torch.optim.Optimizer):
    """As in transformers 2.5.1 with correct_bias=False and no weight decay."""

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float) -> None:
        super().__init__(parameters, {"lr": lr, "betas": (0.9, 0.999), "eps": 1e-8})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["first"], state["second"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
                state["first"].mul_(beta1).add_(parameter.grad, alpha=1 - beta1)
                state["second"].mul_(beta2).addcmul_(parameter.grad, parameter.grad, value=1 - beta2)
                parameter.addcdiv_(state["first"], state["second"].sqrt().add_(group["eps"]), value=-group["lr"])


class SoftmaxRegression(nn.Module):
    """Scores of the tokens for one side of the answer."""

    def __init__(self, hidden: int, *, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden, 1)
        self.linear.weight.data.normal_(mean=0.0, std=0.02)
        self.linear.bias.data.zero_()
        self.dropout = nn.Dropout(p=dropout)

    def forward(self, states: Tensor) -> Tensor:
        """(batch, tokens, hidden) -> (batch, tokens)."""
        scores: Tensor = self.linear(self.dropout(states)).squeeze(-1)
        return scores


class OriginalProbe:
    """Start and end scores of one layer, each with its own module, optimiser and clipping."""

    def __init__(self, hidden: int, *, lr: float, dropout: float) -> None:
        self.start, self.end = (SoftmaxRegression(hidden, dropout=dropout) for _ in range(2))
        self.start_optimizer = AdamW(self.start.parameters(), lr=lr)
        self.end_optimizer = AdamW(self.end.parameters(), lr=lr)

    def train(self, states: Tensor, starts: Tensor, ends: Tensor) -> None:
        """One update from a batch: states (batch, tokens, hidden), positions (batch,)."""
        self.start.train()
        self.end.train()
        start_scores, end_scores = self.start(states), self.end(states)
        ignored = start_scores.size(1)
        starts.clamp_(0, ignored)
        ends.clamp_(0, ignored)
        start_loss = nn.CrossEntropyLoss(ignore_index=ignored)(start_scores, starts)
        end_loss = nn.CrossEntropyLoss(ignore_index=ignored)(end_scores, ends)
        ((start_loss + end_loss) / 2.0).backward()
        nn.utils.clip_grad_norm_(self.start.parameters(), 1.0)
        nn.utils.clip_grad_norm_(self.end.parameters(), 1.0)
        self.start_optimizer.step()
        self.end_optimizer.step()
        self.start.zero_grad()
        self.end.zero_grad()

    @torch.no_grad()
    def predict(self, states: Tensor, context: tuple[int, int]) -> tuple[float, int, int]:
        """Score, first and last token of the answer in one window, states (1, tokens, hidden)."""
        self.start.eval()
        self.end.eval()
        return original_span(self.start(states), self.end(states), context)


def original_span(start_scores: Tensor, end_scores: Tensor, context: tuple[int, int]) -> tuple[float, int, int]:
    """The best span within `context` (first token, end) or (0, 0) for no answer; scores (1, tokens)."""
    first, end = context
    null_score = start_scores[:, 0] + end_scores[:, 0]
    best_start: int | Tensor = first
    best_end: int | Tensor = first
    best = start_scores[:, first] + end_scores[:, first]
    for here in range(first, end):
        reachable = end_scores[:, here : min(here + MAX_ANSWER_TOKENS, end)]
        end_score, offset = reachable.max(-1)
        last = offset + here
        score = start_scores[:, here] + end_score
        if score >= best:
            best = score
            best_start, best_end = here, last
    answered = best >= null_score
    score = answered * best + ~answered * null_score
    chosen = (answered * best_start).numpy(), (answered * best_end).numpy()
    return float(score.numpy()[0]), int(chosen[0][0]), int(chosen[1][0])


def train_original(
    model: PreTrainedModel,
    dataset: TensorDataset,
    probes: Sequence[OriginalProbe],
    epochs: int,
) -> None:
    """train.py's loops: a forward pass and an update of every layer's probe for each batch of 8, in random order."""
    for _ in range(epochs):
        for ids, mask, types, starts, ends in DataLoader(dataset, sampler=RandomSampler(dataset), batch_size=BATCH):
            model.eval()
            with torch.no_grad():
                output = model(input_ids=ids, attention_mask=mask, token_type_ids=types, output_hidden_states=True)
            for probe, states in zip(probes, output.hidden_states[1:], strict=True):
                probe.train(states, starts, ends)


def predict_original(
    model: PreTrainedModel,
    tokenizer: BertTokenizerLegacy,
    examples: Sequence[Example],
    dataset: TensorDataset,
    probes: Sequence[OriginalProbe],
) -> list[dict[str, str]]:
    """predict.py: answers of each layer, by question id."""
    ids_of_questions = [example.id for example in examples]
    empty = pd.DataFrame({"Id": ids_of_questions, "Predicted": "", "Question": "", "Score": 0.0})
    tables = [empty.copy() for _ in probes]
    rows = [0] * len(probes)
    for ids, mask, types, _ in DataLoader(dataset, batch_size=BATCH):
        model.eval()
        with torch.no_grad():
            output = model(input_ids=ids, attention_mask=mask, token_type_ids=types, output_hidden_states=True)
        hidden_states = output.hidden_states[1:]
        for place in range(len(ids)):
            tokens = tokenizer.convert_ids_to_tokens(ids[place])
            context = intended_context(types[place])
            question = tokenizer.convert_tokens_to_string(tokens[1 : context[0] - 1])
            for layer, probe in enumerate(probes):
                score, first, last = probe.predict(hidden_states[layer][place].unsqueeze(0), context)
                answer = tokenizer.convert_tokens_to_string(tokens[first : last + 1])
                answer = "" if answer == "[CLS]" else answer
                table, row = tables[layer], rows[layer]
                if row > 0 and table.loc[row - 1, "Question"] == question:
                    row -= 1
                    if score > table.loc[row, "Score"]:
                        table.loc[row, "Predicted"] = answer
                        table.loc[row, "Score"] = score
                else:
                    table.loc[row, "Question"] = question
                    table.loc[row, "Predicted"] = answer
                    table.loc[row, "Score"] = score
                rows[layer] = row + 1
    return [dict(zip(table["Id"], table["Predicted"], strict=True)) for table in tables]


def intended_context(token_types: Tensor) -> tuple[int, int]:
    """First context token and the one after the last, from the 0/1 token types (tokens,): the last 1 is [SEP]'s."""
    ones = torch.nonzero(token_types)
    return int(ones[0]), int(ones[-1])


def original_logits(probes: Sequence[OriginalProbe], states: Sequence[Tensor]) -> Tensor:
    """Scores (layers, batch, tokens, 2) of every probe; states: one (batch, tokens, hidden) for each layer."""
    with torch.no_grad():
        pairs = [torch.stack([p.start(s), p.end(s)], dim=-1) for p, s in zip(probes, states, strict=True)]
    return torch.stack(pairs)
