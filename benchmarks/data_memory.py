"""`make bench-data`: peak memory of `dataset`, of what finetune and probe_train do first, of `predict` and `evaluate`.

Made-up data in the proportions of SQuAD 2.0's training set (130,319 questions of 442 articles, 19,035 paragraphs of 735
characters): articles of 43 paragraphs, 7 questions each, in words of the sample. Each figure is the peak resident size
of a fresh process less its size before the work. Windows lie in temporary files, whose pages count only while they are
mapped, and which the kernel may drop at will; so they are made, and read once more, under a hard limit on private
memory too: LIMIT MB above the start, the same for all sizes. Of predict and evaluate, 41 readings under two protocols,
the figure is private memory, sampled: their large arrays lie in such files too. Linux alone.
"""

import hashlib
import json
import random
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import typer

from benchmarks.growth import slope
from benchmarks.layer_memory import make_encoder, resident_mb
from benchmarks.sides import windows_of
from benchmarks.texts import SAMPLE
from benchmarks.timing import timed
from stages.qa.answering.answering import answer
from stages.qa.answering.answers import load_answers, save_answers
from stages.qa.config import Protocol
from stages.qa.data.squad import read_squad, stream_squad
from stages.qa.data.windows import Windows
from stages.qa.encoding.encoder import load_encoder
from stages.qa.probing.readouts import Probes, Readout
from stages.qa.scoring.curves import curve_points
from stages.qa.scoring.question_scores import save_question_scores, score_questions
from stages.qa.sources.shards import join_shards

SQUAD = 130_319  # questions
PARAGRAPHS, QUESTIONS, WORDS = 43, 7, 118
SHARD = 100  # articles
LIMIT = 128  # MB
DEV = 6_078  # questions of the CS224N dev split
READOUTS = 20  # on two layers: with the gold spans, 41 readings
PROTOCOLS = {
    "slice": Protocol(
        optimizer="adamw", answer_text="slice", windows="official", max_answer_tokens=30, null_threshold=0.0
    ),
    "wordpieces": Protocol(
        optimizer="adamw", answer_text="wordpieces", windows="highest", max_answer_tokens=18, null_threshold=0.0
    ),
}
COMMAND = [sys.executable, "-m", "benchmarks.data_memory"]


def articles(count: int) -> Iterator[dict[str, Any]]:
    """So many articles in SQuAD's form, a third of their questions without an answer; contexts differ by a number."""
    draw = random.Random(0)
    sample = json.loads(Path("data/sample/train.json").read_text())["data"]
    words = sorted({word for a in sample for p in a["paragraphs"] for word in p["context"].split()})
    texts = [draw.choices(words, k=WORDS) for _ in range(PARAGRAPHS)]
    for number in range(count):
        paragraphs = []
        for place, text in enumerate(texts):
            context = f"{number:06} {' '.join(text)}"
            qas: list[dict[str, Any]] = []
            for which in range(QUESTIONS):
                before = " ".join([f"{number:06}", *text[: 10 * which]])
                answer = {"text": " ".join(text[10 * which : 10 * which + 3]), "answer_start": len(before) + 1}
                answers = [answer] if which % 3 else []
                qa = {"id": f"{number:06}{place:04}{which:014}", "question": " ".join(text[which : which + 10])}
                qas.append(qa | {"answers": answers, "is_impossible": not answers})
            paragraphs.append({"context": context, "qas": qas})
        yield {"title": f"Article {number}", "paragraphs": paragraphs}


def rows(of: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The same in the hub's layout."""
    for article in of:
        for paragraph in article["paragraphs"]:
            for qa in paragraph["qas"]:
                answers = {key: [answer[key] for answer in qa["answers"]] for key in ("text", "answer_start")}
                columns = {"id": qa["id"], "title": article["title"], "context": paragraph["context"]}
                yield columns | {"question": qa["question"], "answers": answers}


def write(form: str, count: int, folder: Path) -> None:
    """A data set of so many articles: shards of `form`, or one file."""
    if form == "one JSON file":
        with (folder / "0000").open("w") as file:
            file.write('{"version": "v2.0", "data": [')
            for number, article in enumerate(articles(count)):
                file.write(f"{', ' if number else ''}{json.dumps(article)}")
            file.write("]}")
        return
    for number, some in enumerate(parts(count, SHARD)):
        path = folder / f"{number:04}"
        if form == "Parquet shards":
            pq.write_table(pa.Table.from_pylist(list(rows(some))), path)
        else:
            path.write_text(json.dumps({"version": "v2.0", "data": some}))


def parts(count: int, size: int) -> Iterator[list[dict[str, Any]]]:
    everything = articles(count)
    while some := list(islice(everything, size)):
        yield some


def measure(what: str, folder: Path) -> None:
    """Print peak and remaining MB, and seconds, of this process doing WORK[what]."""
    work = WORK[what](folder)
    if what in ("answers", "scores"):
        before = resident_mb("RssAnon")
        with sampled_peak() as peak:
            spent, _ = timed(work)
        print(json.dumps([max(peak) - before, resident_mb("RssAnon") - before, spent.wall]))
        return
    before = resident_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
    spent, result = timed(work)
    print(json.dumps([resident_mb("VmHWM") - before, resident_mb("VmRSS") - before, spent.wall]))
    if isinstance(result, Windows):
        for array in vars(result).values():
            hashlib.sha256(array)


@contextmanager
def sampled_peak() -> Iterator[list[float]]:
    """A list of one number, the most private memory in MB of this process in the block, looked at every 5 ms."""
    peak, done = [resident_mb("RssAnon")], threading.Event()

    def look() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], resident_mb("RssAnon"))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def join(folder: Path) -> Callable[[], object]:
    shards = [(path.name, path) for path in sorted(folder.iterdir())]
    return lambda: join_shards(shards, folder.with_name("out"), purpose="train")


