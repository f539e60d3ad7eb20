"""Fine-tuning of tiny models: it learns, it repeats itself to the bit, and it goes on where it was stopped."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from transformers import AutoModelForQuestionAnswering, DataCollatorWithPadding, Trainer

from stages.qa.data.squad import Example
from stages.qa.data.windows import IGNORED, Windows, make_windows
from stages.qa.encoding.encoder import encode, load_encoder
from stages.qa.errors import InputError, IntegrityError, NumericsError
from stages.qa.finetuning import training as finetuning
from stages.qa.finetuning.resuming import fingerprint
from stages.qa.finetuning.training import finetune
from stages.qa.models.families import uses_token_types
from stages.qa.models.manifest import checksum, verify_snapshot, write_manifest
from stages.qa.sections import Finetuning
from tests.conftest import CPU, TinyModel

BATCH, QUESTIONS = 4, 18


@pytest.fixture(scope="module")
def windows(tiny_model: TinyModel, sample: list[Example]) -> Windows:
    """18 windows of tiny BERT's tokens: 5 steps of 4 an epoch."""
    encoder = load_encoder(tiny_model("bert"), device=CPU)
    answerable = [example for example in sample if not example.is_impossible][: QUESTIONS // 2]
    impossible = [example for example in sample if example.is_impossible][: QUESTIONS - len(answerable)]
    windows = make_windows(
        [*answerable, *impossible], encoder.tokenizer, max_seq_length=384, doc_stride=128, max_query_length=64
    )
    assert len(windows) == QUESTIONS
    return windows


def settings(**changes: Any) -> Finetuning:
    values: dict[str, Any] = {
        "base": "bert",
        "learning_rate": 1e-3,
        "num_train_epochs": 2,
        "train_batch_size": BATCH,
        "gradient_accumulation_steps": 1,
        "warmup": 0.0,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "dropout": None,
        "mixed_precision": "no",
        "save_steps": 1000,
        "seed": 7,
    }
    return Finetuning(**values | changes)


def sums(folder: Path) -> dict[str, str]:
    return {path.name: checksum(path) for path in folder.iterdir()}


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in json.loads((folder / "loss.json").read_text())]


@pytest.fixture
def train(tmp_path: Path, tiny_model: TinyModel, windows: Windows) -> Callable[..., Path]:
    """train(NAME, **changes of settings) -> the folder of the fine-tuned model; its checkpoints are in NAME-work."""

    def run(name: str, base: Path | None = None, on: Windows = windows, **changes: Any) -> Path:
        out, work = tmp_path / name, tmp_path / f"{name}-work"
        base = base or tiny_model("bert")
        finetune(base, on, out, settings=settings(**changes), checkpoints=work, device=CPU)
        return out

    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_model: TinyModel, windows: Windows) -> dict[str, str]:
    """The sums of the files of an uninterrupted training."""
    out, work = tmp_path_factory.mktemp("whole") / "out", tmp_path_factory.mktemp("work")
    finetune(tiny_model("bert"), windows, out, settings=settings(), checkpoints=work, device=CPU)
    return sums(out)


def test_learns_and_leaves_a_checkpoint_with_a_head(train: Callable[..., Path], windows: Windows) -> None:
    out = train("out", num_train_epochs=12, learning_rate=3e-3, save_steps=50)
    curve = losses(out)
    assert len(curve) == 12 * 5
    assert sum(curve[-5:]) < 0.5 * sum(curve[:5])
    verify_snapshot(out)
    names = set(sums(out))
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "loss.json"} <= names
    assert not [name for name in names if name.startswith(("checkpoint", "training_args", "optimizer"))]
    encoder = load_encoder(out, device=CPU)
    assert encoder.head
    assert {"qa_outputs.weight", "qa_outputs.bias"} <= set(load_file(out / "model.safetensors"))
    chunk = encode(encoder, windows, np.arange(len(windows)))
    found = [
        chunk.head_logits[-1, first:last].argmax(0).tolist() == windows.targets[row].tolist()
        for row, (first, last) in enumerate(zip(chunk.starts[:-1], chunk.starts[1:], strict=True))
    ]
    assert np.mean(found) > 0.6  # its own training questions
    assert not list(out.with_name("out-work").iterdir())


