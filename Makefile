# Two commands do everything: `make example` runs the main job on example_images/, `make test` passes all tests.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

# On Linux, torch from PyPI brings gigabytes of CUDA. So its CPU build comes first: from where pip looks anyway, else from PyTorch's index.
CPU_TORCH = $(BIN)/python -m pip install --quiet torch==2.13.0+cpu 2>/dev/null \
	|| $(BIN)/python -m pip install --quiet torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu

.PHONY: example test lint unit plugin display clean

example: $(VENV)/installed
	$(BIN)/ifquant run -r example_images/recipe.toml --samples example_images/samples.csv -o results

test: $(VENV)/installed-dev lint unit plugin

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/installed-dev
	NUMBA_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# The napari plugin in real windows with OpenGL and both Qt bindings, on a screen of its own (Xvfb).
plugin: $(VENV)/installed-plugin display
	cd plugins/napari-ifquant && QT_API=pyside6 NUMBA_NUM_THREADS=1 OMP_NUM_THREADS=1 $(abspath $(BIN))/python -m pytest
	cd plugins/napari-ifquant && QT_API=pyqt6 NUMBA_NUM_THREADS=1 OMP_NUM_THREADS=1 $(abspath $(BIN))/python -m pytest tests/test_command.py tests/test_windows.py tests/test_keys_in_windows.py tests/test_guard_in_windows.py tests/test_end_of_review.py tests/test_log_model.py -k "review or gates or keys or guard"

# Installs what windows need where that is allowed; elsewhere it says which packages are missing, and fails under CI=true.
display: $(VENV)/bin/python
	$(BIN)/python plugins/napari-ifquant/tests/screen_needs.py

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

$(VENV)/installed-plugin: $(VENV)/installed-dev plugins/napari-ifquant/pyproject.toml
	$(BIN)/python -m pip install --quiet -e "plugins/napari-ifquant[test]"
	touch $@

clean:
	rm -rf $(VENV) results build dist
