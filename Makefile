# Two commands do everything: `make example` runs the main job on example_images/, `make test` passes all tests.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

# On Linux, torch from PyPI brings gigabytes of CUDA. So its CPU build comes first: from where pip looks anyway, else from PyTorch's index.
CPU_TORCH = $(BIN)/python -m pip install --quiet torch==2.13.0+cpu 2>/dev/null \
	|| $(BIN)/python -m pip install --quiet torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu

.PHONY: example test lint unit clean

example: $(VENV)/installed
	$(BIN)/ifquant run -r example_images/recipe.toml --samples example_images/samples.csv -o results

test: $(VENV)/installed-dev lint unit

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/installed-dev
	NUMBA_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/bin/python pyproject.toml
	$(CPU_TORCH)
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(VENV)/cellpose3 cellpose==3.1.1.3 "numpy>=2,<2.1"
	touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) results build dist
