# `make demo` and `make test` need nothing but git, make and Python 3.11 with venv; scripts/setup does the rest.
export PATH := $(CURDIR)/.tools/bin:$(PATH)
BIN := .venv/bin
PYTHON_FOLDERS := chipsmith workloads models sim rtl dse tests benchmarks scripts/wheel_contents scripts/build_docs

.PHONY: setup demo test check bench verify docs warm

setup:
	scripts/setup

demo:
	scripts/setup demo
	$(BIN)/chipsmith demo

# One process compiles the kernels first: two test workers would compile each of them twice.
warm: setup
	scripts/warm

test: warm
	NUMBA_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadgroup

check: setup
	$(BIN)/ruff check $(PYTHON_FOLDERS)
	$(BIN)/ruff format --check $(PYTHON_FOLDERS)
	$(BIN)/mypy $(PYTHON_FOLDERS)

bench: setup
	$(BIN)/python -m benchmarks.run

verify: setup
	$(BIN)/chipsmith rtl verify --matrix full
	$(BIN)/chipsmith rtl verify --unit pim_bank --matrix full

docs: setup
	$(BIN)/mkdocs build --strict
