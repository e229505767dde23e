# make           set up .venv from exact pins and run the default benchmark (benchmarks/mini.yaml)
# make quick     set up and take a first look: benchmarks/quick.yaml, three minutes
# make test      set up and run the test suite             make test PYTEST_ARGS="-k claims -x"
# make trust     set up and run the long proofs: kills, full disks, fuzzing, a cluster on this machine
# make gpu       set up and run the tests that need a CUDA device; without one they are skipped
# make setup     only set up; a second call does nothing   make setup PYTHON=python3.12
# make lint      ruff, mypy, deptry (imports against pyproject.toml), snakemake's own linter
# make docs      write docs/benchmark-file.md again from the schema of benchmark files
# make setup-base  set up and add the encoder of benchmarks/base.yaml (about 400 MB)
# make realtext  set up, add a trained encoder (about 90 MB) and run benchmarks/minilm.yaml on real text
#
# `snakemake` with the environment active is the whole interface; this file only saves typing.

PYTHON ?= python3
PYTEST_ARGS ?=

VENV := .venv
READY := $(VENV)/.ready
READY_REALTEXT := $(VENV)/.ready-realtext
READY_BASE := $(VENV)/.ready-base
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
LOCKED := --no-compile --no-deps --no-build-isolation --require-hashes
# The workflow's jobs call `railkd` and `python`: they must be this environment's.
RUN := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"

export HF_HUB_DISABLE_TELEMETRY := 1

.DELETE_ON_ERROR:
.PHONY: all quick test gpu trust setup lint docs realtext setup-realtext setup-base

all: setup
	$(RUN) snakemake --cores all

quick: setup
	$(RUN) snakemake --cores all --config benchmark=benchmarks/quick.yaml

# One thread per worker: the tests' models are too small to gain from more.
test: setup
	$(RUN) OMP_NUM_THREADS=1 python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# One process: several would share the card, and what is free of its memory decides where data lies.
gpu: setup
	$(RUN) OMP_NUM_THREADS=1 python -m pytest -m "gpu and not trust" $(PYTEST_ARGS)

# -m trust wins over pyproject's -m "not trust"
trust: setup
	$(RUN) OMP_NUM_THREADS=1 python -m pytest -n auto --maxprocesses 4 --dist loadfile -m trust $(PYTEST_ARGS)

setup: $(READY)

setup-realtext: $(READY_REALTEXT)

setup-base: $(READY_BASE)

lint: setup
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) lint-imports
	$(RUN) deptry .
	$(RUN) deptry railkd --optional-dependencies-dev-groups workflow,test,peers
	$(RUN) snakemake --lint

docs: setup
	$(RUN) railkd keys > docs/benchmark-file.md

realtext: setup-realtext
	$(RUN) snakemake --cores all --config benchmark=benchmarks/minilm.yaml

# The stamps are written last, so an installation cut short is taken up again, and later calls do nothing.
# Nothing is installed whose digest the lock does not have. setuptools comes first, for pip would fetch what builds a
# package (one has no wheel) without asking the lock. torch is downloaded by itself, so that a CPU build on this disk is
# taken where there is one: asked for digests, pip prefers the files of an index that announces them, gigabytes of CUDA.
# The CUDA libraries that a build of torch names come with the project itself.
# --no-compile: Python compiles the modules that are used when they first are; all of them would take a minute more.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(v < (3, 11) and "railkd needs Python 3.11 or newer, and $(PYTHON) is %d.%d: try make PYTHON=python3.12" % v or 0)'
	@echo "Installing requirements.lock into $(VENV) (once; some minutes)"
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@for name in setuptools torch; do sed -n "/^$$name==/,/[^\\]$$/p" requirements.lock > $(VENV)/$$name.lock; done
	$(PIP) install $(LOCKED) --requirement $(VENV)/setuptools.lock
	$(PIP) download --no-deps --dest $(VENV)/torch $$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements.lock)
	$(PIP) install $(LOCKED) --no-index --find-links $(VENV)/torch --requirement $(VENV)/torch.lock
	@rm -rf $(VENV)/torch
	$(PIP) install $(LOCKED) --requirement requirements.lock
	$(PIP) install --no-compile --no-build-isolation --editable .
	@touch $@

$(READY_REALTEXT) $(READY_BASE): $(VENV)/.ready-%: requirements-%.lock $(READY)
	$(PIP) install $(LOCKED) --requirement $<
	@touch $@
