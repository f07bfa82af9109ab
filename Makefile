# `make demo` and `make test` need Python 3.11 or 3.12 and make; no ROS, no GPU.

PYTHON ?= $(firstword $(foreach v,3.12 3.11,$(if $(shell python$(v) -c '' 2>/dev/null && echo yes),python$(v))) python3)
VENV ?= .venv
BIN := $(VENV)/bin
# The variables bind pip's build environments, too: which of them does it depends on pip's version.
PIP := PIP_CONSTRAINT=requirements/constraints.txt PIP_BUILD_CONSTRAINT=requirements/constraints.txt \
  $(BIN)/python -m pip --disable-pip-version-check install --quiet
INPUT ?= scene:7
OUT ?= out/demo
DATA ?= data
RUNS ?= runs

.PHONY: demo test lint bench models env env-test clean

env: $(VENV)/.runtime

env-test: $(VENV)/.test

$(VENV)/bin/python:
	@echo '[1/3] creating the Python environment in $(VENV)'
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' \
	  || { echo 'error: $(PYTHON) is neither Python 3.11 nor 3.12, for which rclpy is on PyPI; set PYTHON=python3.12'; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: $(VENV)/bin/python requirements/runtime.txt requirements/ros.txt requirements/constraints.txt
	@echo '[2/3] installing the pinned requirements (ROS 2 Jazzy rclpy, ONNX Runtime, OpenCV)'
	@$(PIP) --no-deps --editable . $$(grep -E '^(llvmlite|numba|numpy|opencv|platformdirs)' requirements/constraints.txt)
	@$(BIN)/python -c 'import seg_perception.pipeline, seg_perception.scene' & \
	  $(PIP) --requirement requirements/runtime.txt --requirement requirements/ros.txt && wait
	@touch $@

$(VENV)/.test: $(VENV)/.runtime requirements/test.txt requirements/train.txt
	@echo '[3/3] installing the test requirements (pytest, PyTorch, TensorRT-RTX)'
	@$(PIP) --requirement requirements/test.txt --requirement requirements/train.txt
	@touch $@

demo: env  ## Drive the real node with INPUT (scene, video, bag or folder) and write OUT
	@echo '[3/3] driving the node with $(INPUT)'
	@$(BIN)/python -m seg_perception demo $(INPUT) --out $(OUT)

lint: env-test
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

test: env-test lint  ## Everything that needs no GPU
	@$(BIN)/python -m pytest

bench: env  ## Engine against whole frame against the hand-written loop
	@$(BIN)/python -m seg_perception bench

models: env-test  ## Train and export the shipped models from DATA (docs/models.md) into RUNS; again to go on
	@PATH="$(abspath $(BIN)):$$PATH" sh config/training/models.sh $(DATA) $(RUNS) $(TRAIN)

clean:
	rm -rf $(VENV) build install log out .pytest_cache .mypy_cache .ruff_cache
