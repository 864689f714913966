# The verbs of this repository. `make help` lists them; each does its own set-up first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Most tests wait for a cluster or a server: some at once, whatever the number of processors. A file's
# tests share servers, so they stay together. Whole runs first: the small ones fill the end. Only the
# README's commands use the sandbox's own addresses; every other test takes ports that are free.
# (`--ignore` does not hold for a folder that testpaths names.)
TOGETHER := $(addprefix tests/,docs flow cli deploy contract unit)
AT_ONCE := -n 4 --dist loadfile --no-loadscope-reorder
# The end-to-end tests that need no team of workers.
NO_TEAM := tests/e2e/test_other_prefect_servers.py
# Beside the team's: `make e2e BESIDE="tests/docs tests/flow"` plays fewer.
BESIDE := $(NO_TEAM) $(TOGETHER) tests/chaos
NONE_CHOSEN := 5
OTHER_PYTHONS := 3.12 3.13 3.14
PYTHON_TESTS := tests/unit tests/contract
export PREFECT_SERVER_ANALYTICS_ENABLED ?= false
# Tests start many processes: what Python has compiled for one is kept for the next.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo sandbox test pythons on-this-python chaos bench e2e e2e-team e2e-beside pictures check fmt docs site lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.dev  ## virtual environment with everything, for working on obscale

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "obscale needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: constraints-run.txt pyproject.toml | $(BIN)/python
	@echo "installing what obscale runs on (once, about a minute) ..."
	@$(PIP) install --no-deps --require-hashes -r constraints-run.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: constraints.txt $(VENV)/.run
	@echo "installing what obscale is tested with (once) ..."
	@$(PIP) install --no-deps --require-hashes -r constraints.txt
	@touch $@

$(VENV)/.e2e: constraints-e2e.txt $(VENV)/.site
	@echo "installing what the end-to-end tests need (once) ..."
	@$(PIP) install --no-deps --require-hashes -r constraints-e2e.txt
	@{ command -v chromium && command -v redis-server && ls /usr/lib/postgresql/*/bin/initdb /usr/share/fonts/truetype/wqy; } >/dev/null 2>&1 \
	  || { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends chromium fonts-wqy-zenhei postgresql redis-server; } >/dev/null \
	  || { echo "needs chromium, postgresql and redis-server: sudo apt-get install chromium fonts-wqy-zenhei postgresql redis-server"; exit 1; }
	@touch $@

$(VENV)/.site: constraints-site.txt $(VENV)/.dev
	@echo "installing what the site is built with (once) ..."
	@$(PIP) install --no-deps --require-hashes -r constraints-site.txt
	@touch $@

demo: $(VENV)/.run  ## watch a simulated cluster grow by one observer (ARGS="--ui" opens the Prefect UI too)
	@$(BIN)/obscale demo $(ARGS)

sandbox: $(VENV)/.run  ## simulated clusters until Ctrl-C
	@$(BIN)/obscale sandbox $(ARGS)

test: $(VENV)/.dev  ## the tests (ARGS="-k name" or ARGS="tests/unit/test_sizes.py" for some)
ifneq ($(findstring tests/,$(ARGS)),)
	@$(BIN)/python -m pytest $(ARGS)
else
	@$(BIN)/python -m pytest $(AT_ONCE) -m "not e2e" $(TOGETHER) $(ARGS) || [ $$? -eq $(NONE_CHOSEN) ]
endif

pythons:  ## unit and contract tests and a demo on the other Pythons that are here (ARGS="3.13" for one, PYTHON_TESTS=tests/unit for fewer)
	@for each in $(or $(ARGS),$(OTHER_PYTHONS)); do \
	  python$$each -c '' 2>/dev/null || { echo "python$$each is not here: left out"; continue; }; \
	  echo "python$$each:" && $(MAKE) --no-print-directory PYTHON=python$$each VENV=$(VENV)-$$each on-this-python || exit 1; \
	done

on-this-python: $(VENV)/.dev
	@$(BIN)/python -m pytest $(AT_ONCE) -m "not e2e" $(PYTHON_TESTS) -q
	@$(BIN)/obscale demo --speed 40

bench: $(VENV)/.dev  ## how fast, beside the official SDK (ARGS="a b" for some parts, "--repeat 3", "--out FILE")
	@$(BIN)/python -m benchmarks $(ARGS)

e2e: $(VENV)/.e2e  ## server on PostgreSQL and Redis, workers, Chromium, real kills (ARGS="-k name" for some)
	@$(MAKE) --no-print-directory -j 2 e2e-team e2e-beside

e2e-team:
	@$(BIN)/python -m pytest tests/e2e $(NO_TEAM:%=--ignore %) $(ARGS) || [ $$? -eq $(NONE_CHOSEN) ]

e2e-beside:
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m e2e $(BESIDE) $(ARGS) || [ $$? -eq $(NONE_CHOSEN) ]

pictures: $(VENV)/.e2e  ## take over into docs/pictures what the last `make e2e` saw
	@$(BIN)/python -m tests.e2e.pictures

chaos: $(VENV)/.dev  ## every fault in every phase, and seeded kills of runs and batches (ARGS="--matrix", ARGS="--kills 200 --seed 7", ARGS="--batches 50", ARGS="--operation remove")
	@$(BIN)/python -m tests.chaos $(ARGS)

check: $(VENV)/.site  ## format, lint, types, import directions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/python -m pytest -q tests/unit/test_import_directions.py

fmt: $(VENV)/.dev  ## put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.run  ## write the pages that are made of the code
	$(BIN)/python -m pages
	$(BIN)/python -m obscale.preflight.catalogue zh > docs/zh/preflight.md
	$(BIN)/python -m obscale.removal.catalogue zh > docs/zh/removal-rules.md
	$(BIN)/python -m tests.docs.json_page > docs/json.md

site: $(VENV)/.site  ## docs/ as a site with a search, in build/site; a dead link ends it
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "to read it: $(BIN)/python -m http.server --bind 127.0.0.1 --directory build/site"

lock:  ## resolve the constraints files again (needs uv)
	uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --group dev --output-file constraints.txt
	uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --group build --constraints constraints.txt --output-file constraints-run.txt
	uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --group e2e --constraints constraints.txt --output-file constraints-e2e.txt
	uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --group site --constraints constraints.txt --output-file constraints-site.txt

clean:  ## remove everything that can be made again
	rm -rf $(VENV) $(OTHER_PYTHONS:%=$(VENV)-%) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
