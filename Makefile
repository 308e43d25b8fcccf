.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help install run studio test lint types tensorboard clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/installed ## create .venv and install the project with the tested versions

run: .venv/installed ## repair the example picture; ARGS="data.image=PHOTO data.mask=MASK" for your own
	$(BIN)/python train.py $(ARGS)

studio: .venv/installed ## repair in the browser: paint, watch, compare; PHOTO=photo.jpg to begin with one
	$(BIN)/python scripts/studio.py $(PHOTO)

test: .venv/installed ## run the tests
	$(BIN)/pytest $(ARGS)

lint: .venv/installed ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed ## check types
	$(BIN)/pyright

tensorboard: .venv/installed ## watch the runs under outputs/ in the browser, all pictures of them
	$(BIN)/tensorboard --logdir outputs --samples_per_plugin images=100

clean: ## remove .venv and caches; outputs/ stays
	rm -rf .venv .pytest_cache .ruff_cache build src/*.egg-info

# One file stands for the whole environment, so that every verb works first and nothing is installed twice.
# Bytecode is compiled on all cores, where pip uses one, without the packages' own tests. It fails for templates of
# packages, which are no Python.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable ".[dev]"
	$(BIN)/python -m compileall -qq -j 0 -x '/tests?/' .venv/lib || true
	touch $@
