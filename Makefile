# Everything that a checkout can do. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test integration faults check format bench lock clean

help: ## show this list
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with everything pinned in requirements.lock

$(READY): pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[dev]'
	touch $@

demo: $(READY) ## a study on digits: which learning rate? 16 trials, and the report that reads them
	$(BIN)/python train.py -m study=learning_rate study.name=demo

test: $(READY) ## run all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto $(ARGS)

integration: $(READY) ## studies on a real Slurm, Ray and PostgreSQL on this machine, with trials preempted and killed (minutes)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[dev,slurm,ray,postgresql]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock --no-deps hydra-ray-launcher # it wants cloudpickle<3, for AWS
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m integration tests/integration $(ARGS)

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
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/study_cost.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/report_cost.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/discrepancy.py

lock: $(READY) ## pin what is installed now into requirements.lock
	$(BIN)/python -m pip freeze --exclude-editable | sed -E 's/\+cpu$$//' > requirements.lock

clean: ## remove the environment and caches; runs stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info
