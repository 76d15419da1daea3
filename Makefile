# The tasks of a checkout; `make help` lists them.
# VENV is the virtual environment to use, created if it doesn't exist: make test VENV=/path/to/one
# PYTHON is the interpreter that creates it.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
STAMP := $(VENV)/.brain_tumor_tl-installed
TRAIN := $(BIN)/brain-tumor-tl train
PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal
DATA ?=
ARGS ?=
LOWEST ?= build/lowest

.DEFAULT_GOAL := help
.PHONY: help install demo train grid tensorboard lint format test test-fast test-all test-lowest audit-deps wheel clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(STAMP)  ## create the virtual environment and install the package with its development tools

$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): PyTorch and its libraries are several GB, so this takes a few minutes the first time"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: install  ## train two networks with both methods on synthetic images; takes minutes, downloads no data or weights
	$(TRAIN) --config-name demo $(ARGS)
	@echo "Curves and confusion matrices: $(BIN)/tensorboard --logdir outputs"

train: install  ## train one network: make train DATA=PATH ARGS="model=mobilenet_v2 method=frozen"
	$(TRAIN) $(if $(DATA),data.root=$(DATA)) $(ARGS)

grid: install  ## train the study's seven networks with both methods: make grid DATA=PATH
	$(TRAIN) --config-name grid $(if $(DATA),data.root=$(DATA)) $(ARGS)

tensorboard: install  ## show the curves of all runs in outputs/
	$(BIN)/tensorboard --logdir outputs

lint: install  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint  ## check style and types, then run the tests, except those of whole benchmarks and of SLURM
	$(PYTEST) -m "not benchmark and not slurm" $(ARGS)

test-fast: install  ## run only the tests that take seconds
	$(PYTEST) -m "not slow and not benchmark and not slurm and not real_data" $(ARGS)

test-all: lint  ## check style and types, then run every test that this machine can run
	$(PYTEST) $(ARGS)

test-lowest: install  ## run the fast tests with the lowest versions that pyproject.toml allows; installs PyTorch again
	$(BIN)/python -m uv venv --quiet --clear --python $(BIN)/python $(LOWEST)
	$(BIN)/python -m uv pip compile --quiet --resolution lowest-direct --extra dev pyproject.toml -o $(LOWEST)/requirements.txt
	$(BIN)/python -m uv pip install --quiet --python $(LOWEST)/bin/python -r $(LOWEST)/requirements.txt
	$(BIN)/python -m uv pip install --quiet --python $(LOWEST)/bin/python --no-deps --editable .
	$(LOWEST)/bin/python -m pytest -m "not slow and not benchmark and not slurm and not real_data" $(ARGS)

audit-deps: install  ## report known vulnerabilities of the installed packages
	$(BIN)/python -m pip_audit --skip-editable

wheel: install  ## build the wheel into dist/
	$(BIN)/python -m build --wheel

clean:  ## remove build and tool caches; keeps outputs/ and the virtual environment
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
