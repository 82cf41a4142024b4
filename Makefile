# make demo: everything from nothing to a table.   make test: everything that is checked.   make help: the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
SOURCES := pyproject.toml CMakeLists.txt constraints.txt $(shell find engine -name '*.[ch]pp' -o -name CMakeLists.txt)

.PHONY: help demo test setup lint types layers engine-test engine-test-aarch64 unit docs format clean

help:  ## Show what can be made
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

$(VENV)/installed: $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt torch numpy 'scikit-build-core>=1.1' 'nanobind>=3.1,<4' cmake ninja
	$(PIP) install -c constraints.txt --no-build-isolation -e '.[train]'
	touch $@

$(VENV)/ready: $(VENV)/installed
	$(PIP) install -c constraints.txt --no-build-isolation -e '.[dev]'
	touch $@

$(VENV)-st5/ready: $(VENV)/ready tests/interop/make_st5.sh
	tests/interop/make_st5.sh $(BIN)/python
	touch $@

setup: $(VENV)/ready  ## Make the virtual environment and build the engine into it

demo: $(VENV)/installed  ## Train, mine, score, distil, index, search and measure on the bundled collection
	$(BIN)/everglade demo --out demo-run $(DEMO)

test: lint types layers engine-test unit  ## Check everything

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/ready
	$(BIN)/mypy

layers: $(VENV)/ready
	$(BIN)/lint-imports

engine-test: $(VENV)/ready  ## Build the engine without Python and run its own tests
	$(BIN)/cmake -S . -B build/engine -DEVERGLADE_ENGINE_TESTS=ON >build/engine.log
	$(BIN)/cmake --build build/engine --parallel >>build/engine.log
	$(BIN)/ctest --test-dir build/engine --output-on-failure

engine-test-aarch64: $(VENV)/ready  ## The same for aarch64, emulated (wants aarch64-linux-gnu-g++ and qemu-aarch64)
	$(BIN)/cmake -S . -B build/aarch64 -DEVERGLADE_ENGINE_TESTS=ON \
	  -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ \
	  '-DCMAKE_CROSSCOMPILING_EMULATOR=qemu-aarch64;-L;/usr/aarch64-linux-gnu' >build/aarch64.log
	$(BIN)/cmake --build build/aarch64 --parallel >>build/aarch64.log
	$(BIN)/ctest --test-dir build/aarch64 --output-on-failure

unit: $(VENV)/ready $(VENV)-st5/ready
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

docs: $(VENV)/ready  ## Write docs/cli.md again from the commands' own help
	$(BIN)/python -m everglade.cli.reference >docs/cli.md

format: $(VENV)/ready  ## Put the Python sources into the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove everything that was made
	rm -rf $(VENV) $(VENV)-st5 build demo-run
