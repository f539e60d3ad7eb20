"""Model and data cards in the hub's format (YAML front matter with a model-index, then Markdown), from the scores."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from huggingface_hub import CardData, EvalResult
from huggingface_hub.repocard_data import eval_results_to_model_index

from stages.qa.report.page_data import result_rows
from stages.qa.report.pages import inert
from stages.qa.report.provenance import DataFileRecord, ModelRecord, Provenance
from stages.qa.report.tables import markdown, percent, protocols_of, question_counts

METRICS = {"f1": "F1", "exact": "exact match", "HasAns_f1": "F1 on HasAns", "NoAns_f1": "F1 on NoAns"}
METRICS |= {"forced_f1": "F1 on HasAns, an answer forced"}


def study_card(study: str, dataset: str, frame: pd.DataFrame, origin: Provenance) -> str:
    """One card for all models of a study, and for its data: scores of the last layer under the first protocol."""
    protocol, models, files = protocols_of(frame)[0], origin.models, origin.files
    index = [entry for model in models for entry in model_index(model.key, frame, dataset)]
    tags = ["question-answering", "probing"]
    fields: dict[str, Any] = {"task_categories": ["question-answering"], "model-index": index}
    front = CardData(tags=tags, **fields)
    rows = [["model", "kind", "source", "best layer", "F1", "forced", "last layer", "F1", "forced"]]
    for row in result_rows(frame, protocol):
        model = next(record for record in models if record.key == row["model"])
        cells = [
            f"{row[at]['layer']:g} {percent(row[at]['f1'])} {percent(row[at]['forced_f1'])}".split() for at in _PLACES
        ]
        rows.append([model.key, model.kind, inert(model.source), *(cell for place in cells for cell in place)])
    return f"""\
---
{front.to_yaml()}
---

# Probes on every layer: study {study}

A start and an end vector are trained on the frozen hidden states of every layer, and answer SQuAD-format questions.
Scores of the last layer are in the model-index above; those of every layer in `layers/*.csv` beside this file.

## Models

Protocol {protocol}; percent, after the last epoch. Best: the layer of the highest F1, chosen on the questions it is
scored on. Forced: F1 on HasAns questions when an answer is forced.

{markdown(rows, left=3)}
{_weights(models)}
## Data: {dataset}

{question_counts(frame)} in the dev file.

{_files(files)}
## Limits

Scores are of this data set alone. Licences are those of the sources; this card states none.
"""


def model_card(model: ModelRecord, base: str, dataset: str, frame: pd.DataFrame) -> str:
    """The card of one fine-tuned model as it goes to the hub. base: the source of the model it was trained from."""
    index = model_index(model.key, frame, dataset)
    fields: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "question-answering",
        "model-index": index,
    }
    kind, _, name = base.partition(":")
    if kind == "hub":
        fields["base_model"] = name.partition("@")[0]
    front = CardData(tags=["question-answering"], **fields)
    part = "`probes/` holds a start and an end vector for every layer; `readouts.json` says what each is.\n"
    scores = "The scores above are those of the probe on the last layer.\n"
    return f"""\
---
{front.to_yaml()}
---

# {model.key}

{model.kind.capitalize()}; {model.settings or inert(model.source)}.
Trained and probed on the SQuAD-format data set {dataset}.

{scores}{part}
{_weights([model])}"""


def model_index(model: str, frame: pd.DataFrame, dataset: str) -> list[dict[str, Any]]:
    """The hub's model-index of one model: scores of its last layer under the first protocol; [] without probes."""
    rows = [row for row in result_rows(frame, protocols_of(frame)[0]) if row["model"] == model]
    if not rows:
        return []
    results = [
        EvalResult(
            task_type="question-answering",
            dataset_type=dataset,
            dataset_name=dataset,
            metric_type="exact_match" if name == "exact" else "f1",
            metric_name=f"{label}, probe on layer {rows[0]['last']['layer']:g}",
            metric_value=round(float(rows[0]["last"][name]), 2),
        )
        for name, label in METRICS.items()
        if pd.notna(rows[0]["last"][name])
    ]
    return list(eval_results_to_model_index(model, results))


_PLACES = ("best", "last")


def _weights(models: Sequence[ModelRecord]) -> str:
    rows = [[m.key, name, str(size), digest] for m in models for name, size, digest in m.weights]
    return markdown([["model", "file", "bytes", "sha256"], *rows], left=2)


def _files(files: Sequence[DataFileRecord]) -> str:
    rows = [[f.name, inert(f.source), f.articles, f.sha256] for f in files]
    return markdown([["file", "source", "articles", "sha256"], *rows], left=4)