def answers(folder: Path) -> Callable[[], object]:
    """`predict` on the questions of `folder`, with random probes."""
    make_encoder(folder.with_name("model"), 1)
    encoder = load_encoder(folder.with_name("model"), device=torch.device("cpu"))
    readouts = [Readout("adamw", epoch, 1e-3, 0) for epoch in range(1, READOUTS + 1)]
    weights = np.random.default_rng(0).normal(size=(READOUTS, encoder.layers, encoder.hidden, 2))
    probes = Probes(readouts, weights.astype(np.float32))

    def work(path: Path) -> None:
        asked = read_squad(path, purpose="predict")
        for name, given in answer(encoder, asked, windows_of(encoder, asked), probes, PROTOCOLS):
            save_answers(folder.with_name("answers") / name, given)

    work(SAMPLE / "train.json")  # sets up libraries, thread pools and the buffers of a forward pass
    return partial(work, folder / "0000")


def scores(folder: Path) -> Callable[[], object]:
    """What `evaluate` does with such answers, but for the statistics."""
    subprocess.run([*COMMAND, "--work", "answers", "--folder", str(folder)], check=True, stdout=subprocess.DEVNULL)

    def work() -> None:
        asked = read_squad(folder / "0000", purpose="score")
        given = {name: load_answers(folder.with_name("answers") / name) for name in PROTOCOLS}
        curve_points("model", asked, given)
        for name, scored in {name: score_questions(asked, each) for name, each in given.items()}.items():
            save_question_scores(folder.with_name("scores") / name, scored)

    return work


def windows(folder: Path) -> Callable[[], object]:
    make_encoder(folder.with_name("model"), 1)
    encoder = load_encoder(folder.with_name("model"), device=torch.device("cpu"))
    windows_of(encoder, read_squad(SAMPLE / "train.json", purpose="train"))
    limit = int((resident_mb("VmData") + LIMIT) * 1e6)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    return lambda: windows_of(encoder, stream_squad(folder / "0000", purpose="train"))


# The stage `dataset` of shards; what finetune and probe_train do first; predict; evaluate.
WORK = {"join": join, "windows": windows, "answers": answers, "scores": scores}


def in_a_process(what: str, form: str, count: int) -> tuple[float, float, float]:
    """MB at the peak, MB that remain, seconds."""
    with tempfile.TemporaryDirectory() as folder:
        shards = Path(folder, "shards")
        shards.mkdir()
        write(form, count, shards)
        command = [*COMMAND, "--work", what, "--folder", str(shards)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: {' '.join(command)}: {done.stderr.strip().splitlines()[-1]}")
    peak, rest, seconds = json.loads(done.stdout.splitlines()[-1])
    return peak, rest, seconds


def main(
    scale: Annotated[float, typer.Option(help="The largest size, in training (dev) sets of SQuAD 2.0.")] = 10.0,
    work: Annotated[str, typer.Option(help="Internal: what to measure in this process.")] = "",
    folder: Annotated[Path, typer.Option(help="Internal: on what.")] = Path(),
) -> None:
    """Print the table."""
    if work:
        measure(work, folder)
        return
    print(
        "| what | data | questions | peak MB | MB that remain | s | slope of the peak |\n|---|---|---|---|---|---|---:|"
    )
    for what, form, largest in (
        ("join", "Parquet shards", SQUAD),
        ("join", "JSON shards", SQUAD),
        ("windows", "one JSON file", SQUAD),
        ("answers", "one JSON file", DEV),
        ("scores", "one JSON file", DEV),
    ):
        counts = [max(1, round(scale * part * largest / PARAGRAPHS / QUESTIONS)) for part in (0.1, 0.3, 1.0)]
        sizes = [count * PARAGRAPHS * QUESTIONS for count in counts]
        costs = list(zip(*(in_a_process(what, form, count) for count in counts), strict=True))
        cells = [" ".join(f"{value:,.0f}" for value in values) for values in (sizes, *costs)]
        print(f"| {what} | {form} | {' | '.join(cells)} | {slope(sizes, costs[0]):.2f} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
