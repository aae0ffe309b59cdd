# Everything that a checkout can do. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test faults check format bench lock clean

help: ## show this list
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with everything pinned in requirements.lock

$(READY): pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[dev]'
	touch $@

demo: $(READY) ## train on digits, and draw how it went
	$(BIN)/python train.py output_dir=outputs/demo overwrite=true max_steps=600 eval_every=20
	$(BIN)/python scripts/show_run.py run_dir=outputs/demo

test: $(READY) ## run all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto $(ARGS)

faults: $(READY) ## kill runs at every moment, flip bits, fill a disk; each must end as its undisturbed twin (minutes)
	PYTHONPATH=tests OMP_NUM_THREADS=1 $(BIN)/python -m faults $(ARGS)

check: $(READY) ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## mend what can be mended by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## measure the cost of our own code, as ratios (minutes)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/step_overhead.py

lock: $(READY) ## pin what is installed now into requirements.lock
	$(BIN)/python -m pip freeze --exclude-editable | sed -E 's/\+cpu$$//' > requirements.lock

clean: ## remove the environment and caches; runs stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info
