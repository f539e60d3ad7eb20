"""Answer dev and held-out questions with the probes of every layer and epoch, and with the model's own head.

data/models/<key>, data/squad/<data set>, data/probes/<key> -> data/predictions/<key>/<protocol>, in it held_out/
"""

from pathlib import Path
from typing import Annotated

from typer import Option

from stages.qa.answering.answering import answer
from stages.qa.answering.answers import save_answers
from stages.qa.cli import run
from stages.qa.config import load_params
from stages.qa.data.squad import read_squad
from stages.qa.data.windows import make_windows
from stages.qa.encoding.encoder import in_precision, load_encoder
from stages.qa.errors import InputError
from stages.qa.models.checkpoints import pick_device
from stages.qa.probing.readouts import Probes, load_probes


def main(
    model_dir: Path,
    data_dir: Path,
    out_dir: Path,
    probes: Annotated[Path | None, Option(help="Probes of the model; without it only its own head is read.")] = None,
) -> None:
    """Answer DATA_DIR/dev.json, and held_out.json, with the probes of MODEL_DIR and with its own head, into OUT_DIR."""
    params = load_params()
    encoder = load_encoder(model_dir, device=pick_device())
    if probes is None and encoder.head is None:
        raise InputError(f"{model_dir}: has no question answering head; give --probes, or list it under probed")
    readouts = load_probes(probes) if probes else Probes.empty(encoder.layers, encoder.hidden)
    files = [data_dir / "dev.json", *data_dir.glob("held_out.json")]
    examples = {file.stem: read_squad(file, purpose="predict") for file in files}
    windows = {
        part: make_windows(asked, encoder.tokenizer, **params.windows.model_dump()) for part, asked in examples.items()
    }
    encoder = in_precision(encoder, windows["dev"], params.precision)
    for part, asked in examples.items():
        for name, given in answer(encoder, asked, windows[part], readouts.of(params.epochs_read), params.protocols):
            save_answers(out_dir / name / ("" if part == "dev" else part), given)


if __name__ == "__main__":
    run(main, out="out_dir")
