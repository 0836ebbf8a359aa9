# `make train` and `make test` each do all their own set-up; everything lives in .venv and in your cache folder.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DOCS   := $(VENV)/.installed-docs
NOTEBOOKS := $(VENV)/.installed-notebooks
CASES  ?= 10000
SEED   ?= 0
KILLS  ?= 50
TRAIN_KILLS ?= 20
PIP     = $(BIN)/python -m pip --quiet --disable-pip-version-check
# MetaDrive forbids Python 3.12 and up, where it works with the newer Panda3D that pyproject.toml asks for.
METADRIVE := --no-deps --ignore-requires-python metadrive-simulator==0.4.3

.PHONY: help install train test test-all fuzz kills lint types docs notebooks scenes perf clean
help:            ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else f"Gauntlet needs Python 3.11 to 3.13, found {v[0]}.{v[1]}: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt -e '.[dev]'
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 12))' || exit 0; $(PIP) install $(METADRIVE)
	@touch $@

install: $(STAMP) ## Set .venv up, and nothing else

train: $(STAMP)  ## Train an ego on procedural scenes under attack, evaluate it, draw it (6 minutes on 2 cores)
	$(BIN)/python -m harness.train_ego best --train-scenes 64 --val-scenes 16 --test-scenes 16 --steps 1_500_000

test: $(STAMP)   ## Lint, check types, run the default suite
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	# One thread each: more of them only wait for one another. In the order of the files, in which short ones come last.
	# A process that dies ends the run: with another in its place the run may wait for ever for what was lost.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --max-worker-restart 0

test-all: $(STAMP)  ## Everything, slow tests included (real scenes: set GAUNTLET_WOMD to a folder of WOMD scenes)
	$(BIN)/python -m pytest -m ''

fuzz: $(STAMP)   ## Damaged files of every format: no traceback, no hang, bounded memory (make fuzz CASES=10000 SEED=0)
	$(BIN)/python -m tests.fuzz --cases $(CASES) --seed $(SEED)

kills: $(STAMP)  ## Kill and resume a benchmark and a training, and compare (make kills KILLS=50 TRAIN_KILLS=20)
	$(BIN)/python -m tests.kills benchmark --kills $(KILLS)
	$(BIN)/python -m tests.kills train_ego --kills $(TRAIN_KILLS)
	$(BIN)/python -m tests.kills train_fast --kills $(TRAIN_KILLS)

lint: $(STAMP)   ## Format the code and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(STAMP)  ## Check types
	$(BIN)/mypy

$(DOCS): $(STAMP)
	$(PIP) install -c constraints.txt -e '.[docs]'
	@touch $@

docs: $(DOCS)    ## Build the documentation site into site/: no warnings, no network
	$(BIN)/python -m scripts.docs_site build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --config-file build/docs/mkdocs.yml

$(NOTEBOOKS): $(STAMP)
	$(PIP) install -c constraints.txt -e '.[notebooks]'
	@touch $@

notebooks: $(NOTEBOOKS) ## Run the notebooks of docs/notebooks/ anew, and keep what they show
	$(BIN)/python -m scripts.run_notebooks

scenes: $(STAMP) ## Generate the 200 + 50 procedural scenes
	$(BIN)/python -m harness.scenarios generate

perf: $(STAMP)   ## Speed against stock MetaDrive, on procedural scenes
	$(BIN)/python -m harness.perf

clean:           ## Remove the environment (your runs and scenes stay)
	rm -rf $(VENV)
