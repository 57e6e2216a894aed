# Everything a fresh machine needs: Python >= 3.11, pip, make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
FER2013 ?= ../shared/data/fer2013.zip
BUNDLE ?= models/oslo
WORKERS ?= 2
SECONDS ?= 600
SEED ?= 0
GALLERY ?= 1
GIGABYTES ?= 20
IMAGES ?= 50000

.DEFAULT_GOAL := help
.PHONY: help demo test test-all fuzz studies lint format docs wheel release readme lock bench-line bench-runtimes bench-peers bench-scale bench-cluster bench-serve bench-sizes bench-faces clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cnnboost needs Python >= 3.11; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(VENV)/.installed ## train, cut, boost and score on handwritten digits, in under a minute
	$(BIN)/cnnboost run digits

test: $(VENV)/.installed ## run the tests but the slow ones, one file at a time in each of WORKERS processes
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not slow"

test-all: $(VENV)/.installed ## run every test
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

fuzz: $(VENV)/.installed ## damage every kind of file that is read and have it read; SECONDS=600 SEED=0
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) --seed $(SEED)

studies: $(VENV)/.installed ## train and score what is left of the studies, one after the other; FER2013=path
	CNNBOOST=$(BIN)/cnnboost CNNBOOST_DATA=$(FER2013) pipelines/queue.sh
	CNNBOOST=$(BIN)/cnnboost CNNBOOST_DATA=$(FER2013) pipelines/queue.sh pipelines/networks.txt
	$(BIN)/cnnboost compare --networks

lint: $(VENV)/.installed ## check format, lint, types and import direction; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed ## rewrite files in the house format
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

docs: $(VENV)/.installed ## build the site into build/docs; GALLERY=0 does not run the examples
	$(BIN)/python -m sphinx -q -W --keep-going -b html -D sphinx_gallery_conf.plot_gallery=$(GALLERY) docs build/docs

wheel: $(VENV)/.installed ## build the wheel into dist/
	$(BIN)/python -m build --wheel --no-isolation

release: $(VENV)/.installed ## build wheel and sdist into dist/, check them, and try the wheel in an environment of its own
	rm -rf dist build/release
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m twine check --strict dist/*
	$(PYTHON) -m venv build/release/venv
	build/release/venv/bin/python -m pip install --quiet --disable-pip-version-check -c requirements.lock dist/*.whl
	mkdir build/release/empty
	cd build/release/empty && export PYTHONPATH= && ../venv/bin/cnnboost run digits \
	  && ../venv/bin/cnnboost init digits --out mine.toml && ../venv/bin/cnnboost run mine.toml --set cnn.epochs=1

bench-line: $(VENV)/.installed ## measure speed and memory of the line against plain libraries; FER2013=path
	$(BIN)/python tests/benchmarks/line.py --data $(FER2013) --json reports/bench-line.json

bench-runtimes: $(VENV)/.installed ## compare ways to run an exported hybrid; BUNDLE=folder FER2013=path
	$(BIN)/python tests/benchmarks/runtimes.py --bundle $(BUNDLE) --data $(FER2013) --json reports/oslo/runtimes.json

bench-peers: $(VENV)/.installed ## compare the bundles that ship with the package fer; FER_PYTHON=its interpreter FER2013=path
	@test -n "$(FER_PYTHON)" || { echo "name the interpreter of an environment with fer: FER_PYTHON=path"; exit 2; }
	for recipe in fer2013 fer2013_fast; do \
	  $(BIN)/python tests/benchmarks/peers.py --bundle models/$$recipe --recipe $$recipe --fer-python $(FER_PYTHON) \
	    --data $(FER2013) --json reports/$$recipe/peers.json || exit 1; done

bench-scale: $(VENV)/.installed ## measure fits and extractions that are larger than memory; GIGABYTES=20 IMAGES=50000
	$(BIN)/python -m tests.benchmarks.scale --gigabytes $(GIGABYTES) --images $(IMAGES) --json reports/bench-scale.json

bench-serve: $(VENV)/.installed ## measure the server, its page and the standalone folder; FER2013=path
	$(BIN)/python -m tests.benchmarks.serve --data $(FER2013) --json reports/bench-serve.json

bench-sizes: $(VENV)/.installed ## measure what the packages and the standalone folder take on a disk
	$(BIN)/python -m tests.benchmarks.sizes --json reports/bench-sizes.json

bench-cluster: $(VENV)/.installed ## measure 1, 2, ... workers of a Dask cluster on this machine; CLUSTER_GIGABYTES=5 DASK_WORKERS=1,2
	$(BIN)/python -m tests.benchmarks.cluster --gigabytes $(or $(CLUSTER_GIGABYTES),5) --workers $(or $(DASK_WORKERS),1,2) --json reports/bench-scale.json

bench-faces: $(VENV)/.installed ## compare detectors of faces on photographs; FER_PYTHON=, OTHERS_PYTHON=interpreters
	$(BIN)/python -m tests.benchmarks.faces --json reports/bench-faces.json --pictures $(or $(PICTURES),build/faces) \
	  $(if $(FER_PYTHON),--fer-python $(FER_PYTHON)) $(if $(OTHERS_PYTHON),--others-python $(OTHERS_PYTHON))

readme: $(VENV)/.installed ## write the figures of the reports into README and docs
	$(BIN)/python -m tests.readme

lock: $(VENV)/.installed ## write the versions in .venv to requirements.lock
	@{ echo "# Versions that are tested together; 'make lock' writes this file."; \
	  $(BIN)/python -m pip freeze --exclude-editable | grep -vi '^-e\|^cnnboost' \
	  | sed -E -e 's/^(nvidia-nccl.*)$$/\1 ; platform_system == "Linux"/' -e 's/^(uvloop.*)$$/\1 ; platform_system != "Windows"/'; } > requirements.lock.tmp
	mv requirements.lock.tmp requirements.lock

clean: ## remove what can be built again, except the environment
	rm -rf dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
