# For developers. `make` alone lists what there is; every target sets up .venv first where it must.
.PHONY: help demo test test-fast test-newest check docs sample-data clean

VENV := .venv/bin
DEMO ?= demo
OPENCV4 ?= 4.14.0.94
# Two tests side by side, with one thread of the numerical libraries each.
PYTEST := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(VENV)/python -m pytest -q -n 2 --dist worksteal

help:
	@echo "make demo         the whole chain on the sample project, into ./$(DEMO)"
	@echo "make test         every test, then those that use OpenCV once more with OpenCV 4"
	@echo "make test-fast    the tests that take less than about five seconds each"
	@echo "make test-newest  the same on the newest Python installed (in .venv-newest), where .venv has an older one"
	@echo "make check        ruff, mypy --strict, import layers"
	@echo "make docs         the documentation as a site in build/docs"
	@echo "make sample-data  render sample_data/ anew"

.venv/installed: setup.cfg pyproject.toml .ci/setup
	sh .ci/setup

# OpenCV 4 beside the OpenCV of the environment: found first through PYTHONPATH.
.opencv4/installed: | .venv/installed
	rm -rf .opencv4
	$(VENV)/python -m pip install -q --no-deps --target .opencv4 opencv-contrib-python==$(OPENCV4)
	touch $@

demo: .venv/installed
	rm -rf $(DEMO)
	$(VENV)/multipose demo $(DEMO)

test: .venv/installed .opencv4/installed
	PYTHONPATH=.opencv4 $(VENV)/python -c 'import cv2; assert cv2.__version__.startswith("4."), cv2.__version__'
	PYTHONPATH=.opencv4 $(PYTEST) -m opencv
	$(PYTEST)

test-fast: .venv/installed
	$(PYTEST) -m "not slow"

test-newest: .venv/installed
	.ci/test-newest

check: .venv/installed
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	rm -rf build/lib build/installed
	$(VENV)/python -m pip install -q --no-deps --target build/installed .
	cd build/installed && ../../$(VENV)/lint-imports --no-cache --config ../../setup.cfg
	cd build/installed && ../../$(VENV)/mypy --config-file ../../setup.cfg -p multipose

docs: .venv/installed
	$(VENV)/python docs/make_cli.py
	$(VENV)/mkdocs build --strict

sample-data: .venv/installed
	$(VENV)/python sample_data/generate.py

clean:
	rm -rf .venv .venv-newest .opencv4 build $(DEMO)
