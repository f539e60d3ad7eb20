"""`make bench-gpu`: the frozen forward pass and a fine-tuning step on a GPU, as shares of its measured matmul rate.

Shapes of MiniLM, DistilBERT, BERT-base, ALBERT-base and ALBERT-xxlarge with random weights: the configuration alone is
used, no hub, and no accuracy is claimed. Lengths are those of real windows (SQuAD or the sample); token ids are random.
Operations are counted on real tokens only; padding and the copies of hidden states cost time and count for nothing. The
forward pass is the pipeline's own `encode`; fine-tuning is a bare loop in bfloat16 autocast over batches of like length
with fused AdamW, as the pipeline's Trainer is set up, and counts three times the operations of a forward pass.
On a machine without a GPU it says so and ends with 0.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models
from transformers import (
    AlbertConfig,
    AutoModel,
    AutoModelForQuestionAnswering,
    BertConfig,
    DistilBertConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from benchmarks.machine import forward_flops, matmul_peak
from benchmarks.texts import read_texts
from benchmarks.timing import timed
from stages.qa.data.windows import Windows
from stages.qa.encoding.encoder import Encoder, encode, pieces
from stages.qa.models.checkpoints import pick_device

TRAIN_WINDOWS = 132_000  # of SQuAD 2.0 train
ROUNDS = 3
STEP = 32  # windows of a fine-tuning step
SECONDS = 2.0  # of one timing, about
CHUNK_GIB = 8.0  # of hidden states at once
NORMAL: dict[str, Any] = {"max_position_embeddings": 512}
TANH: dict[str, Any] = {"hidden_act": "gelu_pytorch_tanh"}  # what load_config makes of ALBERT's gelu_new
SHAPES: dict[str, PretrainedConfig] = {
    "MiniLM-L6": BertConfig(
        **NORMAL, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    ),
    "DistilBERT": DistilBertConfig(),
    "BERT-base": BertConfig(),
    "ALBERT-base": AlbertConfig(
        **NORMAL, **TANH, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072
    ),
    "ALBERT-xxlarge": AlbertConfig(
        **NORMAL, **TANH, hidden_size=4096, num_hidden_layers=12, num_attention_heads=64, intermediate_size=16384
    ),
}


def main() -> None:
    """Print the table, or that there is nothing to measure."""
    if not torch.cuda.is_available():
        print("no GPU here: not measured")
        return
    pick_device()  # and what the pipeline sets with it
    lengths = squad_lengths()
    peak = matmul_peak(torch.bfloat16, device="cuda", size=8192, rounds=20)
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}; bfloat16 matmul {peak / 1e12:.0f} TFLOP/s measured"
    )
    print(f"windows of {lengths.mean():.0f} tokens on average, longest {lengths.max()}\n")
    print(
        "| shape | tokens/s | share of the matmul rate | SQuAD train forward, s (floor) | peak memory, GB | "
        "fine-tuning tokens/s | share | 3 epochs, s (floor) |\n|---|---:|---:|---:|---:|---:|---:|---:|"
    )
    for name, config in SHAPES.items():
        cells = forward_cells(name, config, lengths, peak)
        torch.cuda.empty_cache()
        print("| " + " | ".join([name, *cells, *tuning_cells(config, lengths, peak)]) + " |", flush=True)
        torch.cuda.empty_cache()


def squad_lengths() -> np.ndarray:
    """Lengths of real windows by words: close enough to wordpieces for the spread, scaled to SQuAD's mean of 173."""
    words = np.array([len(f"{e.question} {e.context}".split()) for e in read_texts(None).train])
    return np.minimum(np.round(words * 173 / words.mean()), 384).astype(np.int64)


