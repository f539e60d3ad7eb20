"""Answer the dev questions with the probes of every layer and epoch, and with the model's own head if it has one.

data/models/<key>, data/probes/<key>, data/squad/<data set> -> data/predictions/<key>/<protocol>
"""

from pathlib import Path

from stages.qa.answers import answer, save_answers
from stages.qa.cli import run
from stages.qa.config import load_params
from stages.qa.encoder import load_encoder, pick_device
from stages.qa.readouts import load_probes
from stages.qa.squad import read_squad
from stages.qa.windows import make_windows


def main(model_dir: Path, probes_dir: Path, data_dir: Path, out_dir: Path) -> None:
    """Answer DATA_DIR/dev.json with MODEL_DIR and PROBES_DIR, into OUT_DIR."""
    params = load_params()
    encoder = load_encoder(model_dir, device=pick_device())
    probes = load_probes(probes_dir)
    examples = read_squad(data_dir / "dev.json", purpose="predict")
    windows = make_windows(examples, encoder.tokenizer, **params.windows.model_dump())
    for name, answers in answer(encoder, examples, windows, probes, params.protocols).items():
        save_answers(out_dir / name, answers)


if __name__ == "__main__":
    run(main)
