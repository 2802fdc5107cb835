# Every target sets up what it needs; only Python 3.11 or 3.12 must be installed.

# The first name that runs: a version manager may install python3.12 as a name only.
IS_SUPPORTED := import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))
PYTHON ?= $(shell for python in python3 python3.12 python3.11; do \
	$$python -c '$(IS_SUPPORTED)' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
REQUIREMENTS := requirements.txt requirements-ros.txt requirements-train.txt requirements-dev.txt

.PHONY: help setup demo test quick lint format docs hooks clean

help:
	@echo 'make setup   create $(VENV) with the pinned requirements, including ROS 2'
	@echo 'make demo    send a synthetic drive to the node; results in out/demo'
	@echo 'make test    run all tests'
	@echo 'make quick   run the fast tests, without ROS and training'
	@echo 'make lint    run ruff and mypy'
	@echo 'make format  fix and format the sources with ruff'
	@echo 'make docs    build the documentation in out/site'
	@echo 'make hooks   check the subject of each commit in this clone'
	@echo 'make clean   remove what was set up and built, but not out/'

setup: $(STAMP)

$(STAMP): $(REQUIREMENTS) setup.py
	@test -n '$(PYTHON)' && $(PYTHON) -c '$(IS_SUPPORTED)' || \
		{ echo 'needs Python 3.11 or 3.12, the versions with ROS 2 wheels; set PYTHON=/path/to/python3.11'; exit 1; }
	@echo 'setting up $(VENV): takes a few minutes, and gigabytes where PyTorch includes CUDA'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --quiet --disable-pip-version-check $(addprefix -r ,$(REQUIREMENTS))
	@$(BIN)/pip install --quiet --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

demo: $(STAMP)
	@$(BIN)/mtl demo

# ROS starts threads; keep the core tests in a separate process. Training after the other core tests in
# one process has crashed in native code, for a reason that is not known.
test: $(STAMP)
	@$(BIN)/pytest -m 'not ros' --ignore=test/training
	@$(BIN)/pytest -m 'not ros' test/training
	@$(BIN)/pytest -m ros

quick: $(STAMP)
	@$(BIN)/pytest -m 'not slow and not ros' --ignore=test/training

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(STAMP)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# Material prints a notice about MkDocs 2 unless told not to.
docs: $(STAMP)
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

hooks:
	@git config core.hooksPath .githooks

clean:
	rm -rf $(VENV) build install log *.egg-info
