# The commands of the project. `make` or `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
STUDY = $(shell sed -n 's/^study: *//p' params.yaml)

JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup repro models test faults bench bench-growth bench-gpu lint format clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1@\2/p' $(MAKEFILE_LIST) | awk -F@ '{printf "%-20s %s\n", $$1, $$2}'

# pip compiles on one core, compileall on all; a few installed files are no valid Python, which does no harm
COMPILE := $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true

setup: $(VENV)/.installed ## Create .venv with the pinned requirements of a run

$(VENV)/.installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -r requirements.txt
	@$(COMPILE)
	$(BIN)/python -m stages.offline .dvc/plots/offline.html
	$(BIN)/dvc config --local plots.html_template plots/offline.html
	@touch $@

$(VENV)/.tests: $(VENV)/.installed requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -r requirements-dev.txt
	@$(COMPILE)
	@touch $@

repro: setup ## Run the study of params.yaml: only what is not up to date
	@python -m stages.plan check
	@dvc repro
	@cat plots/$(STUDY)/report.md
	@echo; echo "The report: file://$(CURDIR)/plots/$(STUDY)/report.html"

# What models share, then each model's own stages, then the rest. DVC's exit code 255 would make xargs start no more.
models: setup ## Run the study, JOBS=n models at a time (GPUS=n: on n GPUs in turn)
	@names=$$(python -m stages.plan shared) && dvc repro $$names
	@python -m stages.plan models | GPUS=$(GPUS) xargs -r -P $(JOBS) -L 1 --process-slot-var=SLOT sh -c \
		'if [ "$$GPUS" ]; then export CUDA_VISIBLE_DEVICES=$$(echo "$${CUDA_VISIBLE_DEVICES:-$$(seq -s, 0 $$((GPUS - 1)))}" | cut -d, -f$$((SLOT % GPUS + 1))); fi; dvc --wait-for-lock repro -s "$$@" || exit 1' sh
	@$(MAKE) --no-print-directory repro

test: $(VENV)/.tests ## Run the tests, one process a core
	@OMP_NUM_THREADS=1 python -m pytest -n auto --maxprocesses 4 --dist loadfile

faults: $(VENV)/.tests ## Run the fault cases alone: one line each, and how many hold
	@OMP_NUM_THREADS=1 python -m pytest tests/faults -n auto --maxprocesses 4 --dist loadfile

# The folder of a checkpoint; MiniLM is fetched if BENCH_MODEL names no other.
export BENCH_MODEL ?= data/models/minilm
BENCH_FETCH = @test -d $(BENCH_MODEL) || dvc repro --quiet download@minilm

bench: setup ## Time the pipeline against the original's algorithm (BENCH_JSON=file: also as JSON)
	$(BENCH_FETCH)
	@python -m benchmarks.speed

bench-growth: setup ## How time grows with questions, layers, variants and window length
	$(BENCH_FETCH)
	@python -m benchmarks.growth

bench-gpu: setup ## The forward pass and a fine-tuning step on a GPU, if there is one
	@python -m benchmarks.gpu

lint: $(VENV)/.tests ## Check style and types
	@ruff check . && ruff format --check . && mypy

format: $(VENV)/.tests ## Put the code into the project's format
	@ruff check --fix . ; ruff format .

clean: ## Remove the virtual environment and caches, not the results
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
