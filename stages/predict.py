"""Answer the dev questions with the probes of every layer and epoch, and with the model's own head if it has one.

data/models/<key>, data/squad/<data set>, data/probes/<key> -> data/predictions/<key>/<protocol>
"""

from pathlib import Path
from typing import Annotated

from typer import Option

from stages.qa.answering import answer
from stages.qa.answers import save_answers
from stages.qa.checkpoints import pick_device
from stages.qa.cli import run
from stages.qa.config import load_params
from stages.qa.encoder import in_precision, load_encoder
from stages.qa.errors import InputError
from stages.qa.readouts import Probes, load_probes
from stages.qa.squad import read_squad
from stages.qa.windows import make_windows


def main(
    model_dir: Path,
    data_dir: Path,
    out_dir: Path,
    probes: Annotated[Path | None, Option(help="Probes of the model; without it only its own head is read.")] = None,
) -> None:
    """Answer DATA_DIR/dev.json with MODEL_DIR, by the probes of every layer and by its own head, into OUT_DIR."""
    params = load_params()
    encoder = load_encoder(model_dir, device=pick_device())
    if probes is None and encoder.head is None:
        raise InputError(f"{model_dir}: has no question answering head; give --probes, or list it under probed")
    readouts = load_probes(probes) if probes else Probes.empty(encoder.layers, encoder.hidden)
    examples = read_squad(data_dir / "dev.json", purpose="predict")
    windows = make_windows(examples, encoder.tokenizer, **params.windows.model_dump())
    encoder = in_precision(encoder, windows, params.precision)
    for name, answers in answer(encoder, examples, windows, readouts.of(params.epochs_read), params.protocols).items():
        save_answers(out_dir / name, answers)


if __name__ == "__main__":
    run(main, out="out_dir")
