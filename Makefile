# Every target sets up what it needs; `make` alone lists them.

PYTHON ?= python3
VENV ?= .venv

# TensorFlow's notices about instruction sets say nothing about our code.
TF_CPP_MIN_LOG_LEVEL ?= 2
export TF_CPP_MIN_LOG_LEVEL

bin := $(VENV)/bin
pip := $(bin)/python -m pip --disable-pip-version-check
# Two processes; what shares fixtures or a namespace stays in one of them.
parallel := -n 2 --dist loadscope
dev := $(VENV)/.kseq-dev
docs := $(VENV)/.kseq-docs
# mypy refuses a folder that is not there.
scripts := $(wildcard examples benchmarks)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow smoke lint format bench docs clean
# Under `make -j` too: two installs in one environment would break each other.
.NOTPARALLEL:

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(dev)  ## Create .venv and install kseq with its development tools

$(bin)/python:
	$(PYTHON) -m venv $(VENV)

# Order-only: the interpreter's date is the system's, not that of the environment.
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

test-slow: $(dev)  ## Run all tests, the slow ones too
	$(bin)/pytest $(parallel)

smoke:  ## Install kseq for PYTHON in a new environment, train, save, load, translate
	.ci/smoke $(PYTHON)

lint: $(dev)  ## Check the style, the format and the types
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/mypy src $(scripts)

format: $(dev)  ## Rewrite the code in the project's format
	$(bin)/ruff check --fix
	$(bin)/ruff format

bench: $(dev)  ## Measure decoding and training side by side, for docs/performance.md
	$(bin)/python benchmarks/tables.py

docs: $(docs)  ## Build the documentation in docs/_build/html
	$(bin)/sphinx-build -W --keep-going --quiet -d docs/_build/doctrees docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

clean:  ## Remove .venv and everything that was built
	rm -rf $(VENV) build dist docs/_build src/kseq.egg-info
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
