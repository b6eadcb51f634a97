# make test   everything that must pass: format, linters, types, tests
# make demo   two daemons, one study, a kill in the middle
# make bench  medp2p against scp, rsync and tar; also: CASES="ct small" ROUNDS=5 WARMUPS=3 SCALE=0.02
# make format put the code into its form
#
# Needs make and Python >= 3.11; all else goes into .venv. PYTHON=... picks another Python.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SCRIPTS := $(wildcard examples/*.py bench/*.py)
SOURCES = $(shell find $(wildcard medp2p tests examples bench) -name "*.py")
# The whole test run (some ten minutes alone on two cores) is bounded where the system has the means (coreutils).
BOUNDED := $(if $(shell command -v timeout),timeout 3000,)
# What ruff lacks: yield inside a nursery, unshielded awaits in finally, swallowed cancellation.
ASYNC_ON := ASYNC101,ASYNC102,ASYNC103,ASYNC104
PYTEST_ARGS ?=

.PHONY: test demo bench format clean

test: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/flake8-async --enable=$(ASYNC_ON) $(SOURCES)
	$(BIN)/mypy medp2p tests $(SCRIPTS)
	$(BOUNDED) $(BIN)/pytest $(PYTEST_ARGS)

demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py

# docs/PERFORMANCE.md says what it measures; results go to bench/results/.
bench: $(VENV)/.installed
	$(BIN)/python bench/speed.py $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(WARMUPS),--warmups $(WARMUPS)) \
	  $(if $(SCALE),--scale $(SCALE)) $(BENCH_ARGS) $(CASES)

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only .

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "medp2p needs Python 3.11 or newer; say which: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo "this Python has no venv module; on Debian: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $(VENV)/.installed $@
