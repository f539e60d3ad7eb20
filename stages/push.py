"""Send a model that was trained here, its probes and its card to the Hugging Face hub; not a stage of the pipeline.

data/models/<key>, data/probes/<key>, metrics/<study> -> the hub
"""

from pathlib import Path
from typing import Annotated

from typer import Option

from stages.qa.cli import run
from stages.qa.config import load_params
from stages.qa.errors import InputError
from stages.qa.report import tables
from stages.qa.report.cards import model_card
from stages.qa.report.lineage import lineage
from stages.qa.report.provenance import model_records
from stages.qa.uploading import is_taken, upload, upload_plan


def main(
    key: str,
    repo: str,
    model_dir: Path,
    probes_dir: Path,
    metrics_dir: Path,
    send: Annotated[bool, Option("--send", help="Upload. Without it, only show what would be sent.")] = False,
) -> None:
    """Send MODEL_DIR (finetuned.KEY), PROBES_DIR and a card with the scores of METRICS_DIR to the model REPO."""
    params = load_params()
    if key not in params.finetuned:
        raise InputError(f"{key} is no key of finetuned: only what was trained here is sent")
    family = lineage([key], params.encoders, params.finetuned)
    record = model_records(metrics_dir / "models", family, params.finetuned)[0]
    scores = tables.read_layers(metrics_dir / "layers", [key])
    plan = upload_plan(model_dir, probes_dir)
    card = model_card(record, params.encoders[family.bases[key]].sources[0], params.dataset, scores)
    for place, path in plan.items():
        print(f"{place}: {path.stat().st_size:,} bytes")
    print(f"README.md:\n{card}")
    if send:
        print(upload(repo, plan, card))
    else:
        state = "exists and would get a new commit" if is_taken(repo) else "would be made, private"
        print(f"{repo} {state}; --send sends")


if __name__ == "__main__":
    run(main)
