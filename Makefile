# The front door. Every target does its own set-up; only Python 3.11+ and make are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo up production test test-fast lint format types acceptance configuration docs picture lock bench bench-tiny bench-workers soak machines fuzz newest real-sentry test-tools screenshots clean help

help: ## Say what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /: /'

$(READY): requirements-dev.lock pyproject.toml
	@echo "Setting up $(VENV) (once; a minute or two) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; say which with: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

production: ## Install only what a service needs, in .venv (no tests, no tools)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .

demo: $(READY) ## Relocate an example archive, fail three times, mend one, and show what happened
	@$(BIN)/relocation demo

up: $(READY) ## Run the whole service on this machine until Ctrl-C, with an example to try
	@exec $(BIN)/relocation up --example

test: $(READY) ## Run the tests
	@$(BIN)/python -m pytest

test-fast: $(READY) ## Run the tests that start no server, kill nothing, open no browser and try few cases
	@$(BIN)/python -m pytest -m "not server and not kill and not browser and not deep"

newest: ## Run the tests of one service on the newest versions that the bounds admit (in .venv-newest)
	@PYTHON=$(PYTHON) .ci/newest

lint: $(READY) ## Check format, style and the direction of imports
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports

format: $(READY) ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

types: $(READY) ## Check types
	@$(BIN)/mypy

acceptance: $(READY) ## Say which promises of the reference are tested: docs/acceptance.md
	@$(BIN)/python docs/acceptance.py

configuration: $(READY) ## List every setting, block and number of a task: docs/configuration.md
	@$(BIN)/python docs/configuration.py

docs: $(READY) ## Build the documentation as a site, in site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

picture: $(READY) ## Draw docs/pictures/architecture.svg from docs/architecture.dot (Graphviz)
	@$(BIN)/python docs/picture.py

lock: $(READY) ## Resolve the dependencies anew, within the bounds of pyproject.toml
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-annotate --no-header pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-annotate --no-header --extra local --extra s3 --group dev --group docs pyproject.toml -o requirements-dev.lock

SIZE ?= 100000
ROUNDS ?= 5
bench: $(READY) ## Measure the speed, on exports of SIZE records and ten times that (many minutes)
	@$(BIN)/python -m benchmarks --records $(SIZE) --rounds $(ROUNDS)

bench-tiny: $(READY) ## Run the benchmarks at a tiny size, to see that they still run (under two minutes)
	@FINISHED=2000 ROUNDS=1 $(BIN)/python -m benchmarks.tiny

bench-workers: $(READY) ## Measure what N more relocations cost and how soon a killed one goes on (N=100, KILLS=3)
	@home=$$(mktemp -d) && trap "rm -rf $$home" EXIT \
		&& KILLS=$(or $(KILLS),3) $(BIN)/python -m benchmarks.failures_service $$home $(or $(N),100)

SEED ?= 1
soak: $(READY) ## Relocate N times while everything is killed in turn; count what was lost (an hour)
	@N=$(or $(N),300) SEED=$(SEED) $(BIN)/python -m benchmarks.soak

machines: $(READY) ## Relocate N times at once on two machines that share nothing, one of which dies (N=20)
	@N=$(or $(N),20) $(BIN)/python -m benchmarks.machines

real-sentry: $(READY) ## Relocate between real Sentrys 23.7.1, and ask them (Python 3.8, PostgreSQL, Redis)
	@PYTHONPATH=. $(BIN)/python tests/parts/real_sentry.py
	@REAL_SENTRY=1 $(BIN)/python -m pytest -n 0 tests/real_product

fuzz: $(READY) ## Change archives and exports N times, and hold what the engine makes of them to its promise
	@N=$(or $(N),2000) SEED=$(SEED) $(BIN)/python -m benchmarks.fuzz

test-tools: ## Install what some tests need: SpamAssassin, Chromium, PostgreSQL, Redis, nginx, Caddy, Graphviz (Debian, as root), linters of mails (npm)
	@.ci/test-tools

screenshots: $(READY) ## Take pictures of every mail, light, dark and on a phone, in screenshots/
	@mkdir -p screenshots
	@SCREENSHOTS=screenshots $(BIN)/python -m pytest -q -n 0 tests/notices/quality/test_notices_in_a_browser.py

clean: ## Remove what was set up (not .relocation/, which may hold your data)
	rm -rf $(VENV) .venv-newest .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist site
