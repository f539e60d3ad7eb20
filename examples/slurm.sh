#!/usr/bin/env bash
# Run the study of params.yaml on Slurm: a job for what models share, an array with a task for each model, a last job.
#   make setup && . .venv/bin/activate
#   examples/slurm.sh [options of sbatch, for all three: --partition=gpu --gres=gpu:1 --time=8:00:00]
# All jobs work in this folder, so every node must see it. Run it again after a failure: what is up to date is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

submit() { sbatch --parsable --kill-on-invalid-dep=yes "$@" | cut -d';' -f1; }
shared=$(python -m stages.plan shared)
models=$(python -m stages.plan models)

first=$(submit --job-name=shared "$@" --wrap "dvc --wait-for-lock repro $shared")
each=$(submit --job-name=models --dependency="afterok:$first" --array="1-$(wc -l <<<"$models")" "$@" <<END
#!/bin/sh
set -eu
names=\$(sed -n "\${SLURM_ARRAY_TASK_ID}p" <<'LINES'
$models
LINES
)
dvc --wait-for-lock repro -s \${names:?}
END
)
last=$(submit --job-name=last --dependency="afterok:$each" "$@" --wrap "dvc --wait-for-lock repro")
echo "submitted: $first (shared), $each (models), $last (last)"
