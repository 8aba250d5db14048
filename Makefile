# Two commands do everything, set-up included, on a machine with python3 and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= auto

.PHONY: demo test test-gpu lint types pytest install bench clean

demo: install
	$(BIN)/codecsieve demo --out demo

test: lint types pytest

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,demo]'
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Types are checked on the wheel that users get, not on the folders that it is made of.
types: install
	rm -rf build/lib build/wheel build/typed
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w build/wheel .
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target build/typed build/wheel/*.whl
	MYPYPATH=build/typed $(BIN)/mypy -p codecsieve

pytest: install
	$(BIN)/python -c 'from codecsieve.pipelines.sieve.warm import warm_up; warm_up()'
	$(BIN)/python -m pytest -n $(WORKERS) --cov --cov-report=term

# On a machine with an NVIDIA GPU: the kernels, NVDEC and whole caches, against the processor's.
test-gpu: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,demo,gpu,dali]'
	$(BIN)/python -m pytest -m gpu

bench: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks.speed.throughput
	$(BIN)/python -m benchmarks.speed.length
	$(BIN)/python -m benchmarks.speed.memory
	$(BIN)/python -m benchmarks.speed.cache
	$(BIN)/python -m benchmarks.speed.loader

clean:
	rm -rf build demo .pytest_cache .mypy_cache .ruff_cache .coverage
