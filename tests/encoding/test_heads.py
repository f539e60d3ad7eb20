"""The own head on every layer: the lens is what the same checkpoint answers if its later layers are taken away."""

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForQuestionAnswering

from stages.qa.answering.answering import answer
from stages.qa.answering.answers import load_answers, save_answers
from stages.qa.data.squad import Answer, Example
from stages.qa.data.windows import Windows, make_windows
from stages.qa.encoding.encoder import Encoder, encode, load_encoder
from stages.qa.files import read_json
from stages.qa.models.manifest import write_manifest
from stages.qa.probing.readouts import Probes
from stages.qa.scoring.question_scores import score_questions
from stages.qa.sections import Protocol
from tests.conftest import CPU, TinyModel
from tests.models.test_families import USUAL, write_model
from tests.tiny_models import FAMILIES

OTHERS = ["big_bird", "megatron-bert", "roberta-prelayernorm", "squeezebert", "xlm-roberta-xl"]
CHANGES = {"squeezebert": {"embedding_size": 32}, "big_bird": {"block_size": 8, "num_random_blocks": 1}}
NORMS = {
    "modernbert": "final_norm",
    "megatron-bert": "encoder.ln",
    "roberta-prelayernorm": "LayerNorm",
    "xlm-roberta-xl": "encoder.LayerNorm",
}
EXAMPLES = [
    Example(str(n), "Who sang?", "Ann sang here. " * n, (Answer("Ann", 0),), False, 0, 0, "") for n in (9, 2, 2)
]
SLICE = Protocol(optimizer="adamw", answer_text="slice", windows="official", max_answer_tokens=30, null_threshold=0.0)


def windowed(encoder: Encoder, examples: list[Example] = EXAMPLES) -> Windows:
    return make_windows(examples, encoder.tokenizer, max_seq_length=96, doc_stride=40, max_query_length=32)


def cut(folder: Path, layers: int) -> Any:
    """The model of the checkpoint in `folder` without the layers after the first `layers`."""
    config = AutoConfig.from_pretrained(folder, num_hidden_layers=layers, attention_type="original_full")
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]
    whole = AutoModelForQuestionAnswering.from_pretrained(folder)
    model = AutoModelForQuestionAnswering.from_config(config).eval()
    assert not model.load_state_dict(whole.state_dict(), strict=False).missing_keys
    return model


