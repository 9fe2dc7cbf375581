# Everything runs in .venv, which the first target that needs it makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
SEEDS ?= 1000
N ?= 1000000
START ?= 0
# One more than cores: some tests wait for processes while others compute.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

# The order in which sets of strings are walked through. Virtual time is the same again only with the
# same one, so that what fails in one run can be looked at in the next; `make orders` tries others,
# and other draws of Hypothesis.
HASH_SEED ?= 0
ORDERS ?= 1 2 3
test check: export PYTHONHASHSEED := $(HASH_SEED)

.DEFAULT_GOAL := help
.PHONY: help demo test test-lan check format bench sim mutants fuzz soak orders clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 16

demo: $(VENV)/.installed  ## run the main job: five agent processes, two of them killed (ARGS=--path DIR)
	$(BIN)/conclave demo $(ARGS)

test: $(VENV)/.installed-dev  ## run all tests, some files at a time (WORKERS=1 ARGS='-k word')
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-lan: $(VENV)/.installed-dev  ## nodes on hosts of their own, and all that breaks in a LAN; Linux, as root
	$(BIN)/python -m pytest -q -s -o addopts="--strict-markers" tests/lan tests/agents/chaos/test_chaos_spaces.py $(ARGS)

check: $(VENV)/.installed-dev  ## format, lint, types, house rules, unit tests: about a minute
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not e2e and not slow" $(ARGS)

format: $(VENV)/.installed-dev  ## let ruff format and fix the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed-dev  ## measure; prints a table and writes benchmarks/results.json
	$(BIN)/python -m benchmarks $(ARGS)

sim: $(VENV)/.installed-dev  ## run the consensus simulator (SEEDS=1000 START=0)
	$(BIN)/python -m consensus.sim --seeds $(SEEDS) --start $(START) --workers 2 --marks $(ARGS)

mutants: $(VENV)/.installed-dev  ## break each rule of Raft in turn and see that a test notices (MUTANTS="R3 R15")
	$(BIN)/python tests/mutants --rules $(MUTANTS) $(ARGS)

fuzz: $(VENV)/.installed-dev  ## feed every decoder N=1000000 mutated inputs (ARGS="--only frame --guided 100000")
	nice -n 19 $(BIN)/python tests/fuzz --inputs $(N) --workers 2 $(ARGS)

soak: $(VENV)/.installed-dev  ## ten minutes of garbage against a node (ARGS=--minutes 60)
	$(BIN)/python -m benchmarks.soak $(ARGS)

orders: $(VENV)/.installed-dev  ## run what needs no processes under other orders of sets and other draws (ORDERS="1 2 3")
	@for seed in $(ORDERS); do echo "HASH_SEED=$$seed"; PYTHONHASHSEED=$$seed \
	  $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --hypothesis-profile=hunt \
	  -m "not e2e and not slow" $(ARGS) || exit 1; done

clean:  ## remove the environment, caches and results
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis benchmarks/results.json
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Conclave needs Python 3.11 or newer; say which with: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.installed
