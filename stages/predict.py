"""Answer the dev questions with the probes of every layer and epoch, and with the model's own head."""

from pathlib import Path

from stages.qa.answering.answering import answer
from stages.qa.answering.answers import save_answers
from stages.qa.cli import run
from stages.qa.config import load_params
from stages.qa.data.guard import check_gold
from stages.qa.data.squad import read_squad
from stages.qa.data.windows import make_windows
from stages.qa.encoding.encoder import in_precision, load_encoder
from stages.qa.errors import InputError
from stages.qa.files import read_json, write_json
from stages.qa.models.checkpoints import pick_device
from stages.qa.models.manifest import MANIFEST
from stages.qa.probing.readouts import load_probes


def main(model_dir: Path, data_dir: Path, probes_dir: Path, out_dir: Path) -> None:
    """Answer DATA_DIR/dev.json with the PROBES_DIR of MODEL_DIR and with its own head, into OUT_DIR."""
    params = load_params()
    encoder = load_encoder(model_dir, device=pick_device())
    file, stride = data_dir / "dev.json", params.windows.doc_stride
    questions = read_squad(file, purpose="predict")
    windows = make_windows(questions, encoder.tokenizer, **params.windows.model_dump())
    gold = check_gold(questions, windows, encoder.tokenizer, file=file, least=params.guard, doc_stride=stride)
    encoder = in_precision(encoder, windows, params.precision)
    probes = load_probes(probes_dir)
    if encoder.head is None and not probes.readouts:
        raise InputError(f"{model_dir}: has no question answering head, and no probe was trained on it")
    for name, answers in answer(encoder, questions, windows, probes, params.protocols):
        save_answers(out_dir / name, answers)
    manifest = read_json(model_dir / MANIFEST)
    record = {"source": manifest["source"], "files": manifest["files"], "model_type": encoder.model.config.model_type}
    write_json(out_dir / "model.json", record | {"gold": gold})


if __name__ == "__main__":
    run(main)
