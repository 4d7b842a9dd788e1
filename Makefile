# Every target installs what it needs. You only need make and python3 (3.11 or newer, with venv).
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
PYTHON_SOURCES := workflow tests docs

.PHONY: help install new plan demo real open-data report docs test test-survival test-cluster study-check bench gpu gpu-wheels lint format lock clean

help:
	@echo "make install          install the locked environment into .venv (a minute); nothing is run"
	@echo "make new FOLDER=DIR   look at a folder of images (TABLE=FILE: and a table of labels) and write a configuration that runs"
	@echo "make demo             make every figure and table from built-in phantom data (minutes, on two cores)"
	@echo "make real DATA=DIR    the same, with the NIH ChestX-ray14 images in DIR as the chest dataset"
	@echo "make open-data DIR=D  list radiographs that anyone may download; fetch those in SETS=\"...\" into D, for config/open.yaml"
	@echo "make plan CONFIG=...  show the jobs, images, disk and hours of a run before it starts, and what it will leave undecided"
	@echo "make report CONFIG=... make results/RUN/report.html of a finished run again: the answer, then every figure and table (RUN=NAME)"
	@echo "make docs             build the documentation as a site: open site/index.html"
	@echo "make test             check the code, run the unit tests and small workflows"
	@echo "make test-survival    kill a pretraining and a finetuning (kill -9) at twenty moments; compare every byte at the end"
	@echo "make test-cluster     start Slurm here and test its profile by requeueing, cancelling and killing jobs (root, Debian)"
	@echo "make study-check      train a part of docs/open-study.md again from the copies in DATA=DIR, and compare (minutes)"
	@echo "make bench            compare speed and memory with plain implementations: results/bench/*.csv"
	@echo "make gpu              test and measure everything on this machine's GPU, in eight minutes: results/gpu/ (DEVICE=cpu: small, without a GPU)"
	@echo "make gpu-wheels DIR=D fetch the packages that a GPU machine without network may lack into D (FOR=3.12: its Python)"
	@echo "make lint             check style and formatting"
	@echo "make format           fix the formatting"
	@echo "make lock             compile requirements.txt again from pyproject.toml"
	@echo "make clean            remove the environment (results stay)"

install: $(READY)
	@echo "Installed in .venv. Activate it: source .venv/bin/activate"

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, but this is " + sys.version.split()[0] + "; try: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	@test ! -L .venv || { echo "make: .venv is a link, and installing would empty the folder that it leads to; remove the link"; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.5"
	# Compile once, here. If PYTHONDONTWRITEBYTECODE is set, every job would compile what it imports.
	VIRTUAL_ENV=.venv $(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes requirements.txt
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --editable .
	@touch $@

# A value as one word of the shell, whatever is in it.
WORD = '$(subst ','\'',$(1))'

new: $(READY)
	@test -n $(call WORD,$(FOLDER)) || { echo "Which folder? make new FOLDER=DIR, with your images; TABLE=FILE if a table describes them, RUN=NAME to name the run"; exit 1; }
	@$(BIN)/python -m moco_transfer new $(if $(TABLE),--table=$(call WORD,$(TABLE))) $(if $(RUN),--run=$(call WORD,$(RUN))) $(if $(FORCE),--force) -- $(call WORD,$(FOLDER))

demo: $(READY)
	$(BIN)/snakemake --configfile config/demo.yaml
	@echo "Open results/demo/report.html  (phantom data)"

# abspath would cut a name at its blanks. The text is in double quotes for YAML, inside single quotes for the shell.
ABSOLUTE = $(if $(filter /% ~%,$(firstword $(DATA))),,$(CURDIR)/)$(DATA)
QUOTED_FOR_YAML = $(subst ",\",$(subst \,\\,$(ABSOLUTE)))
ROOT = $(subst ','\'',$(QUOTED_FOR_YAML))

real: $(READY)
	@test -n '$(subst ','\'',$(DATA))' || { echo "Which folder? make real DATA=DIR; DIR must hold Data_Entry_2017*.csv and images_*/"; exit 1; }
	$(BIN)/snakemake --configfile config/demo.yaml config/nih-sample.yaml --config 'datasets={"chest": {"root": "$(ROOT)"}}'
	@echo "Open results/nih-sample/report.html"

open-data: $(READY)
	@test -n $(call WORD,$(DIR)) || { echo "Which folder? make open-data DIR=DIR; with SETS=\"kermany knee-oai\" it fetches these"; exit 1; }
	@$(BIN)/python -m moco_transfer open-data $(if $(SETS),--sets $(foreach set,$(SETS),$(call WORD,$(set)))) -- $(call WORD,$(DIR))

plan: $(READY)
	@$(BIN)/python -m moco_transfer plan $(if $(CONFIG),--config $(CONFIG)) $(if $(IMAGES_PER_SECOND),--images-per-second $(IMAGES_PER_SECOND))

# Nothing but the report and the data cards may run: of a run that has not finished, no training starts.
report: $(READY)
	$(BIN)/snakemake front_page --cores 1 --forcerun front_page --allowed-rules front_page data_card \
	  $(if $(CONFIG),--configfile $(CONFIG)) $(if $(RUN),--config run=$(call WORD,$(RUN))) \
	  || { echo "make report: if files are missing, the run has not finished; snakemake with the same configuration continues it"; exit 1; }

# Strict: a broken link stops the build. The variable silences an announcement of the theme's authors.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo "Documentation: site/index.html"

test: lint docs
	# One thread per test process: they share the cores.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto

# Mount and process namespaces protect the machine's /usr and /etc, and end every process that the test starts.
NAMESPACE := unshare --mount --pid --fork --mount-proc --kill-child

test-cluster: $(READY)
	@$(NAMESPACE) true 2>/dev/null && command -v apt-get dpkg >/dev/null || { echo "make test-cluster: cannot start Slurm here; it needs root, unshare and Debian's apt-get"; exit 1; }
	$(NAMESPACE) $(BIN)/python -m pytest tests/cluster

test-survival: $(READY)
	PYTHONPATH=tests/unit $(BIN)/python -m pytest -s tests/survival/kill_at_random.py

study-check: $(READY)
	@test -n $(call WORD,$(DATA)) || { echo "Which folder? make study-check DATA=DIR; DIR must hold knee_chen/ and chest_kermany/"; exit 1; }
	$(BIN)/python tests/study/check.py $(call WORD,$(DATA))

bench: $(READY)
	$(BIN)/python tests/bench/run.py

gpu: $(READY)
	$(BIN)/python tests/gpu/run.py --out results/gpu $(if $(DEVICE),--device $(DEVICE))

# For a machine without network: copy the repository and the wheels to it, and run there
# python3 tests/gpu/run.py --out results/gpu --wheels DIR
gpu-wheels: $(READY)
	@test -n $(call WORD,$(DIR)) || { echo "Which folder? make gpu-wheels DIR=DIR; FOR=3.12 names the Python of the GPU machine"; exit 1; }
	$(BIN)/python tests/gpu/wheels.py $(call WORD,$(DIR)) $(FOR)

lint: $(READY)
	$(BIN)/ruff check $(PYTHON_SOURCES)
	$(BIN)/ruff format --check $(PYTHON_SOURCES)
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint

format: $(READY)
	$(BIN)/ruff check --fix $(PYTHON_SOURCES)
	$(BIN)/ruff format $(PYTHON_SOURCES)
	$(BIN)/snakefmt Snakefile workflow/rules

lock: $(READY)
	$(BIN)/uv pip compile --universal --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --python-version 3.11 --group dev pyproject.toml --output-file requirements.txt

clean:
	rm -rf .venv
