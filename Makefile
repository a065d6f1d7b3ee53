# Doorward. `make` alone says what there is.
#
# Everything runs from .venv, which is made from the hash-pinned files in requirements/; no target but `test` and
# `bench` installs anything outside this folder, and those two only where they may without asking.

PYTHON ?= python3
BIN    := .venv/bin
ARGS   ?=
# More than two cores: a test waits for servers and disks about half of its time.
JOBS   ?= 3

# Tests and the demonstration start Python by the hundred. Containers like to set this, and then every one of them
# compiles all that it imports again: over two seconds for a gateway.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test campaign conformance quality fuzz soak bench lint format compile lock clean

help: ## show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  ARGS=... reaches pytest or the benchmark; PYTHON=... chooses the Python (3.11 or newer)."

demo: .venv/.demo ## the story with a real database and real clients, without root (INTERACTIVE=1: it is all there, and you try)
	@$(BIN)/python -m doorward demo $(if $(INTERACTIVE),--interactive) $(ARGS)

test: .venv/.dev ## set up what the tests need, lint, and run them in under ten minutes on two cores
	@$(BIN)/python scripts/system.py test
	@$(MAKE) --no-print-directory lint
	@$(BIN)/pytest -n $(JOBS) --dist worksteal $(ARGS)

campaign: .venv/.dev ## the whole of every large crossing, and Hypothesis with a new seed (hours)
	@$(BIN)/python scripts/system.py test
	DOORWARD_PROFILE=campaign $(BIN)/pytest -n $(JOBS) --dist worksteal $(ARGS)

conformance: .venv/.dev ## asyncpg's and SQLAlchemy's own test suites: directly, through the gateway, and masked
	@$(BIN)/python scripts/system.py test
	$(BIN)/python -m tests.conformance $(ARGS)

fuzz: .venv/.dev ## the properties of every parser of hostile bytes, with new seeds
	DOORWARD_PROFILE=campaign $(BIN)/pytest -n $(JOBS) -k "fuzz or hostile or garbage or chunk or split" $(ARGS)

soak: .venv/.dev ## a gateway under load for DURATION=600 seconds: memory, descriptors and records must not drift
	@$(BIN)/python scripts/system.py bench
	$(BIN)/python -m benchmarks.soak --seconds $(or $(DURATION),600) $(ARGS)

quality: .venv/.dev ## precision and recall of the detectors, and the over-masking rate, written to docs/quality.md
	@$(BIN)/python scripts/system.py test
	$(BIN)/python -m tests.quality --write docs/quality.md $(ARGS)

bench: .venv/.dev ## CPU, latency and memory side by side: direct, haproxy, pgbouncer, Doorward
	@$(BIN)/python scripts/system.py bench
	$(BIN)/python -m benchmarks.run $(ARGS)

lint: .venv/.dev ## ruff, mypy --strict and the import contracts
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary src tests scripts benchmarks
	@$(BIN)/lint-imports > .venv/lint-imports.txt || { cat .venv/lint-imports.txt; exit 1; }

format: .venv/.dev ## let ruff format and sort
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format .

compile: .venv/.dev ## compile the hot modules with mypyc, where there is a C compiler (they run without, too)
	$(BIN)/python scripts/compile.py $(ARGS)

lock: .venv/.dev ## pin requirements/*.in again, with hashes and without the address of any index
	@set -e; for name in bootstrap runtime demo dev; do \
		constraints=; case $$name in demo|dev) constraints="-c requirements/runtime.txt";; esac; \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
			--no-header $(ARGS) $$constraints requirements/$$name.in -o requirements/$$name.txt; \
		echo requirements/$$name.txt; \
	done

clean: ## remove everything that make made
	rm -rf .venv .cache .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	rm -rf tests/e2e/issuer/node_modules src/*.egg-info
	find src tests benchmarks scripts \( -name __pycache__ -o -name '*.so' \) -prune -exec rm -rf {} +

.venv/.%: requirements/%.txt requirements/bootstrap.txt pyproject.toml scripts/environment.py
	@$(PYTHON) scripts/environment.py $*
