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

test: $(VENV)/installed-dev lint unit

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/installed-dev
	NUMBA_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# The napari plugin in real windows, with both Qt bindings: on a screen of its own (Xvfb), with OpenGL. Not yet part of `test`.
plugin: $(VENV)/installed-plugin display
	cd plugins/napari-ifquant && QT_API=pyside6 NUMBA_NUM_THREADS=1 OMP_NUM_THREADS=1 $(abspath $(BIN))/python -m pytest
	cd plugins/napari-ifquant && QT_API=pyqt6 NUMBA_NUM_THREADS=1 OMP_NUM_THREADS=1 $(abspath $(BIN))/python -m pytest tests/test_windows.py -k "review or gates"

# Installs what windows need where that is allowed; elsewhere the tests say which packages are missing (and fail under CI=true).
DISPLAY_PACKAGES = xvfb libxcb-icccm4 libxcb-keysyms1 libxcb-cursor0 libxcb-image0 libxcb-randr0 libxcb-render-util0 libxcb-shape0 \
	libxcb-xkb1 libxkbcommon-x11-0 libegl1 libgl1 libgl1-mesa-dri libglx-mesa0 libopengl0 libdbus-1-3 libfontconfig1
display:
	@if [ "$$(uname)" = Linux ] && ! command -v Xvfb >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		(apt-get update -qq && apt-get install -y -qq --no-install-recommends $(DISPLAY_PACKAGES)) || echo "*** could not install: $(DISPLAY_PACKAGES)"; \
	fi

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
