"""A model trained here and its probes, to the Hugging Face hub."""

from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi

from stages.qa.errors import InputError, IntegrityError
from stages.qa.models.manifest import MANIFEST, verify_snapshot
from stages.qa.sources.hub import reason

PROBES = ("probes.safetensors", "readouts.json", "certificates.json", "loss.csv")


def upload_plan(model_dir: Path, probes_dir: Path | None) -> dict[str, Path]:
    """Path in the repository -> file: the model's, checked against its manifest, and those of the probes under probes/.

    IntegrityError if a file is not what the manifest says, or one of the probes' is missing.
    """
    manifest = verify_snapshot(model_dir)
    plan = {name: model_dir / name for name in sorted([*manifest["files"], MANIFEST])}
    for name in PROBES if probes_dir else ():
        plan[f"probes/{name}"] = (probes_dir or Path()) / name
        if not plan[f"probes/{name}"].is_file():
            raise IntegrityError(f"{plan[f'probes/{name}']}: missing; run the probe_train stage again")
    return plan


def is_taken(repo: str, *, endpoint: str | None = None) -> bool:
    """Whether the hub has a model of this name; IntegrityError if it cannot be asked, InputError if that is no name."""
    try:
        return bool(HfApi(endpoint=endpoint).repo_exists(repo))
    except ValueError as error:
        raise InputError(f"{repo}: {' '.join(str(error).split())}") from error
    except Exception as error:  # the client raises what it likes
        raise IntegrityError(f"{repo}: the hub cannot be asked: {reason(error)}") from error


def upload(repo: str, plan: Mapping[str, Path], card: str, *, endpoint: str | None = None) -> str:
    """Make the repository (private, if it is new), commit all files and the card at once; returns the URL."""
    files = [CommitOperationAdd(path_in_repo=place, path_or_fileobj=str(path)) for place, path in plan.items()]
    files.append(CommitOperationAdd(path_in_repo="README.md", path_or_fileobj=card.encode()))
    api = HfApi(endpoint=endpoint)
    try:
        api.create_repo(repo, private=True, exist_ok=True)
        return str(api.create_commit(repo, files, commit_message="Model, probes and card").commit_url)
    except Exception as error:
        raise IntegrityError(f"{repo}: the upload failed: {reason(error)}") from error
