"""Fine-tune one encoder on the training questions, with a span head, as run_squad did."""

from pathlib import Path
from typing import Annotated

from typer import Option

from stages.qa.cli import run
from stages.qa.config import entry, load_params
from stages.qa.data.guard import check_gold
from stages.qa.data.splits import training_part
from stages.qa.data.squad import read_squad
from stages.qa.data.windows import make_windows
from stages.qa.finetuning.training import finetune
from stages.qa.models.checkpoints import load_config, load_tokenizer, pick_device
from stages.qa.models.manifest import verify_snapshot


def main(
    key: str,
    base_dir: Path,
    data_dir: Path,
    out_dir: Path,
    checkpoints: Annotated[Path, Option(help="Where an interrupted training is kept.")] = Path("data/checkpoints"),
) -> None:
    """Train finetuned.KEY of params.yaml: BASE_DIR on DATA_DIR/train.json, into OUT_DIR."""
    params = load_params()
    verify_snapshot(base_dir)
    tokenizer = load_tokenizer(base_dir, load_config(base_dir))
    file, stride = data_dir / "train.json", params.windows.doc_stride
    examples = read_squad(file, purpose="train")
    examples = training_part(examples, "finetuning", **params.parts.model_dump())
    windows = make_windows(examples, tokenizer, **params.windows.model_dump())
    check_gold(examples, windows, tokenizer, file=file, least=params.guard, doc_stride=stride)
    settings = entry(params.finetuned, key, "finetuned")
    finetune(base_dir, windows, out_dir, settings=settings, checkpoints=checkpoints, device=pick_device())


if __name__ == "__main__":
    run(main)
