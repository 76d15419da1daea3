# Everything that a checkout can do. `make help` lists it.
# VENV names the virtual environment, made if absent: make test VENV=/path/to/one
# PYTHON makes it.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
STAMP := $(VENV)/.brain_tumor_tl-installed
TRAIN := $(BIN)/brain-tumor-tl train
DATA ?=
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo train grid tensorboard lint format test test-fast wheel clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(STAMP)  ## make the virtual environment and install the package with what its tests need

$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): PyTorch and its libraries are several GB, so this takes a few minutes the first time"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: install  ## train two networks by both methods on synthetic heads, in minutes; no download of data or weights
	$(TRAIN) --config-name demo $(ARGS)
	@echo "Curves and confusion matrices: $(BIN)/tensorboard --logdir outputs"

train: install  ## train one network: make train DATA=PATH ARGS="model=mobilenet_v2 method=frozen"
	$(TRAIN) $(if $(DATA),data.root=$(DATA)) $(ARGS)

grid: install  ## train the study's seven networks by both methods: make grid DATA=PATH
	$(TRAIN) --config-name grid $(if $(DATA),data.root=$(DATA)) $(ARGS)

tensorboard: install  ## show the curves of all runs in outputs/
	$(BIN)/tensorboard --logdir outputs

lint: install  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install  ## put the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint  ## check style and types, and run every test that this machine can run
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

test-fast: install  ## run the tests that take seconds
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow and not real_data" $(ARGS)

wheel: install  ## build the wheel into dist/
	$(BIN)/python -m build --wheel

clean:  ## remove what the tools left; outputs/ and the virtual environment stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
