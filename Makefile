# Everything that a checkout can do. `make help` lists it.
PYTHON ?= python3
TORCH ?= auto
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOCKED := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps

.DEFAULT_GOAL := help
.PHONY: help setup project demo test integration faults truth check format bench figures lock clean

help: ## show this list
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with everything pinned, by hash, in requirements.lock

$(READY): pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(LOCKED) -r requirements.lock
	@# A machine whose pip finds a +cpu build gets that, unless TORCH=cuda; any other that of the default index.
	test "$(TORCH)" != cuda && $(LOCKED) -r requirements-torch-cpu.lock 2>/dev/null || $(LOCKED) -r requirements-torch.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

project: $(READY) ## a package of your own beside playbook, with an example of everything: make project NAME=mine
	$(BIN)/python scripts/new_project.py $(NAME)

demo: $(READY) ## a study on digits: which learning rate? 16 trials, and the report that reads them
	$(BIN)/python train.py -m study=learning_rate study.name=demo

test: $(READY) ## run the tests (minutes); those that take whole processes: make integration
	@# The tests of a file run in one process: what its fixtures train is trained once. Their order is that of conftest.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

integration: $(READY) ## kills, ranks, forks, the pages of howto; Slurm, Ray and PostgreSQL where they are here (half an hour)
	$(LOCKED) -r requirements-extras.lock
	@# Those that start daemons follow each other in one process (conftest), the others run beside them.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m integration -n auto --dist loadgroup --no-loadscope-reorder $(ARGS)

faults: $(READY) ## kill runs at every moment, flip bits, fill a disk; each must end as its undisturbed twin (minutes)
	PYTHONPATH=tests OMP_NUM_THREADS=1 $(BIN)/python -m faults $(ARGS)

truth: $(READY) ## the report's verdicts on studies whose truth is known, as a table (minutes)
	$(LOCKED) -r requirements-truth.lock
	PYTHONPATH=tests/analysis:tests OMP_NUM_THREADS=1 $(BIN)/python -m truth $(ARGS)

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

figures: $(READY) ## the playbook's figures from runs on digits, in docs/figures
	OMP_NUM_THREADS=1 $(BIN)/python docs/figures/make.py $(ARGS)

lock: $(READY) ## pin the newest versions that are a week old, with hashes, for every platform
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/python scripts/lock.py $(ARGS)

clean: ## remove the environment and caches; runs stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info
