# The commands of the project. `make` or `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
STUDY = $(shell sed -n 's/^study: *//p' params.yaml)

.DEFAULT_GOAL := help
.PHONY: help setup repro test faults lint format clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1@\2/p' $(MAKEFILE_LIST) | awk -F@ '{printf "%-14s %s\n", $$1, $$2}'

setup: $(VENV)/.installed ## Create .venv with the pinned requirements

$(VENV)/.installed: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

repro: setup ## Run the study of params.yaml: only what is not up to date
	@dvc repro
	@cat plots/$(STUDY)/results.md

test: setup ## Run the tests
	@python -m pytest

faults: setup ## Run the 64 fault cases alone: one line each, and how many hold
	@python -m pytest tests/faults

lint: setup ## Check style and types
	@ruff check . && ruff format --check . && mypy

format: setup ## Put the code into the project's format
	@ruff check --fix . ; ruff format .

clean: ## Remove the virtual environment and caches, not the results
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
