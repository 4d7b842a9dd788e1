# Every target sets up what it needs: python3 (3.11 or newer, with venv) and make are enough.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DEMO := --configfile config/demo.yaml
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help demo real test lint format lock clean

help:
	@echo "make demo              every figure and table on built-in phantom data (about six minutes on two cores)"
	@echo "make real DATA=DIR     the same with NIH ChestX-ray14 images in DIR as the chest dataset"
	@echo "make test              lint, unit tests and small workflow runs"
	@echo "make lint | format     check or mend formatting"
	@echo "make lock              compile requirements.txt anew from pyproject.toml"
	@echo "make clean             remove the environment (results stay)"

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.5"
	VIRTUAL_ENV=.venv $(BIN)/uv pip sync --quiet --require-hashes requirements.txt
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --editable .
	@touch $@
