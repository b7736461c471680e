# Everything a person or CI does here; `make` lists it. Each recipe works from a fresh clone.
PYTHON ?= python3
UV     ?= uv
ONLY   ?= *
WORKERS   ?= 2
TESTFLAGS ?=

BIN      := .venv/bin
INPUTS   := requirements/dev.lock pyproject.toml sdk/pyproject.toml
STAMP    := .venv/ready-$(shell cat $(INPUTS) | cksum | cut -d' ' -f1)
PROTOBIN := .venv-proto/bin
PROTO    := .venv-proto/ready-$(shell cksum < requirements/proto.lock | cut -d' ' -f1)
IMAGE    := build/protos.binpb
PEERBIN  := .venv-peers/bin
PEERS    := .venv-peers/ready-$(shell cksum < requirements/peers.lock | cut -d' ' -f1)
SPARKBIN := .venv-spark/bin
SPARK    := .venv-spark/ready-$(shell cat requirements/spark.lock pyproject.toml sdk/pyproject.toml | cksum | cut -d' ' -f1)
FEASTBIN := .venv-feast/bin
FEAST    := .venv-feast/ready-$(shell cksum < requirements/feast.lock | cut -d' ' -f1)
OWN      := runtime registry feature_store ann_index model_server gateway jobs cli
PIPFLAGS := --quiet --no-compile --disable-pip-version-check
LOCK      = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
            --no-annotate --no-emit-index-url --no-emit-package forebay --upgrade
SPREAD   := --dist loadfile --no-loadscope-reorder

# The tests start many processes; without this each would compile all it imports anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo serve test test-all check format format-check lint types floors buf-lint \
        test-spark proto proto-check docs docs-check bench bench-large bench-cpu bench-plots peers feast-peer lock wheel-check clean
.DEFAULT_GOAL := help

help:  ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

## ---- environment

setup: $(STAMP) $(PROTO)  ## Create .venv and .venv-proto from the locks (PYTHON=python3.12 chooses)

$(STAMP): $(INPUTS)
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install $(PIPFLAGS) --require-hashes -r requirements/dev.lock
	$(BIN)/python -m pip install $(PIPFLAGS) --no-deps --no-build-isolation --no-index -e sdk -e .
	@touch $@

$(PROTO): requirements/proto.lock
	$(PYTHON) -m venv --clear .venv-proto
	$(PROTOBIN)/python -m pip install $(PIPFLAGS) --require-hashes -r requirements/proto.lock
	@touch $@

bench-cpu: $(STAMP)  ## Tell where the CPU of one Predict goes
	$(BIN)/python -m benchmarks.cpu_parts

bench-plots: $(STAMP)  ## Draw the last bench's overload into docs/images
	$(BIN)/python -m benchmarks.plots

peers: $(PEERS)  ## Create .venv-peers, the environment of what the bench compares with

$(PEERS): requirements/peers.lock
	$(PYTHON) -m venv --clear .venv-peers
	$(PEERBIN)/python -m pip install $(PIPFLAGS) --require-hashes -r requirements/peers.lock
	@touch $@

feast-peer: $(FEAST)  ## Create .venv-feast, the environment of the Feast that the bench compares with

$(FEAST): requirements/feast.lock
	$(PYTHON) -m venv --clear .venv-feast
	$(FEASTBIN)/python -m pip install $(PIPFLAGS) --require-hashes -r requirements/feast.lock
	@touch $@

lock:  ## Renew the locks to the newest releases (needs uv)
	$(LOCK) -o requirements/server.lock pyproject.toml
	$(LOCK) -o requirements/dev.lock pyproject.toml --extra embedded --extra kafka --extra examples --group dev
	$(LOCK) -o requirements/build.lock --group build
	$(LOCK) -o requirements/proto.lock --group proto
	$(LOCK) -o requirements/peers.lock --group peers -c requirements/server.lock
	$(LOCK) -o requirements/feast.lock --group feast
	$(LOCK) -o requirements/spark.lock pyproject.toml --extra embedded --extra examples --extra spark --group dev -c requirements/dev.lock

clean:  ## Remove what was built or cached; keeps .venv and .forebay
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis benchmarks/out
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

## ---- run

demo: $(STAMP)  ## Recommend movies to real people, and show the trace of one request
	$(BIN)/forebay demo

serve: $(STAMP)  ## Serve the movie application, prepared if absent
	$(BIN)/forebay demo --prepare-only
	$(BIN)/forebay serve --app movies

bench: $(STAMP)  ## Measure against the floors (ONLY='predict_* read_*' selects)
	$(BIN)/python -m benchmarks --minutes 18 --only '$(ONLY)'

bench-large: $(STAMP) $(PEERS) $(FEAST)  ## Measure the million-row sets and the peers too
	$(BIN)/python -m benchmarks --large --only '$(ONLY)'

## ---- test

test: setup  ## Run the tests, the slow ones left out (WORKERS=2 at a time)
	$(BIN)/python -m pytest -m 'not slow' -n $(WORKERS) $(SPREAD) $(TESTFLAGS)

test-all: setup  ## Run all the tests, with all the examples of each property
	$(BIN)/python -m pytest --hypothesis-profile=thorough -n $(WORKERS) $(SPREAD) $(TESTFLAGS)

test-spark: $(SPARK)  ## Run the tests on PySpark (needs Java 17), in an environment of their own
	$(SPARKBIN)/python -m pytest tests/integration/spark

$(SPARK): requirements/spark.lock pyproject.toml sdk/pyproject.toml
	$(PYTHON) -m venv --clear .venv-spark
	$(SPARKBIN)/python -m pip install $(PIPFLAGS) --require-hashes -r requirements/spark.lock
	$(SPARKBIN)/python -m pip install $(PIPFLAGS) --no-deps --no-build-isolation --no-index -e sdk -e .
	@touch $@

check: format-check lint types floors buf-lint proto-check docs-check  ## Run every check that isn't a test

format: $(STAMP)  ## Format the code and sort its imports
	$(BIN)/ruff check --quiet --fix-only .
	$(BIN)/ruff format --quiet .

format-check: $(STAMP)
	$(BIN)/ruff format --check --quiet .

lint: $(STAMP)
	$(BIN)/ruff check --quiet .

types: $(STAMP)
	$(BIN)/mypy sdk/forebay $(OWN) scripts benchmarks examples

floors: $(STAMP)
	$(BIN)/lint-imports

wheel-check: setup  ## Build both wheels and compare what they hold with what they should
	$(BIN)/python -m pytest tests/repo/test_wheels.py

## ---- generated

proto: $(PROTO)  ## Generate the stubs in sdk/forebay/v1 from protos/
	$(PROTOBIN)/python scripts/generate_protos.py

proto-check: $(PROTO)
	$(PROTOBIN)/python scripts/generate_protos.py --check

buf-lint: $(STAMP) $(PROTO)
	$(PROTOBIN)/python scripts/generate_protos.py --image $(IMAGE)
	$(BIN)/buf lint $(IMAGE) --config buf.yaml

docs: $(STAMP)  ## Generate docs/configuration.md and the application file's JSON Schema
	$(BIN)/python scripts/generate_docs.py

docs-check: $(STAMP)
	$(BIN)/python scripts/generate_docs.py --check
