# `make run` and `make test` are all a newcomer needs; `make help` lists the rest.
VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin
# A process a core, each file's tests in one of them.
WORKERS ?= -n logical --maxprocesses=8 --dist=loadfile

.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.installed ## a virtual environment with everything, as tested

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

run: install ## the three modes on the bundled model, as one small sweep, and their table
	$(BIN)/python run.py experiment=three_modes

suite: install ## every mode, control and press at equal budgets, and their table: hours
	sh experiments/004_suite/run.sh $(BIN)/python

test: install ## all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q $(WORKERS)

coverage: install ## all tests, and which lines none of them runs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q $(WORKERS) --cov --cov-report=term:skip-covered

quick: install ## tests but for the slow ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q $(WORKERS) -m 'not slow'

check: install ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

format: install ## put the code in the house's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## the virtual environment and all caches (outputs/ stays)
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .coverage build *.egg-info src/*.egg-info

.PHONY: help install run suite test coverage quick check format clean