def forward_cells(name: str, config: PretrainedConfig, lengths: np.ndarray, peak: float) -> list[str]:
    """Tokens a second, share of the peak, seconds for SQuAD train, peak memory, of the frozen forward pass."""
    torch.manual_seed(0)
    with torch.device("cuda"):  # drawn there: a CPU takes minutes for the weights of ALBERT-xxlarge
        model = AutoModel.from_config(config, dtype=torch.bfloat16).eval()
    encoder = encoder_of(model, name)
    rate = peak / (forward_flops(config, lengths.tolist()) / lengths.sum())  # tokens/s at the peak
    count = int(np.clip(SECONDS * rate * 0.4 / lengths.mean(), 64, 20_000))
    # other windows in each round: what a library plans anew for each shape counts
    generator = np.random.default_rng(0)
    drawn = [random_windows(generator.choice(lengths, count), config.vocab_size) for _ in range(ROUNDS + 1)]

    def forward(windows: Windows) -> None:
        for part in pieces(encoder, windows, np.arange(count), gib=CHUNK_GIB):
            encode(encoder, windows, part)
        torch.cuda.synchronize()

    forward(drawn.pop())
    torch.cuda.reset_peak_memory_stats()
    spent = [timed(partial(forward, windows))[0].wall for windows in drawn]
    memory = torch.cuda.max_memory_allocated() / 1e9
    best, windows = min(zip(spent, drawn, strict=True), key=lambda pair: pair[0] / pair[1].starts[-1])
    flops, scale = forward_flops(config, windows.lengths.tolist()), TRAIN_WINDOWS / count
    return [
        f"{windows.starts[-1] / best:,.0f}",
        f"{flops / best / peak:.1%}",
        f"{best * scale:.1f} ({flops * scale / peak:.1f})",
        f"{memory:.1f}",
    ]


def tuning_cells(config: PretrainedConfig, lengths: np.ndarray, peak: float) -> list[str]:
    """Tokens a second, share of the peak, and seconds of three epochs, of fine-tuning."""
    with torch.device("cuda"):
        model = AutoModelForQuestionAnswering.from_config(config, dtype=torch.float32).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    drawn = np.sort(np.random.default_rng(1).choice(lengths, 50 * STEP))[::-1]  # batches of like length, as grouped
    batches = [drawn[first : first + STEP].copy() for first in range(0, len(drawn), 5 * STEP)]

    def steps() -> None:
        for batch in batches:
            width = int(batch[0])
            real = torch.arange(width)[None] < torch.from_numpy(batch)[:, None]
            ids = torch.randint(1000, config.vocab_size, real.shape).to("cuda")
            ends = torch.from_numpy(batch).to("cuda") - 1
            with torch.autocast("cuda", dtype=torch.bfloat16):
                loss = model(
                    input_ids=ids, attention_mask=real.long().to("cuda"), start_positions=ends, end_positions=ends
                ).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        torch.cuda.synchronize()

    try:
        steps()
        best = min(timed(steps)[0].wall for _ in range(ROUNDS))
    except torch.cuda.OutOfMemoryError:
        return ["out of memory", "-", "-"]
    used = np.concatenate(batches)
    flops = 3 * forward_flops(config, used.tolist())
    scale = 3 * TRAIN_WINDOWS / len(used)
    return [
        f"{used.sum() / best:,.0f}",
        f"{flops / best / peak:.1%}",
        f"{best * scale:.0f} ({flops * scale / peak:.0f})",
    ]


def encoder_of(model: PreTrainedModel, name: str) -> Encoder:
    """The pipeline's encoder around `model`; its tokenizer knows padding and nothing else."""
    raw = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]")
    config = model.config
    return Encoder(
        model=model,
        device=model.device,
        tokenizer=tokenizer,
        head=None,
        layers=config.num_hidden_layers + 1,
        hidden=config.hidden_size,
        name=name,
    )


def random_windows(lengths: np.ndarray, vocabulary: int) -> Windows:
    """Windows of these lengths with random tokens: a question of 12 tokens, then context."""
    starts = np.concatenate([[0], np.cumsum(lengths)])
    generator = np.random.default_rng(0)
    types = np.ones(starts[-1], dtype=np.uint8)
    for start in starts[:-1]:
        types[start : start + 14] = 0
    return Windows(
        input_ids=generator.integers(1000, vocabulary, starts[-1], dtype=np.int32),
        token_type_ids=types,
        offsets=np.zeros((starts[-1], 2), dtype=np.int32),
        starts=starts.astype(np.int64),
        examples=np.arange(len(lengths), dtype=np.int32),
        articles=np.zeros(len(lengths), dtype=np.int32),
        context=np.stack([np.full(len(lengths), 14), lengths - 1], axis=-1).astype(np.int32),
        targets=np.zeros((len(lengths), 2), dtype=np.int64),
    )


if __name__ == "__main__":
    main()
