# edeposit.amqp: `make help` lists what there is. Every target sets up what it needs; a second run
# takes seconds. Needs root or sudo only while Debian packages are missing.

VENV   := .venv
PYTHON := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
# Most tests wait for servers: three at a time, each with a broker of its own; see tests/conftest.py.
PARALLEL := -n 3

PREFIX  ?= /opt/edeposit
BINDIR  ?= /usr/local/bin
EXTRAS  ?= all
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: help setup packages test-packages demo test lint types docs manual install uninstall dist chaos matrix bench clean

help:
	@echo "make demo   everything in action: broker, scanner, daemons, requests, answers"
	@echo "make test   lint, types, docs and all tests"
	@echo "make docs   the documentation, into docs/_build/html"
	@echo "make bench  the benchmarks (minutes)"
	@echo "make manual man pages and shell completion, into manual/ (committed)"
	@echo "make install    programs, units and account into the system (PREFIX=$(PREFIX)); make uninstall"
	@echo "make dist   sdist and wheel, into dist/"
	@echo "make setup  only what the others need: Debian packages and $(VENV)"
	@echo "make matrix the same in Debian 12, 13 and testing, and with other Pythons (hours, root)"
	@echo "make chaos  random faults against daemons under load (SECONDS, SEED, QUEUE)"
	@echo "make clean  remove $(VENV) and everything built"

setup: packages $(STAMP)

packages:
	@scripts/install-packages

test-packages:
	@scripts/install-packages --tests

$(STAMP): setup.py pyproject.toml
	@echo "== virtual environment $(VENV)"
	@test -x $(PYTHON) || python3 -m venv $(VENV)
	@$(PYTHON) -m pip install -qq --disable-pip-version-check --editable '.[development]'
	@touch $@

demo: setup
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(PYTHON) demo/run.py

test: test-packages setup lint types docs
	@echo "== tests"
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(PYTHON) -m pytest -q $(PARALLEL) --cov
	@echo "== the contract once more, as an init system with LANG=C would start it"
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" LANG=C LC_ALL=C TZ=Pacific/Chatham PYTHONUTF8=0 \
	    PYTHONCOERCECLOCALE=0 $(PYTHON) -m pytest -q $(PARALLEL) \
	    tests/integration/test_contract.py tests/integration/test_processes.py

lint: setup
	@echo "== lint"
	@$(VENV)/bin/ruff check --quiet . && $(VENV)/bin/ruff format --quiet --check .

types: setup
	@echo "== types"
	@$(VENV)/bin/mypy --no-error-summary -p edeposit.amqp

docs: setup
	@echo "== docs"
	@$(VENV)/bin/sphinx-build -W --keep-going -q -b html docs docs/_build/html

manual: setup
	@echo "== man pages and completion"
	@$(PYTHON) scripts/write-manual

# Needs nothing of `make setup`. PREFIX is the environment, BINDIR where the commands go.
install:
	@scripts/install-packages --venv-only
	@echo "== virtual environment $(PREFIX)"
	@test -x $(PREFIX)/bin/python || $(AS_ROOT) python3 -m venv $(PREFIX)
	@$(AS_ROOT) $(PREFIX)/bin/python -m pip install -qq --disable-pip-version-check --upgrade '.[$(EXTRAS)]'
	@$(AS_ROOT) $(PREFIX)/bin/edeposit_amqp_setup.py install --bindir $(BINDIR)

uninstall:
	@test ! -x $(PREFIX)/bin/edeposit_amqp_setup.py || $(AS_ROOT) $(PREFIX)/bin/edeposit_amqp_setup.py uninstall
	@$(AS_ROOT) rm -rf $(PREFIX)

dist: setup
	@echo "== sdist and wheel"
	@rm -rf dist && $(PYTHON) -m build --quiet && $(VENV)/bin/twine check --strict dist/*

# SECONDS, FAULTS, SEED, QUEUE (classic, quorum); see tests/chaos/campaign.py.
chaos: setup
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(PYTHON) tests/chaos/campaign.py \
	    --seconds $(or $(SECONDS),180) --faults $(or $(FAULTS),0) --seed $(or $(SEED),1) \
	    --queue $(or $(QUEUE),classic)

matrix:
	@scripts/matrix

bench: setup
	@echo "== benchmarks"
	@for file in bench/bench_*.py; do echo "-- $$file"; $(PYTHON) $$file || exit 1; done

clean:
	rm -rf $(VENV) docs/_build build dist .coverage* src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
