# make demo, make test and make lint set up everything they need; Python 3.11 or 3.12 is all that must be there.

# The first that runs: a version manager's python3.12 may be a name alone.
IS_SUPPORTED := import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))
PYTHON ?= $(shell for python in python3 python3.12 python3.11; do \
	$$python -c '$(IS_SUPPORTED)' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
REQUIREMENTS := requirements.txt requirements-ros.txt requirements-train.txt requirements-dev.txt

.PHONY: help setup demo test lint format clean

help:
	@echo 'make setup   a virtual environment in $(VENV) with pinned requirements, ROS 2 included'
	@echo 'make demo    camera and node over DDS on a synthetic street; results in out/demo'
	@echo 'make test    all tests'
	@echo 'make lint    ruff and mypy'
	@echo 'make format  rewrite the sources as ruff would'
	@echo 'make clean   remove what was set up and built; out/ stays'

setup: $(STAMP)

$(STAMP): $(REQUIREMENTS) setup.py
	@test -n '$(PYTHON)' && $(PYTHON) -c '$(IS_SUPPORTED)' || \
		{ echo 'needs Python 3.11 or 3.12, for which there are ROS 2 wheels; set PYTHON=/path/to/python3.11'; exit 1; }
	@echo 'setting up $(VENV): a few minutes, gigabytes where PyTorch brings CUDA'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --quiet --disable-pip-version-check $(addprefix -r ,$(REQUIREMENTS))
	@$(BIN)/pip install --quiet --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

demo: $(STAMP)
	@$(BIN)/mtl demo

# ROS has threads of its own, which the tests of the core shall not share a process with.
# Tests that start ROS in their own process.
ROS_TESTS := test/ros test/live test/benchmark/test_node.py

test: $(STAMP)
	@$(BIN)/pytest $(addprefix --ignore=,$(ROS_TESTS))
	@$(BIN)/pytest $(ROS_TESTS)

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(STAMP)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build install log *.egg-info