@pytest.mark.parametrize("family", ["bert", "roberta", "albert"])
def test_a_batch_is_the_tokenizers_own(family: str, tiny_model: TinyModel, sample: list[Example]) -> None:
    encoder = load_encoder(tiny_model(family), device=CPU)
    windows = make_windows(sample[:40:5], encoder.tokenizer, max_seq_length=384, doc_stride=128, max_query_length=64)
    windows.targets[1] = IGNORED
    types = uses_token_types(encoder.model.config)
    batch = finetuning._batch(windows, np.arange(len(windows)), encoder.model.config)
    lists = []
    for row in range(len(windows)):
        tokens = slice(windows.starts[row], windows.starts[row + 1])
        first, last = windows.targets[row].tolist() if row != 1 else (10**6, 10**6)
        feature = {"input_ids": windows.input_ids[tokens].tolist(), "start_positions": first, "end_positions": last}
        lists.append(feature | ({"token_type_ids": windows.token_type_ids[tokens].tolist()} if types else {}))
    expected = DataCollatorWithPadding(encoder.tokenizer)(lists)
    assert len(set(windows.lengths.tolist())) > 1
    assert batch.keys() == expected.keys()
    for name, tensor in batch.items():
        assert tensor.dtype == expected[name].dtype == torch.int64
        assert torch.equal(tensor, expected[name]), name


