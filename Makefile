# `make` alone lists the targets. All you need is Python 3.11 or newer.

PYTHON ?= python3
PG ?= 18
BIN = .venv/bin
READY = .venv/ready
BENCH_READY = .venv/bench-ready
RELEASE_READY = .venv/release-ready
DOCS_READY = .venv/docs/ready
BROWSER_READY = .venv/browser-ready
INTO_INSTALLED = $(BIN)/pip --python dist/installed/bin/python install --quiet --disable-pip-version-check

# Tests wait more than they work, so more of them run than there are cores. Neighbours in a file stay together, as they share servers.
JOBS ?= 4
BESIDE = -n $(JOBS) --dist worksteal -q
QUICK = not slow and not root and not alone
LIMIT ?= 3

# Python caches compiled files, otherwise each test process would compile everything again.
export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-slow durations check format photograph pictures bench chaos model dist deb release-tools browser-tools docs reference lock

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv and install the locked packages into it

$(READY): .requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12"; exit 1; }
	@echo "Installing into .venv (about half a minute, once)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r .requirements/dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## Watch the real thing: 10,000 contacts, an embedded PostgreSQL, sandbox CRMs (KEEP=1: with the console, until Ctrl-C)
	@$(BIN)/crm-sync demo $(if $(CONTACTS),--contacts $(CONTACTS)) $(if $(KEEP),--keep)

test: setup ## Run the quick tests in parallel (PG=15 or PG=16 for another server, TEST_DATABASE_URL=... for one of yours)
	@PG=$(PG) HYPOTHESIS_PROFILE=dev $(BIN)/pytest $(BESIDE) -m "$(QUICK)" $(REPORT)

test-all: test test-slow ## Run all tests

test-slow: setup ## Run what `make test` leaves out: slow tests, those of systemd and the network, and all generated examples
	@PG=$(PG) HYPOTHESIS_PROFILE=ci $(BIN)/pytest $(BESIDE) -m "(slow or hypothesis) and not root and not alone"
	@PG=$(PG) $(BIN)/pytest -q -n 2 --dist loadfile -m "root and not alone"
	@PG=$(PG) $(BIN)/pytest -q -m alone

durations: ## Run the quick tests, and fail if one that is not marked slow takes LIMIT=3 seconds
	@$(MAKE) --no-print-directory test JOBS=3 REPORT="--durations-limit $(LIMIT) --durations 20"

check: setup ## Format, lint, spelling, prose, types, imports, schema photograph, reference pages, systemd unit
	@$(BIN)/ruff format --check --quiet . || { echo "Run: make format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/codespell
	@$(BIN)/mypy
	@contracts=$$($(BIN)/lint-imports --no-cache) || { echo "$$contracts"; exit 1; }; echo "$$contracts" | tail -n 2
	@$(BIN)/python -m tests.photograph --check
	@$(BIN)/python -m docs.generate --check
	@$(BIN)/python -m docs.prose
	@$(BIN)/python -m tests.unit

format: setup ## Format the code
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

photograph: setup ## Generate sql/schema.sql from the migrations
	@$(BIN)/python -m tests.photograph

reference: setup ## Generate the parts of docs/reference/ that follow from the code
	@$(BIN)/python -m docs.generate

bench: setup $(BENCH_READY) ## Measure, side by side with other queues (about half an hour)
	@$(BIN)/python -m tests.bench

$(BENCH_READY): .requirements/bench.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r .requirements/bench.txt
	@touch $@

dist: setup $(RELEASE_READY) ## Make wheel, sdist and SBOM in dist/, and check them
	@mkdir -p dist && find dist -mindepth 1 -maxdepth 1 ! -name docs -exec rm -rf {} +
	@$(BIN)/hatchling build
	@$(BIN)/twine check --strict dist/*.whl dist/*.tar.gz
	@$(BIN)/python -m venv --without-pip dist/installed
	@$(INTO_INSTALLED) --require-hashes -r .requirements/run.txt
	@$(INTO_INSTALLED) --no-deps dist/*.whl
	@$(BIN)/python deploy/sbom.py dist/installed/bin/python dist/sbom.cdx.json
	@rm -rf dist/installed

deb: setup ## Make the Debian package in dist/, for the Debian or Ubuntu it is run on (needs debhelper and python3-venv)
	@mkdir -p dist && rm -f dist/*.whl dist/*.deb
	@$(BIN)/hatchling build --target wheel
	@deploy/build-deb dist/*.whl dist

release-tools: $(RELEASE_READY) ## Install the tools that make and check a release

$(RELEASE_READY): $(READY) .requirements/release.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r .requirements/release.txt
	@touch $@

docs: $(DOCS_READY) ## Build the site of docs/ in dist/docs; fails on a warning or a broken link
	@rm -rf dist/docs
	@.venv/docs/bin/sphinx-build --quiet --fail-on-warning --keep-going -b html -d .venv/docs/doctrees docs dist/docs
	@echo "Built dist/docs/index.html"

# A separate environment: the site needs another version of docutils than the release tools.
$(DOCS_READY): .requirements/docs.txt
	@$(PYTHON) -m venv .venv/docs
	@.venv/docs/bin/pip install --quiet --disable-pip-version-check --require-hashes -r .requirements/docs.txt
	@touch $@

browser-tools: $(BROWSER_READY) ## Install the tools that test the console in a browser and the API against its document (needs Chromium)

$(BROWSER_READY): $(READY) .requirements/browser.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r .requirements/browser.txt
	@touch $@

pictures: setup $(BROWSER_READY) ## Take the pictures in docs/pictures again
	@mkdir -p docs/pictures
	@SCREENSHOTS=docs/pictures $(BIN)/pytest -q tests/console/test_browser.py -k "everybody or telephone"

chaos: setup ## Break everything in random order for MINUTES=2, then check the promises (SEED=... repeats a run)
	@$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),2) $(if $(SEED),--seed $(SEED))

model: setup ## Check the model of the protocol in all its configurations (two hours, 14 GB; needs Spin and gcc)
	@$(BIN)/python -m tests.model

lock: setup ## Resolve the newest allowed packages into .requirements, with hashes
	@$(PYTHON) -m venv .venv/lock && .venv/lock/bin/pip install --quiet uv
	@.venv/lock/bin/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header --python-version 3.11 \
		--extra demo --extra fastapi --extra otel --group dev pyproject.toml -o .requirements/dev.txt
	@.venv/lock/bin/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header --python-version 3.11 \
		--constraint .requirements/dev.txt --group bench pyproject.toml -o .requirements/bench.txt
	@.venv/lock/bin/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header --python-version 3.11 \
		--constraint .requirements/dev.txt --group browser pyproject.toml -o .requirements/browser.txt
	@.venv/lock/bin/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header --python-version 3.11 \
		--constraint .requirements/dev.txt --group release pyproject.toml -o .requirements/release.txt
	@.venv/lock/bin/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header --python-version 3.11 \
		--constraint .requirements/dev.txt --extra console pyproject.toml -o .requirements/run.txt
	@.venv/lock/bin/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header --python-version 3.11 \
		--group docs -o .requirements/docs.txt
	@.venv/lock/bin/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header --python-version 3.11 \
		--group workflows -o .requirements/workflows.txt
