# Each target installs what it needs. `make` without a target lists the targets.

PYTHON ?= python3
VENV ?= .venv

# Hides TensorFlow's messages about instruction sets.
TF_CPP_MIN_LOG_LEVEL ?= 2
export TF_CPP_MIN_LOG_LEVEL

bin := $(VENV)/bin
pip := $(bin)/python -m pip --disable-pip-version-check
# Two processes; tests that share fixtures or a namespace run in the same process.
parallel := -n 2 --dist loadscope
dev := $(VENV)/.kseq-dev
docs := $(VENV)/.kseq-docs
# mypy fails if a folder does not exist.
scripts := $(wildcard examples benchmarks)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow smoke lint format bench docs clean
# Also under `make -j`: two installs in one environment would break each other.
.NOTPARALLEL:

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(dev)  ## Create .venv and install kseq with its development tools

$(bin)/python:
	$(PYTHON) -m venv $(VENV)

# Order-only, because the date of the interpreter is older than the environment.
$(dev): setup.cfg pyproject.toml | $(bin)/python
	$(pip) install --editable '.[dev]'
	@touch $@

$(docs): $(dev)
	@echo "Installing Sphinx ..."
	@$(pip) install --quiet --quiet --editable '.[docs]'
	@touch $@

demo: $(dev)  ## Watch an LSTM learn to add
	$(bin)/python examples/addition.py

test: $(dev)  ## Run the tests, without the slow ones
	$(bin)/pytest $(parallel) -m "not slow"

test-slow: $(dev)  ## Run all tests, including the slow ones
	$(bin)/pytest $(parallel)

smoke:  ## Install kseq for PYTHON in a new environment, train, save, load, translate
	.ci/smoke $(PYTHON)

lint: $(dev)  ## Check style, format and types
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/mypy src $(scripts)

format: $(dev)  ## Rewrite the code in the project's format
	$(bin)/ruff check --fix
	$(bin)/ruff format

bench: $(dev)  ## Measure decoding and training, and update docs/performance.md
	$(bin)/python benchmarks/tables.py

docs: $(docs)  ## Build the documentation in docs/_build/html
	$(bin)/sphinx-build -W --keep-going --quiet -d docs/_build/doctrees docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

clean:  ## Remove .venv and all built files
	rm -rf $(VENV) build dist docs/_build src/kseq.egg-info
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