def test_loss_curve_is_that_of_a_training_loop_written_out(
    train: Callable[..., Path], tiny_copy: TinyModel, windows: Windows
) -> None:
    """Against plain torch: AdamW, clipping at 1, linear decay; with the Trainer's own order of the windows."""
    base = tiny_copy("bert", head=True)
    config = json.loads((base / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (base / "config.json").write_text(json.dumps(config))
    write_manifest(base, source="test")
    seen: list[int] = []
    plain = finetuning._batch

    def watched(windows: Windows, rows: np.ndarray, *args: Any) -> Any:
        seen.extend(rows.tolist())
        return plain(windows, rows, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetuning, "_batch", watched)
        out = train("out", base=base)
    assert sorted(seen[: len(windows)]) == list(range(len(windows)))
    size = -(-len(windows) // BATCH) * BATCH
    orders = [seen[:size], seen[size:]]
    assert orders[0] != orders[1]
    for order in orders:  # the last step is filled up from the start
        assert order[len(windows) :] == order[: size - len(windows)] != []
    batches = [order[i : i + BATCH] for order in orders for i in range(0, len(order), BATCH)]
    model = AutoModelForQuestionAnswering.from_pretrained(base).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    for step, (rows, loss) in enumerate(zip(batches, losses(out), strict=True)):
        width = max(len(plain_ids(windows, row)) for row in rows)
        ids, types, mask = (torch.zeros(len(rows), width, dtype=torch.long) for _ in range(3))
        for place, row in enumerate(rows):
            tokens = slice(windows.starts[row], windows.starts[row + 1])
            ids[place, : windows.lengths[row]] = torch.from_numpy(windows.input_ids[tokens])
            types[place, : windows.lengths[row]] = torch.from_numpy(windows.token_type_ids[tokens])
            mask[place, : windows.lengths[row]] = 1
        output = model(input_ids=ids, token_type_ids=types, attention_mask=mask)
        targets = torch.from_numpy(windows.targets[rows])
        sides = zip((output.start_logits, output.end_logits), targets.T, strict=True)
        expected = (
            sum(cross_entropy(logits, target) for logits, target in sides) / 2
        )  # padding included, as run_squad's
        assert expected.item() == pytest.approx(loss, rel=1e-4)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (1 - step / len(batches))
        optimizer.zero_grad()
        expected.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    trained = load_file(out / "model.safetensors")
    start = load_file(base / "model.safetensors")
    moved = sum(float((trained[name] - start[name]).square().sum()) for name in start)
    apart = sum(float((trained[name] - parameter).square().sum()) for name, parameter in model.state_dict().items())
    assert apart < 1e-3 * moved  # AdamW makes steps of what is rounding in gradients that should be 0


def plain_ids(windows: Windows, row: int) -> list[int]:
    return windows.input_ids[windows.starts[row] : windows.starts[row + 1]].tolist()


def test_same_seed_same_bytes_wherever_the_folders_are(
    train: Callable[..., Path], whole: dict[str, str], tmp_path: Path
) -> None:
    torch.rand(3)
    first = train("elsewhere/first", save_steps=3)
    assert sums(first) == whole
    other = train("other", seed=8)
    assert sums(other)["model.safetensors"] != sums(first)["model.safetensors"]
    for path in first.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes(), path
        assert b"/tmp" not in path.read_bytes(), path


class Killed(BaseException):
    """As abrupt as a signal, and not caught by `except Exception`."""


def kill(patch: pytest.MonkeyPatch, method: str, after: int) -> None:
    """The Trainer dies after the given call of one of its methods."""
    plain, calls = getattr(Trainer, method), []

    def dying(self: Trainer, *args: Any, **kwargs: Any) -> Any:
        calls.append(plain(self, *args, **kwargs))
        if len(calls) == after:
            raise Killed
        return calls[-1]

    patch.setattr(Trainer, method, dying)


def stop(train: Callable[..., Path], method: str, after: int, **changes: Any) -> None:
    """Start the training NAME stopped, which dies after the given call of the Trainer's `method`."""
    with pytest.MonkeyPatch.context() as patch:
        kill(patch, method, after)
        with pytest.raises(Killed):
            train("stopped", **changes)


@pytest.mark.parametrize(("save_steps", "steps"), [(2, 3), (2, 5), (5, 7)])
def test_stopped_twice_it_ends_up_with_the_same_bytes(
    train: Callable[..., Path], whole: dict[str, str], tmp_path: Path, save_steps: int, steps: int
) -> None:
    """Stops in the first epoch, in the second, and right between them."""
    for calls in steps, 2:
        stop(train, "training_step", calls, save_steps=save_steps)
    assert not (tmp_path / "stopped").exists()
    assert sums(train("stopped", save_steps=save_steps)) == whole
    assert not list((tmp_path / "stopped-work").iterdir())


def test_loss_log_is_whole_after_a_stop_between_its_points(
    train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetuning, "LOG_POINTS", 3)  # a point every 3 steps
    uninterrupted = sums(train("uninterrupted"))
    stop(train, "training_step", 9, save_steps=2)
    out = train("stopped", save_steps=2)
    assert len(losses(out)) == 3
    assert sums(out) == uninterrupted


def test_a_moment_of_a_training_is_the_training_up_to_there(train: Callable[..., Path], tmp_path: Path) -> None:
    stop(train, "training_step", 7, warmup=0.5, save_steps=4)
    [checkpoint] = tmp_path.glob("stopped-work/*/checkpoint-4")
    moment = train("moment", warmup=0.5, save_steps=4, stop_after=0.4)
    assert checksum(moment / "model.safetensors") == checksum(checkpoint / "model.safetensors")


def test_checkpoints_depend_on_weights_windows_and_settings(tiny_model: TinyModel, windows: Windows) -> None:
    manifest = verify_snapshot(tiny_model("bert"))
    types = replace(windows, token_type_ids=np.zeros_like(windows.token_type_ids))
    targets = replace(windows, targets=windows.targets[::-1].copy())
    names = [
        fingerprint(manifest, windows, settings()),
        fingerprint(verify_snapshot(tiny_model("bert", head=True)), windows, settings()),
        fingerprint(manifest, types, settings()),
        fingerprint(manifest, targets, settings()),
        fingerprint(manifest, windows, settings(seed=8)),
        fingerprint(manifest, windows, settings(learning_rate=2e-3)),
    ]
    assert len(set(names)) == len(names)
    assert fingerprint(manifest, replace(windows), settings()) == names[0]


def test_gradient_accumulation_equals_the_large_batch(train: Callable[..., Path], tiny_copy: TinyModel) -> None:
    base = tiny_copy("bert", head=True)
    config = json.loads((base / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (base / "config.json").write_text(json.dumps(config))
    write_manifest(base, source="test")
    large = train("large", base=base, train_batch_size=6, learning_rate=1e-4)
    small = train("small", base=base, train_batch_size=2, gradient_accumulation_steps=3, learning_rate=1e-4)
    assert len(losses(large)) == len(losses(small)) == 2 * 3
    start, first, second = (load_file(folder / "model.safetensors") for folder in (base, large, small))
    moved = torch.cat([(first[name] - start[name]).flatten() for name in first])
    apart = torch.cat([(first[name] - second[name]).flatten() for name in first])
    assert moved.norm() > 1e-3
    # The windows of a batch differ (grouping by length depends on its size), so only the size of the change is alike.
    assert apart.norm() < moved.norm()
    assert math.isclose(sum(losses(large)), sum(losses(small)), rel_tol=0.05)


def test_attention_in_bfloat16_on_a_cpu_is_eager(train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere it is transformers' choice; the losses agree to what bfloat16 rounds."""
    seen: list[str] = []
    plain = Trainer.train

    def watched(self: Trainer, *args: Any, **kwargs: Any) -> Any:
        seen.append(self.model.config._attn_implementation)
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(Trainer, "train", watched)
    outs = [train(name, mixed_precision=name, num_train_epochs=1, dropout=0.0) for name in ("no", "bf16")]
    assert seen == ["sdpa", "eager"]
    np.testing.assert_allclose(losses(outs[0]), losses(outs[1]), rtol=0.02)
    assert sums(outs[0])["config.json"] == sums(outs[1])["config.json"]


def test_steps_of_an_epoch_with_a_remainder(train: Callable[..., Path]) -> None:
    """18 windows in batches of 4, two to a step: 5 batches, 3 steps."""
    assert len(losses(train("out", gradient_accumulation_steps=2, num_train_epochs=1))) == 3


def test_a_loss_that_is_no_number_stops_it(train: Callable[..., Path], tiny_copy: TinyModel, tmp_path: Path) -> None:
    base = tiny_copy("bert")
    tensors = load_file(base / "model.safetensors")
    tensors["encoder.layer.1.output.LayerNorm.bias"].fill_(float("nan"))
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    write_manifest(base, source="test")
    with pytest.raises(NumericsError, match="step 1: the loss is nan"):
        train("out", base=base)
    assert not (tmp_path / "out").exists()


def test_targets_that_are_all_ignored_stop_it(train: Callable[..., Path], windows: Windows) -> None:
    ignored = replace(windows, targets=np.full_like(windows.targets, IGNORED))
    with pytest.raises(NumericsError, match="the loss is nan"):
        train("out", on=ignored)


def test_weights_that_are_no_numbers_are_not_published(train: Callable[..., Path], tmp_path: Path) -> None:
    """The loss before the last step is still a number."""
    with pytest.MonkeyPatch.context() as patch:
        plain, calls = torch.optim.AdamW.step, []

        def step(self: Any, *args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            result = plain(self, *args, **kwargs)
            if len(calls) == 10:
                with torch.no_grad():
                    self.param_groups[0]["params"][0].fill_(float("inf"))
            return result

        patch.setattr(torch.optim.AdamW, "step", step)
        with pytest.raises(NumericsError, match="weights"):
            train("out")
    assert not (tmp_path / "out").exists()


def test_ignored_windows_do_not_count(train: Callable[..., Path], windows: Windows) -> None:
    targets = windows.targets.copy()
    targets[::3] = IGNORED
    assert all(math.isfinite(loss) for loss in losses(train("out", on=replace(windows, targets=targets))))


@pytest.mark.parametrize(
    "family", ["albert", "roberta", "modernbert", "deberta-v2", "distilbert", "mpnet", "electra", "xlm-roberta"]
)
def test_every_family(family: str, tiny_model: TinyModel, sample: list[Example], train: Callable[..., Path]) -> None:
    base = tiny_model(family)
    tokenizer = load_encoder(base, device=CPU).tokenizer
    windows = make_windows(sample[:6], tokenizer, max_seq_length=256, doc_stride=128, max_query_length=64)
    out = train(family, base=base, on=windows, num_train_epochs=1, dropout=0.0)
    encoder = load_encoder(out, device=CPU)
    assert encoder.head
    assert json.loads((out / "manifest.json").read_text())["source"] == f"finetune:{family}"
    assert len(encode(encoder, windows, np.arange(len(windows))).head_logits) == encoder.heads
    before, after = load_file(base / "model.safetensors"), load_file(out / "model.safetensors")
    prefix = encoder.model.base_model_prefix
    moved = [name for name in before if not torch.equal(before[name], after.get(f"{prefix}.{name}", before[name]))]
    assert len(moved) > 10


def test_token_types_are_learned_from(tiny_model: TinyModel, train: Callable[..., Path], windows: Windows) -> None:
    bare = replace(windows, token_type_ids=np.zeros_like(windows.token_type_ids))
    name = "bert.embeddings.token_type_embeddings.weight"
    before = load_file(tiny_model("bert") / "model.safetensors")[name.removeprefix("bert.")]
    with_types, without = (
        load_file(train(n, on=w) / "model.safetensors")[name] for n, w in [("a", windows), ("b", bare)]
    )
    assert not torch.equal(with_types[1], before[1])
    assert torch.equal(without[1], before[1])


def test_fine_tuning_of_a_fine_tuned_model_keeps_its_head(train: Callable[..., Path]) -> None:
    first = train("first")
    second = train("second", base=first, learning_rate=1e-9)
    head = "qa_outputs.weight"
    before, after = (load_file(folder / "model.safetensors")[head] for folder in (first, second))
    torch.testing.assert_close(before, after, rtol=0, atol=1e-6)
    assert load_encoder(second, device=CPU).head
    assert json.loads((second / "manifest.json").read_text())["source"] == "finetune:first"


def test_another_seed_draws_another_head(train: Callable[..., Path]) -> None:
    outs = [train(str(seed), seed=seed, learning_rate=1e-9, num_train_epochs=1) for seed in (1, 2)]
    first, second = (load_file(out / "model.safetensors")["qa_outputs.weight"] for out in outs)
    assert not torch.allclose(first, second, atol=1e-3)


@pytest.mark.parametrize(
    ("family", "key", "share"),
    [
        ("bert", "attention_probs_dropout_prob", None),
        ("bert", "attention_probs_dropout_prob", 0.0),
        ("distilbert", "attention_dropout", 0.25),
    ],
)
def test_dropout(
    family: str, key: str, share: float | None, tiny_model: TinyModel, train: Callable[..., Path], windows: Windows
) -> None:
    out = train("out", base=tiny_model(family), dropout=share, num_train_epochs=1)
    assert json.loads((out / "config.json").read_text())[key] == (0.1 if share is None else share)


def test_refusals(train: Callable[..., Path], tiny_copy: TinyModel, sample: list[Example], tmp_path: Path) -> None:
    base = tiny_copy("bert")
    tokenizer = load_encoder(base, device=CPU).tokenizer
    long = replace(
        sample[0], context=" ".join(example.context for example in sample[:40:4]), answers=(), is_impossible=True
    )
    windows = make_windows([long], tokenizer, max_seq_length=600, doc_stride=128, max_query_length=64)
    with pytest.raises(InputError, match=r"windows\.max_seq_length"):
        train("out", base=base, on=windows)
    tensors = load_file(base / "model.safetensors")
    tensors.pop("encoder.layer.1.output.dense.weight")
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    write_manifest(base, source="test")
    with pytest.raises(IntegrityError, match=r"encoder\.layer\.1\.output\.dense\.weight"):
        train("out", base=base)
    assert not (tmp_path / "out").exists()


def test_weights_in_shares_are_refused(train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(InputError, match="ACCELERATE_USE_FSDP: fine-tuning keeps all weights in each process"):
        train("out")
