.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
NODE_INSTALLED := client/node_modules/.installed
SECONDS ?= 600
MINUTES ?= 30
WEB_INSTALLED := demo/web/node_modules/.installed
CLIENT_BUILT := client/dist/index.js
PAGE_BUILT := demo/web/dist/index.html
NEXTJS_INSTALLED := examples/nextjs/node_modules/.installed
NEXTJS_BUILT := examples/nextjs/.next/BUILD_ID
NO_NODE := Node is not installed: the browser side is not tested

.PHONY: help install bench growth dev demo-page example-nextjs demo-record test coverage test-client test-browser simulate mutants bench-capture bench-requests bench-latency bench-recovery bench-memory bench-connections bench-redis load rolling soak chaos cluster neighbours image corpus races attack outages alerts mutants-real lint lint-server lint-client format lock clean

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

$(CLIENT_BUILT): $(NODE_INSTALLED) $(shell find client/src -type f)
	@cd client && npm run build --silent
	@touch $@

$(WEB_INSTALLED): demo/web/package.json demo/web/package-lock.json
	@echo "Installing into demo/web/node_modules ..."
	@cd demo/web && npm ci --silent --no-audit --no-fund
	@touch $@

$(PAGE_BUILT): $(CLIENT_BUILT) $(WEB_INSTALLED) $(shell find demo/web -type f -not -path '*/node_modules/*' -not -path '*/dist/*')
	@echo "Building the demo's page ..."
	@cd demo/web && npm run build --silent
	@touch $@

# It installs a copy of the package as built, as an app would.
$(NEXTJS_INSTALLED): examples/nextjs/package.json examples/nextjs/package-lock.json $(CLIENT_BUILT)
	@echo "Installing into examples/nextjs/node_modules ..."
	@cd examples/nextjs && npm ci --silent --no-audit --no-fund
	@touch $@

# Brackets in the names of its files are no wildcards.
$(NEXTJS_BUILT): $(NEXTJS_INSTALLED) $(shell git ls-files examples/nextjs 2>/dev/null | sed 's/[][]/\\&/g')
	@echo "Building the Next.js example ..."
	@cd examples/nextjs && NEXT_TELEMETRY_DISABLED=1 npm run build --silent

example-nextjs: ## Build the Next.js example (where there is Node)
	@command -v node >/dev/null || { echo "$(NO_NODE)"; exit 0; }; $(MAKE) -s $(NEXTJS_BUILT)

demo-page: ## Build the demo's page (where there is Node)
	@command -v node >/dev/null || { echo "Node is not installed: the demo runs without its page"; exit 0; }; $(MAKE) -s $(PAGE_BUILT)

dev: install demo-page ## Run the whole stack here: PostgreSQL, Valkey, two listeners, two gateways, the demo (Ctrl-C stops it)
	@exec $(BIN)/python -m deploy.dev up

test: install ## Unit tests, the simulation, then the tests on real servers (ORACLE_SECONDS, ORACLE_SEED: the browser side's stale oracle)
	@rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest tests/unit -q -n 2
	@$(BIN)/coverage combine -q && $(BIN)/coverage report --include="$$($(BIN)/python -m tests.support.pure_modules)" --fail-under=100
	$(BIN)/python -m pytest tests/simulation -q -n 2
	@command -v node >/dev/null || { echo "$(NO_NODE)"; exit 0; }; $(MAKE) -s $(NODE_INSTALLED)
	$(BIN)/python -m pytest tests/load tests/integration tests/soak -q -n 4 --dist loadfile --no-loadscope-reorder
	$(BIN)/python -m pytest tests/chaos tests/attack tests/corpus -q -n 2 --dist loadfile
	@$(MAKE) --no-print-directory test-client test-browser

coverage: install ## Branch coverage of everything by unit tests and tests on real servers: 90 % at least
	@rm -f .coverage .coverage.*
	@command -v node >/dev/null || { echo "$(NO_NODE)"; exit 0; }; $(MAKE) -s $(NODE_INSTALLED)
	$(BIN)/coverage run -m pytest tests/unit tests/integration tests/load -q -n 4 --dist loadfile
	@$(BIN)/coverage combine -q && $(BIN)/coverage report --fail-under=90

test-client: ## The browser side's tests (where there is Node)
	@command -v node >/dev/null || { echo "$(NO_NODE)"; exit 0; }; $(MAKE) -s $(NODE_INSTALLED) && cd client && npm test --silent

test-browser: install ## The demo in a real browser, on the real stack (where there are Node and Chromium)
	@command -v node >/dev/null || { echo "Node is not installed: the demo is not tested in a browser"; exit 0; }; \
	command -v chromium >/dev/null || { echo "Chromium is not installed: the demo is not tested in a browser"; exit 0; }; \
	$(MAKE) -s $(PAGE_BUILT) $(NEXTJS_BUILT) && $(BIN)/python -m pytest tests/browser -q -n 2 --dist loadfile

demo-record: install demo-page ## Retake the screenshots in docs/images
	$(BIN)/python -m pytest tests/browser -q -k fits --record

simulate: install ## New schedules of everything that can happen, SECONDS=600 of them
	@SIMULATE_SECONDS=$(SECONDS) $(BIN)/python -m pytest tests/simulation -q -s

mutants: install ## Plant faults in copies of the code: each must be caught
	@$(BIN)/python -m tests.simulation.mutants $(MUTANTS)

bench: install ## The gateway beside other servers that do its job, as ratios of one run (BENCH="--rounds 1")
	@command -v node >/dev/null && $(MAKE) -s $(NODE_INSTALLED); ulimit -n hard 2>/dev/null; $(BIN)/python -m tests.load.compare $(BENCH)

