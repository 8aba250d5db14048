# `make demo` and `make test` do everything, set-up included, on a machine with python3 and make; `make` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
WORKERS ?= auto
MYPY := $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal  # what tests of a module share is made once, not twice

# Whoever's shell forbids it would have each of the tests' many processes compile torch and the rest anew: twice the time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install check lint format types warm test-fast test test-benchmarks coverage test-cluster test-gpu demo train-demo lmm-demo bench compare docs lock package clean

help:  ## list what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/installed  ## set everything up in .venv, once

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade pip  # what old Pythons bring takes twice as long for the rest
	$(PIP) install --quiet --no-compile -c constraints.txt -e '.[dev,demo]'  # what is imported is compiled then
	touch $@

check: lint types  ## style and types

lint: install  ## ruff: style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install  ## mend what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The package is checked as the wheel that users get, not as the folders that it is made of. build/ goes first: setuptools
# would pack what an earlier build left there, files since removed included. The scripts are checked from their own folder,
# where codecsieve is found as users find it: because it is installed.
types: install  ## mypy on the wheel; mypy and pyright on a user's scripts
	rm -rf build
	$(PIP) wheel --quiet --no-deps -w build/wheel .
	$(PIP) install --quiet --no-deps --target build/typed build/wheel/*.whl
	cd build/typed && $(MYPY) --cache-dir $(CURDIR)/.mypy_cache/package -p codecsieve
	cd tests/typing && $(MYPY) --cache-dir $(CURDIR)/.mypy_cache/script --strict user_script.py wrong_options.py
	cd tests/typing && $(CURDIR)/$(BIN)/pyright --pythonpath $(CURDIR)/$(BIN)/python

# Before the tests' workers start, each of which would compile them for itself.
warm: install  ## compile the processor's kernels
	$(BIN)/python -c 'from codecsieve.pipelines.sieve.warm import warm_up; warm_up()'

test-fast: warm  ## the quick tests of every folder, four minutes on two cores
	$(PYTEST) -m 'not slow'

test: install  ## style, types and all tests: what continuous integration runs
	$(MAKE) --no-print-directory -j 2 check warm
	$(PYTEST)

test-benchmarks: warm  ## that each benchmark measures what it says, minutes long
	$(BIN)/python -m pytest -m benchmark

# By itself: tracing every line makes the tests that draw their cases several times as long.
coverage: warm  ## all tests, and which lines they reach
	$(PYTEST) --cov --cov-report=term

# Alone on the machine: a cluster that cannot get the cores it counts on gives its nodes up for lost.
test-cluster: warm  ## runs and services on Ray, in clusters of this machine's own
	$(BIN)/python -m pytest -m cluster

test-gpu: install  ## on a machine with an NVIDIA GPU: kernels, NVDEC and whole caches against the processor's
	$(PIP) install --quiet -c constraints.txt -e '.[dev,demo,gpu,dali]'
	$(BIN)/python -m pytest -m gpu

demo: install  ## sieve four real clips: demo/cache, demo/kept.png
	$(BIN)/codecsieve demo --out demo

# Threads that wait for each other sleep: where others use the cores, too, a step takes many seconds otherwise.
train-demo: install warm  ## train a tiny encoder on clips drawn from photos: train-demo/curves.png
	rm -rf train-demo
	OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.training.demo --out train-demo --seeds 2

lmm-demo: install warm  ## have a tiny language model learn to answer questions about clips: lmm-demo/figures.json
	rm -rf lmm-demo
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.language.demo --out lmm-demo

bench: install  ## measure this machine: tables, and JSON in benchmarks/results
	$(PIP) install --quiet -c constraints.txt -e '.[bench,stores]'
	$(BIN)/python -m benchmarks.speed.throughput
	$(BIN)/python -m benchmarks.speed.length
	$(BIN)/python -m benchmarks.speed.memory
	$(BIN)/python -m benchmarks.speed.cache
	$(BIN)/python -m benchmarks.speed.loader
	$(BIN)/python -m benchmarks.speed.stores
	$(BIN)/python -m benchmarks.speed.first_batch

# Offline, and no warning is let pass. docs/conf.py says what it is made of.
docs: install  ## the book, as a site: build/book/index.html
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -b html docs build/book

lock: install  ## what the images hold, with hashes: deploy/image-*.txt
	$(PIP) install --quiet uv
	$(BIN)/python deploy/lock.py

package: install  ## wheel and sdist, each tried in an environment of its own: PYTHONS='python3.11 python3.12'
	rm -rf build dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python deploy/try_package.py dist $(or $(PYTHONS),$(PYTHON))

# VIDEOS=FOLDER, or several; LABELLED=FOLDER where there is one with labels.csv. PUBLISH=1 writes what docs/compare.md shows.
compare: install  ## beside other people's tools from PyPI: one table
	$(BIN)/python -m benchmarks.compare.run $(addprefix --videos ,$(VIDEOS)) $(addprefix --labelled ,$(LABELLED)) \
	  $(if $(PUBLISH),--publish)

clean:  ## remove what was made, except .venv
	rm -rf build dist demo train-demo lmm-demo .pytest_cache .mypy_cache .ruff_cache .coverage