@pytest.mark.parametrize("family", [*FAMILIES, *OTHERS])
def test_the_lens_is_the_model_without_its_later_layers(family: str, tiny_model: TinyModel, tmp_path: Path) -> None:
    if family in FAMILIES:
        folder = tiny_model(family, head=True)
    else:
        folder = write_model(family, tmp_path / family, **USUAL, **CHANGES.get(family, {}))
    encoder = load_encoder(folder, device=CPU)
    assert encoder.lens == NORMS.get(family, "")
    windows = windowed(encoder)
    found = encode(encoder, windows, np.arange(len(windows))).head_logits
    assert len(found) == encoder.layers + 1
    assert torch.equal(found[-2], found[-1])
    tokens = slice(int(windows.starts[1]), int(windows.starts[2]))
    inputs = {"input_ids": torch.from_numpy(windows.input_ids[tokens]).long()[None]}
    if getattr(encoder.model.config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = torch.from_numpy(windows.token_type_ids[tokens]).long()[None]
    for layer in range(1, encoder.layers):
        seen: list[Tensor] = []
        model = cut(folder, layer)
        last = next(module for module in reversed(list(model.modules())) if getattr(module, "out_features", 0) == 2)
        last.register_forward_hook(lambda module, given, output, seen=seen: seen.append(output[0]))
        with torch.no_grad():
            model(**inputs)
        torch.testing.assert_close(found[layer][tokens], seen[0], rtol=1e-4, atol=1e-4)
    assert found.flatten(1).std(1).min() > 1e-3
    assert not torch.allclose(found[0], found[1], atol=1e-2)


@pytest.mark.parametrize("family", ["bert", "modernbert", "big_bird"])
def test_answers_of_the_last_lens_are_the_heads(family: str, tiny_model: TinyModel, tmp_path: Path) -> None:
    own = {**USUAL, **CHANGES["big_bird"]}
    folder = write_model(family, tmp_path / "m", **own) if family == "big_bird" else tiny_model(family, head=True)
    encoder = load_encoder(folder, device=CPU)
    protocols = {"slice": SLICE, "joined": SLICE.model_copy(update={"answer_text": "wordpieces", "windows": "highest"})}
    probes = Probes.empty(encoder.layers, encoder.hidden)
    for answers in dict(answer(encoder, EXAMPLES, windowed(encoder), probes, protocols)).values():
        kinds = [(reading.kind, reading.layer) for reading in answers.readings]
        last = encoder.layers - 1
        assert kinds == [*(("lens", layer) for layer in range(encoder.layers)), ("head", last), ("gold", last)]
        for array in (*vars(answers.spans).values(), answers.texts.places, answers.nll):
            assert array[last].tobytes() == array[last + 1].tobytes()
        assert answers.spans.score[0].tobytes() != answers.spans.score[last].tobytes()
        save_answers(tmp_path / "answers", answers)
        assert load_answers(tmp_path / "answers").readings == answers.readings
        for layer in range(encoder.layers):
            assert read_json(tmp_path / f"answers/lens/layer_{layer:02d}.json") == answers.final(layer)
        assert read_json(tmp_path / "answers/head.json") == answers.final(last)


@pytest.mark.parametrize("first", [1, 2, 3])
def test_the_lens_jumps_where_the_heads_direction_appears(
    first: int, tiny_copy: TinyModel, planted: Callable[[nn.Module, int, int], None]
) -> None:
    """One token, "d", is told from all others by coordinate 1; layer `first` copies it to 0, which the head reads."""
    folder = tiny_copy("roberta", head=True)
    example = Example("q", "Who?", "a b c d e f g", (Answer("d", 6),), False, 0, 0, "")
    encoder = load_encoder(folder, device=CPU)
    windows = windowed(encoder, [example])
    place = int(np.flatnonzero(windows.offsets[:, 1] == 7)[0])
    model = AutoModelForQuestionAnswering.from_pretrained(folder)
    planted(model, int(windows.input_ids[place]), first)
    model.save_pretrained(folder)
    write_manifest(folder, source="planted")
    encoder = load_encoder(folder, device=CPU)
    answers = dict(answer(encoder, [example], windows, Probes.empty(encoder.layers, encoder.hidden), {"it": SLICE}))
    scores = score_questions([example], {"run": answers["it"]})
    assert [reading.kind for reading in scores.readings] == ["lens"] * 4 + ["head"]
    assert scores.forced_f1[:, 0].tolist() == [float(layer >= first) for layer in (0, 1, 2, 3, 3)]


@pytest.fixture
def planted() -> Callable[[nn.Module, int, int], None]:
    @torch.no_grad()
    def plant(model: Any, token: int, first: int) -> None:
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if name.endswith("LayerNorm.weight") else 0.0)
        model.roberta.embeddings.word_embeddings.weight[token, 1] = 1
        layer = model.roberta.encoder.layer[first - 1]
        layer.intermediate.dense.weight[0, 1] = 1
        layer.output.dense.weight[0, 0] = 1
        model.qa_outputs.weight[:, 0] = 1

    return plant


def test_a_head_that_reads_more_has_no_lens(
    tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A head that adds the embedding output, or does so if it is there; states that are scaled on the way."""
    caplog.set_level(logging.INFO)
    folder = tiny_model("bert", head=True)
    model = load_encoder(folder, device=CPU).model
    kind, base = type(model), type(model.base_model)
    plain = base.forward

    def skips(self: Any, *given: Any, **options: Any) -> Any:
        output = self.bert(*given, **options)
        mixed = output[0] + output.hidden_states[0]
        return SimpleNamespace(logits=self.qa_outputs(mixed), hidden_states=output.hidden_states)

    def skips_if_there(self: Any, *given: Any, **options: Any) -> Any:
        output = self.bert(*given, **options)
        mixed = output[0] + output.hidden_states[0] if output.hidden_states else output[0]
        return SimpleNamespace(logits=self.qa_outputs(mixed), hidden_states=output.hidden_states)

    def scales_layers(self: Any, *given: Any, **options: Any) -> Any:
        output = plain(self, *given, **options)
        output["hidden_states"] = (*(2 * states for states in output.hidden_states[:-1]), output.hidden_states[-1])
        return output

    def scales(self: Any, *given: Any, **options: Any) -> Any:
        output = plain(self, *given, **options)
        output["last_hidden_state"] = 2 * output["last_hidden_state"]
        return output

    for changed, forward in ((kind, skips), (kind, skips_if_there), (base, scales), (base, scales_layers)):
        with monkeypatch.context() as patch:
            patch.setattr(changed, "forward", forward)
            encoder = load_encoder(folder, device=CPU)
            assert encoder.lens is None
            assert encoder.heads == 1
            windows = windowed(encoder)
            chunk = encode(encoder, windows, np.arange(len(windows)))
            assert chunk.head_logits.shape == (1, int(windows.lengths.sum()), 2)
            probes = Probes.empty(encoder.layers, encoder.hidden)
            answers = dict(answer(encoder, EXAMPLES, windows, probes, {"it": SLICE}))["it"]
            assert [reading.kind for reading in answers.readings] == ["head", "gold"]
    says = [record.message for record in caplog.records if "at the last layer alone" in record.message]
    assert len(says) == 4
