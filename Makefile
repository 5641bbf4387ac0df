# Everything a person or CI runs. Needs Python 3.11 or newer and make; everything else goes into .venv.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
JOBS ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# One thread per process: parallel tests and runs share the cores instead of fighting for them.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
PYTEST := $(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS)

.PHONY: help demo test test-slow test-gpu check format stubs docs bench bench-gpu clean

help:  ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/' | column -t -s:

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "logclock needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

# One stamp per set of extras, so that `make demo` installs no test tools.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing logclock[$*] into $(VENV) (PyTorch is large: the first time takes a few minutes)"
	$(PIP) --editable '.[$*]'
	@touch $@

demo: $(VENV)/.installed-bench  ## Train AdamW, ADANA and Dana-Star-MK4 on real text and write runs/demo/report.html
	$(BIN)/logclock compare adamw adana dana-star-mk4 --recipe demo --out runs/demo

test: $(VENV)/.installed-bench,test,docs  ## Run the tests
	$(PYTEST) -m "not slow and not gpu"

test-slow: $(VENV)/.installed-bench,test,docs,ray  ## Run the tests that take minutes or need a registry
	$(PYTEST) -m slow

# What needs a GPU is skipped with a line that says so where torch finds none.
WITH_GPU = if $(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then $(1); else \
	echo "$@: skipped, torch finds no CUDA device on this machine"; fi

test-gpu: $(VENV)/.installed-bench,test  ## Run the contract, golden runs, graphs and FSDP2 on a CUDA device
	@$(call WITH_GPU,$(ONE_THREAD) $(BIN)/python -m pytest tests/gpu tests/backends/test_triton.py)

check: $(VENV)/.installed-bench,test,lint  ## Check format, lint, types and layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py

format: $(VENV)/.installed-bench,test,lint  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

stubs: $(VENV)/.installed-bench  ## Write the type stubs of optimizers and specs
	$(BIN)/python -c 'from logclock.optim.stubs import write_stubs; write_stubs()'

docs: $(VENV)/.installed-bench,test,docs  ## Build the documentation into docs/_build/html
	$(BIN)/sphinx-build -W -q -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

bench: $(VENV)/.installed-bench  ## Measure step time and memory (keep the machine idle)
	$(BIN)/python benchmarks/step_time.py
	$(BIN)/python benchmarks/matrix_step_time.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/training_step.py

bench-gpu: $(VENV)/.installed-bench,test  ## Measure step time on a CUDA device; print what its kernels compile to
	$(BIN)/python benchmarks/gpu_compile.py
	@$(call WITH_GPU,$(BIN)/python benchmarks/step_time.py --device cuda)

clean:  ## Remove the environment and build products (runs and corpora stay)
	rm -rf $(VENV) build dist docs/_build docs/_generated .pytest_cache .mypy_cache .ruff_cache
