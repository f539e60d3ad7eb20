"""The results of the stages examine and compare, read back for the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from stages.qa.errors import InputError


@dataclass(frozen=True)
class ProbingResults:
    """A frame each, of all models: columns as `frames` and `code_length` give them, with `model` in front."""

    controls: pd.DataFrame
    code_length: pd.DataFrame
    mixing: pd.DataFrame
    mlp: pd.DataFrame
    transfer: pd.DataFrame  # of a model's own probes, and of those of what it is compared with
    similarity: pd.DataFrame


def read_probing(folder: Path, probed: Sequence[str], compared: Mapping[str, str]) -> ProbingResults:
    """The results of `probed` and `compared`, from folder/<kind>/<name>.csv; InputError if one is missing or faulty."""
    pairs = [*probed, *(f"{key}.from.{other}" for key, other in compared.items())]
    return ProbingResults(
        controls=_read(folder / "controls", probed, ["control", "layer", "forced_f1", "selectivity"]),
        code_length=_read(folder / "code_length", probed, ["labels", "layer", "compression"]),
        mixing=_read(folder / "mixing", probed, ["layer", "weight", "forced_f1"]),
        mlp=_read(folder / "mlp", probed, ["layer", "forced_f1", "linear_forced_f1"]),
        transfer=_read(folder / "transfer", pairs, ["probes_of", "probe_layer", "layer", "forced_f1"]),
        similarity=_read(folder / "similarity", pairs, ["layer", "other", "other_layer", "cka"]),
    )


def _read(folder: Path, names: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    frames = []
    for name in names:
        path = folder / f"{name}.csv"
        try:
            # only the empty string is missing: a model may be called "null"
            frame = pd.read_csv(path, dtype={"model": "str"}, keep_default_na=False, na_values=[""], encoding="utf-8")
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such file; have the stages examine and compare run?") from error
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: not the expected CSV ({error}); run the stage that writes it again") from error
        if missing := [column for column in ("model", *columns) if column not in frame]:
            raise InputError(f"{path}: no column {missing[0]!r}; run the stage that writes it again")
        frames.append(frame)
    return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