growth: install ## What a gateway costs with more connections and projects (BENCH="--most")
	@$(BIN)/python -m tests.load.growth $(BENCH)

bench-capture: install ## What our triggers cost a writer, beside no triggers and the usual row-level NOTIFY
	@$(BIN)/python -m tests.load.capture

bench-requests: ## Requests of an hour of a team of ten, beside polling every 5 s (where there is Node)
	@command -v node >/dev/null || { echo "$(NO_NODE)"; exit 0; }; $(MAKE) -s $(NODE_INSTALLED) && cd client && npx vitest run --config vitest.bench.config.ts

bench-latency: install ## From commit to published, at several rates of transactions
	@$(BIN)/python -m tests.load.latency

bench-recovery: install ## What failures cost clients: resets, and time (about 10 minutes)
	@$(BIN)/python -m tests.load.recovery $(ONLY)

bench-memory: install ## That memory stays bounded, as curves (about 5 minutes)
	@$(BIN)/python -m tests.load.memory $(ONLY)

bench-connections: install ## What a WebSocket and an event stream cost the gateway (BENCH="--connections 10000")
	@$(BIN)/python -m tests.load.connections $(BENCH)

bench-redis: install ## What a message costs one Redis and a cluster, by the number of gateways
	@$(BIN)/python -m tests.load.redis_capacity $(BENCH)

load: install ## Sockets, projects and rows through the whole pipeline, measured (LOAD="--scenario fanout")
	@$(BIN)/python -m tests.load.run $(LOAD)

rolling: install ## Restart 4 gateways and 2 listeners under 5,000 clients: nobody is reset (ROLLING="--sockets 500")
	@$(BIN)/python -m tests.load.run --scenario rolling $(ROLLING)

soak: install ## Half of the machine's load with churn and a fault every two minutes: nothing may grow (MINUTES=30)
	@$(BIN)/python -m tests.soak --minutes $(MINUTES) $(SOAK)

chaos: install ## Faults at random on real servers, and nobody may stay stale (SECONDS=600, CHAOS="--seed 7")
	@$(BIN)/python -m tests.chaos --total $(SECONDS) $(CHAOS)

neighbours: install ## An earlier version's gateways beside new listeners, and the reverse, under the oracle (REF=v0.1.0)
	@$(BIN)/python -m tests.chaos.neighbours $(if $(REF),--ref $(REF)) $(CHAOS)

image: install ## Carry out the Dockerfile step by step, without an engine, and run the result (Linux, as root)
	@unshare --mount --propagation private $(BIN)/python -m pytest tests/image -q -s

corpus: install ## Schemas shaped like real applications: a day and migrations of each (CORPUS="ledger")
	@INIT_CORPUS=all $(BIN)/python -m pytest tests/integration/bootstrap/test_init_corpus.py -q -s
	@$(BIN)/python -m tests.corpus $(CORPUS)

races: install ## A thousand races of who may see a project with who looks on (RACES="--seed 7 --races 50")
	@$(BIN)/python -m tests.chaos.races $(RACES)

attack: install ## Hostile peers, users and roles beside a victim, on real servers (ATTACK="--only pings")
	@$(BIN)/python -m tests.attack $(ATTACK)

cluster: install ## A Redis Cluster: failovers, lost writes, frozen nodes, moved slots; then the stale oracle on it (SECONDS=600, CHAOS="--seed 7")
	$(BIN)/python -m pytest tests/cluster -q
	@$(BIN)/python -m tests.chaos --cluster --total $(SECONDS) $(CHAOS)

outages: install ## Servers that fail over, fill up, refuse us, are restored or stand behind others (OUTAGES="-k redis")
	$(BIN)/python -m pytest tests/outages -q $(OUTAGES)

alerts: install ## Each alert of deploy/monitoring, fired by its fault on a real stack (needs Prometheus)
	@command -v prometheus >/dev/null || { echo "Prometheus is not installed (Debian's package: prometheus)" >&2; exit 2; }
	$(BIN)/python -m pytest tests/outages/test_alerts.py -q -s

mutants-real: install ## Faults put into the SQL and the adapters on purpose: each must be found
	@$(BIN)/python -m tests.chaos.mutants

lint: install ## Style, types and layers
	@$(MAKE) --no-print-directory -j2 --output-sync=target lint-server lint-client

lint-server: install ## The Python side's style, types and layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lint-client: ## The browser side's style and types (where there is Node)
	@command -v node >/dev/null || { echo "$(NO_NODE)"; exit 0; }; $(MAKE) -s $(CLIENT_BUILT) $(WEB_INSTALLED) && (cd client && npm run lint --silent) && cd demo/web && npm run lint --silent

format: install ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: install ## Update the locked dependencies (commit the result)
	$(BIN)/pip-compile --quiet --upgrade --generate-hashes --strip-extras --allow-unsafe --no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host -o requirements/runtime.txt pyproject.toml
	$(BIN)/pip-compile --quiet --upgrade --generate-hashes --strip-extras --allow-unsafe --no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host -o requirements/dev.txt pyproject.toml requirements/dev.in
	$(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host -o requirements/build.txt requirements/build.in

clean: ## Remove the development data (.dev), .venv, node_modules, build and caches
	@test ! -L .dev/postgres || rm -rf "$$(readlink -f .dev/postgres)"
	rm -rf client/node_modules client/tests/react18/node_modules client/dist demo/web/node_modules demo/web/dist examples/nextjs/node_modules examples/nextjs/.next
	rm -rf .dev .venv build dist *.egg-info .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
