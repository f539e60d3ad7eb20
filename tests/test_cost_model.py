"""The cost model counts what torch counts, and its schedule is the one worked by hand."""

import copy
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel

from benchmarks import cost_model
from benchmarks.cost_model import (
    DEV,
    FORWARD,
    LAUNCH,
    MATMUL,
    NETWORK,
    NVLINK,
    TRAIN,
    UPDATE,
    Cost,
    disk_table,
    forward_flops,
    frozen,
    measured_table,
    operations_table,
    state_bytes,
    time_table,
    tuning,
)
from benchmarks.fanout import critical_path, graph_of, schedule, seconds_of
from benchmarks.shapes import MINILM, SHAPES, operations, parameters
from stages.qa.config import load_params

ROOT = Path(__file__).parents[1]

SMALL = {"hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 6, "vocab_size": 200}


@pytest.mark.parametrize(
    "name", ["ALBERT-base", "BERT-base", "DistilBERT", "RoBERTa-large", "ModernBERT-large", "Mistral-7B"]
)
@pytest.mark.parametrize("tokens", [40, 190])
def test_operations_are_those_that_torch_counts(name: str, tokens: int) -> None:
    config = copy.deepcopy(SHAPES[name])
    for key, value in SMALL.items():
        setattr(config, {"hidden_size": "dim"}.get(key, key) if name == "DistilBERT" else key, value)
    config.num_key_value_heads = 2 if name == "Mistral-7B" else None
    setattr(config, "hidden_dim" if name == "DistilBERT" else "intermediate_size", 160)
    config.head_dim, config.pad_token_id = 16, 0
    model = AutoModel.from_config(config, attn_implementation="eager").eval()
    if hasattr(model, "pooler"):
        model.pooler = None
        model.pooler_activation = None
    ids = torch.randint(1, 200, (1, tokens))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(input_ids=ids)
    linear, attention = operations(config)
    assert counter.get_total_flops() == tokens * linear + tokens**2 * attention


@pytest.mark.parametrize(
    ("name", "millions"),
    [("ALBERT-base", 12), ("ALBERT-large", 18), ("ALBERT-xlarge", 60), ("ALBERT-xxlarge", 235), ("BERT-base", 110),
     ("BERT-large", 340), ("DistilBERT", 66), ("DistilRoBERTa", 82), ("RoBERTa-large", 355), ("ModernBERT-large", 395),
     ("Mistral-7B", 7110)],
)  # fmt: skip
def test_parameters_are_the_published_ones(name: str, millions: float) -> None:
    """Papers and cards round; ALBERT's and BERT's own numbers deviate by some percent from their checkpoints."""
    assert parameters(SHAPES[name]) / 1e6 == pytest.approx(millions, rel=0.06)


def test_the_costs_are_the_sums_of_the_notes() -> None:
    """By hand, from shapes: BERT-base 4.05 PFLOP a pass over SQuAD train, MiniLM 0.53, 456 GB of states."""
    assert forward_flops(SHAPES["BERT-base"]) / 1e15 == pytest.approx(4.05, rel=0.01)
    assert forward_flops(MINILM) / 1e15 == pytest.approx(0.53, rel=0.01)
    assert state_bytes(SHAPES["BERT-base"]) / 1e9 == pytest.approx(456, rel=0.01)
    one = frozen(SHAPES["BERT-base"], 1, passes=3)
    assert one.compute == pytest.approx(3 * 4.055e15 / (MATMUL * FORWARD), rel=0.01)
    assert frozen(SHAPES["BERT-base"], 8, passes=3).seconds == pytest.approx(one.seconds / 8)
    assert frozen(SHAPES["BERT-base"], 1, DEV).compute == pytest.approx(one.compute / 3 / 18.8, rel=0.02)


def test_the_tables_of_the_documentation_are_the_models() -> None:
    text = (ROOT / "docs/scaling.md").read_text()
    for table in operations_table(), time_table(), disk_table():
        assert table in text
        assert table.count("\n") == len(SHAPES) + 1


def test_a_measured_table_compares_every_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of MiniLM's shape alone, which predicts itself; the shapes differ in nothing but their size."""
    tiny = copy.deepcopy(MINILM)
    tiny.num_hidden_layers, tiny.hidden_size, tiny.vocab_size = 1, 96, 2000
    names = "DistilBERT", "BERT-base", "ALBERT-base"
    monkeypatch.setattr(cost_model, "SHAPES", dict.fromkeys(names, tiny))
    monkeypatch.setattr(cost_model, "MINILM", tiny)
    monkeypatch.setattr(cost_model, "matmul_peak", lambda dtype: 1e12)
    lines = [line.split(" | ") for line in measured_table(4).splitlines()[2:]]
    assert [line[0] for line in lines] == ["| MiniLM-L6", *(f"| {name}" for name in names)]
    assert lines[0][-1] == "1.00 |"
    assert len({line[1] for line in lines}) == 1


def test_updates_of_probes_follow_one_another() -> None:
    """However many GPUs share the forward passes; those of ALBERT-xxlarge take longer still."""
    for gpus in 8, 64:
        base = frozen(SHAPES["BERT-base"], gpus, updates=49_500)
        assert base.launch == pytest.approx(49_500 * UPDATE + 132_000 * 173 / 32_768 / gpus * 12 * LAUNCH)
        assert base.bottleneck == "launch"
        assert base.seconds == base.launch
    assert frozen(SHAPES["ALBERT-xxlarge"], 1, passes=3, updates=49_500).bottleneck == "compute"


def test_small_batches_wait_for_launches_and_many_gpus_for_sums() -> None:
    one, eight, many = (tuning(SHAPES["BERT-base"], 110_000_000, n, windows=8) for n in (1, 8, 64))
    steps = 3 * TRAIN[0] / 8
    assert one.launch == pytest.approx(steps * 3 * 12 * LAUNCH)
    assert one.all_reduce == 0
    assert eight.all_reduce == pytest.approx(steps / 8 * 2 * 7 / 8 * 440e6 / NVLINK)
    assert many.all_reduce == pytest.approx(steps / 64 * 2 * 63 / 64 * 440e6 / NETWORK)
    assert [cost.bottleneck for cost in (one, eight, many)] == ["launch", "launch", "all-reduce"]
    assert Cost(compute=3.0, launch=2.0, all_reduce=1.0).seconds == 4.0


def test_a_schedule_worked_by_hand() -> None:
    """Two models, each fetched (1), trained (4 and 2), read (1), then one report (1).

    One worker: 1+4+1 + 1+2+1 + 1 = 11. Two: a-get 0-1, b-get 0-1, a-train 1-5, b-train 1-3, b-read 3-4, a-read 5-6,
    report 6-7, which is the longest chain, so that more workers bring nothing.
    """
    needs = {"a-get": [], "a-train": ["a-get"], "a-read": ["a-train"], "report": ["a-read", "b-read"]}
    needs |= {"b-get": [], "b-train": ["b-get"], "b-read": ["b-train"]}
    seconds = {"a-get": 1.0, "a-train": 4.0, "a-read": 1.0, "b-get": 1.0, "b-train": 2.0, "b-read": 1.0, "report": 1.0}
    assert [schedule(needs, seconds, workers) for workers in (1, 2, 3)] == [11.0, 7.0, 7.0]
    assert critical_path(needs, seconds) == ["a-get", "a-train", "a-read", "report"]


def test_the_longest_chain_goes_first() -> None:
    """Three short stages and a long one on two workers: 3 if the long one starts at once, else 4."""
    needs: dict[str, list[str]] = {"a": [], "b": [], "c": [], "z": []}
    assert schedule(needs, {"a": 1.0, "b": 1.0, "c": 1.0, "z": 3.0}, 2) == 3.0


def test_the_graph_of_the_original_study() -> None:
    """As dvc.yaml says: a fine-tuned model needs its base and the data; the report ends every chain."""
    study = ROOT / "studies/paper.yaml"
    needs, params = graph_of(study, ROOT), load_params(study)
    key = "bert-base-uncased-finetuned"
    assert needs[f"finetune@{key}"] == ["dataset@squad-cs224n", "download@bert-base-uncased"]
    assert needs[f"probe_train@{key}"] == ["dataset@squad-cs224n", f"finetune@{key}"]
    assert needs["download@bert-base-uncased"] == []
    seconds = {stage: seconds_of(stage, params) for stage in needs}
    assert min(seconds.values()) > 0
    path = critical_path(needs, seconds)
    assert path[-1] in ("report@paper", "page@paper")
    spans = [schedule(needs, seconds, workers) for workers in (1, 4, 1000)]
    assert spans[0] == pytest.approx(sum(seconds.values()))
    assert spans[2] == pytest.approx(sum(seconds[stage] for stage in path))
    assert spans[0] > spans[1] > spans[2]
