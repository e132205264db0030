# `make` lists what there is. Everything runs from .venv, which is made on first use and renewed when its recipe changes.
PYTHON ?= python3
BIN := .venv/bin
# One thread for each process: on shared cores two OpenMP threads can be ten times slower than one.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help install quickstart test test-slow lint format bench docs constraints clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | while IFS="$$(printf '\t')" read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

install: .venv/installed ## install avrec with all extras into .venv (the versions of constraints.txt)

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "avrec needs Python 3.11 or newer, this is %s. Name another: make PYTHON=python3.12" % sys.version.split()[0])'
	@echo "== installing into .venv (PyTorch is large: some minutes)"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all]'
	@touch $@

quickstart: install ## from media files to recommendations: make short films, train, evaluate, export, recommend
	$(BIN)/python train.py +experiment=quickstart run_dir=runs/quickstart
	$(BIN)/python export.py ckpt=runs/quickstart/model.pt bundle_dir=runs/quickstart/bundle
	$(BIN)/avrec recommend bundle_dir=runs/quickstart/bundle user=user00000

test: lint ## every check, and every test that is not marked slow
	@echo "== tests"
	$(ONE_THREAD) $(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-slow: install ## the tests marked slow
	@echo "== slow tests"
	$(ONE_THREAD) $(BIN)/python -m pytest -m slow -n 2 --dist worksteal --durations=30

lint: install ## style, format, types, import contracts, stripped notebooks, spelling
	@echo "== ruff check: style"
	@$(BIN)/ruff check .
	@echo "== ruff format: layout (make format mends it)"
	@$(BIN)/ruff format --check .
	@echo "== mypy --strict: types of avrec/"
	@$(BIN)/mypy
	@echo "== import-linter: floors and walls"
	@$(BIN)/lint-imports
	@echo "== nbstripout: notebooks without outputs (make format strips them)"
	@$(BIN)/nbstripout --verify notebooks/*.ipynb
	@echo "== codespell: spelling"
	@$(BIN)/codespell

format: install ## rewrite the files in the house's layout
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/nbstripout notebooks/*.ipynb

bench: install ## time and peak memory of one evaluation, beside implicit's evaluator
	$(BIN)/python benchmarks/evaluation.py

docs: install ## check that links, commands and targets named in the documents exist
	$(BIN)/python -m pytest tests/test_documents.py

constraints: ## renew constraints.txt: a new .venv with the newest versions that pyproject.toml allows
	rm -rf .venv
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[all]'
	(sed -n '/^#/p' constraints.txt; $(BIN)/python -m pip freeze --all --exclude-editable --exclude pip | sed 's/+[a-z0-9.]*$$//' | tr 'A-Z_' 'a-z-' | LC_ALL=C sort) > constraints.new
	mv constraints.new constraints.txt
	@touch .venv/installed
	@echo "Look at the difference, then run: make test"

clean: ## remove .venv, caches and build output; runs/ and data/ stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
