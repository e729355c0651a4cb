.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
NODE_INSTALLED := client/node_modules/.installed
SECONDS ?= 600
NO_NODE := Node is not installed: the browser side is not tested

.PHONY: help install dev test test-client bench-capture load chaos mutants-real lint lint-client format lock clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

install: $(INSTALLED) ## Make .venv from the committed lock (hash-checked)

$(INSTALLED): requirements/dev.txt requirements/old-python.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Neverstale needs Python 3.11 or newer; say which with: make PYTHON=/path/to/python3.12 install" >&2; exit 2; }
	@echo "Installing into .venv (the first time takes a minute) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt -r requirements/old-python.txt
	@touch $@

$(NODE_INSTALLED): client/package.json client/package-lock.json client/tests/react18/package.json
	@echo "Installing into client/node_modules ..."
	@cd client && npm ci --silent --no-audit --no-fund
	@touch $@

dev: install ## Run the whole stack here: PostgreSQL, Valkey, two listeners, two gateways (Ctrl-C stops it)
	@exec $(BIN)/python -m deploy.dev up

test: install ## Unit tests, then the tests on real servers
	@rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest tests/unit -q
	@$(BIN)/coverage combine -q && $(BIN)/coverage report --include='*/core/*' --fail-under=100
	$(BIN)/coverage run -m pytest tests/integration -q
	@$(BIN)/coverage combine -q --append && $(BIN)/coverage report --fail-under=90
	$(BIN)/python -m pytest tests/chaos -q
	@$(MAKE) --no-print-directory test-client

test-client: ## The browser side's tests (where there is Node)
	@command -v node >/dev/null || { echo "$(NO_NODE)"; exit 0; }; $(MAKE) -s $(NODE_INSTALLED) && cd client && npm test --silent

bench-capture: install ## What our triggers cost a writer, beside no triggers and the usual row-level NOTIFY
	@$(BIN)/python -m tests.load.capture

load: install ## Sockets, projects and rows through the whole pipeline, measured (LOAD="--scenario fanout")
	@$(BIN)/python -m tests.load.run $(LOAD)

chaos: install ## Faults at random on real servers, and nobody may stay stale (SECONDS=600, CHAOS="--seed 7")
	@$(BIN)/python -m tests.chaos --total $(SECONDS) $(CHAOS)

mutants-real: install ## Faults put into the SQL and the adapters on purpose: each must be found
	@$(BIN)/python -m tests.chaos.mutants

lint: install ## Style, types and layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory lint-client

lint-client: ## The browser side's style and types (where there is Node)
	@command -v node >/dev/null || { echo "$(NO_NODE)"; exit 0; }; $(MAKE) -s $(NODE_INSTALLED) && cd client && npm run lint --silent

format: install ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: install ## Resolve the dependencies anew (commit the result)
	$(BIN)/pip-compile --quiet --upgrade --generate-hashes --strip-extras --allow-unsafe --no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host -o requirements/runtime.txt pyproject.toml
	$(BIN)/pip-compile --quiet --upgrade --generate-hashes --strip-extras --allow-unsafe --no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --extra dev -c requirements/runtime.txt -o requirements/dev.txt pyproject.toml

clean: ## Remove the development data (.dev), .venv and caches
	@test ! -L .dev/postgres || rm -rf "$$(readlink -f .dev/postgres)"
	rm -rf client/node_modules client/tests/react18/node_modules client/dist
	rm -rf .dev .venv build dist *.egg-info .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
