# make demo   install, run the main job, say where to look
# make test   install what the tests need, Kafka and the engines included, and run them
# make check  lint, types, layers and the fast tests, in two minutes
# make fuzz   the long random tests
# make soak   random faults for ten minutes (MINUTES=60), outputs compared all the time
# make bench  ours beside the peers in one run: make bench ID=w2 (all: make bench)
# make bench-peers  the peers' environments
# make bench-neutron  the neutron benchmarks, their floors, one table (QUICK=1: shorter)
# make bench-gamma  the gamma benchmarks beside ctapipe, their floors, one table (QUICK=1: shorter)
# make engine-environments  one for each distributed engine, whose pins exclude one another
# make bench-engines  each engine through eventide, beside the same work written by hand for it
# make test-engines  the engines' own tests, each in its environment: make test-flink, test-spark, test-beam
# make test-gamma-peers  what needs ctapipe or gammapy, each in its environment
# make test-kafka  what needs a Kafka broker, which is fetched from Maven Central

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ID     ?= all
# Minutes of random faults in `make test`; beside the other tests, most of which take their turn meanwhile.
SOAK   := $(if $(CI),10,1)
# Real data is used when it is there; an outside user has none and the tests say what they skipped.
ifeq ($(origin EVENTIDE_DATA), undefined)
ifneq ($(wildcard ../shared/data),)
export EVENTIDE_DATA := $(abspath ../shared/data)
endif
endif

.DEFAULT_GOAL := help
.PHONY: help install demo test check lint types layers docs servers fuzz soak bench bench-peers bench-neutron bench-gamma \
        conform clean engine-environments test-engines test-kafka test-kills test-same test-gamma-peers bench-engines

help:
	@sed -n 's/^# //p' Makefile

$(VENV)/.base: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "eventide needs Python 3.11 or newer: make PYTHON=python3.11 ..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fast,plot]'
	touch $@

$(VENV)/.dev: $(VENV)/.base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group test --group lint build
	touch $@

# A second environment holds Beam's wheel, whose trigger transcripts are read from there.
.venvs/beam/.done: benchmarks/peers/requirements/beam.txt
	test -x .venvs/beam/bin/python || $(PYTHON) -m venv .venvs/beam
	.venvs/beam/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

# One environment for each distributed engine: an engine's libraries exclude those of others.
ENGINES := $(basename $(notdir $(wildcard tests/engines/requirements/*.txt)))

.venvs/engine-%/.done: tests/engines/requirements/%.txt pyproject.toml
	test -x .venvs/engine-$*/bin/python || $(PYTHON) -m venv .venvs/engine-$*
	.venvs/engine-$*/bin/python -m pip install --quiet --disable-pip-version-check -r $< --editable '.[fast,kafka,testing,$*]'
	touch $@

engine-environments: $(ENGINES:%=.venvs/engine-%/.done)

# What the gamma application is compared with, each in an environment of its own.
GAMMA_PEERS := $(basename $(notdir $(wildcard tests/gamma/requirements/*.txt)))

.venvs/gamma-%/.done: tests/gamma/requirements/%.txt pyproject.toml
	test -x .venvs/gamma-$*/bin/python || $(PYTHON) -m venv .venvs/gamma-$*
	.venvs/gamma-$*/bin/python -m pip install --quiet --disable-pip-version-check -r $< --editable '.[fast,gamma,testing]'
	touch $@

test-gamma-peers: $(GAMMA_PEERS:%=.venvs/gamma-%/.done)
	.venvs/gamma-ctapipe/bin/python -m pytest -q tests/gamma/app/test_gamma_hdf5.py tests/gamma/app/test_gamma_live.py \
	  tests/gamma/app/test_gamma_load.py tests/gamma/images/test_gamma_timing_ctapipe.py
	.venvs/gamma-gammapy/bin/python -m pytest -q tests/gamma/events/test_dl3.py -k gammapy

# Its python stands first on the path: some engines start others by name.
test-%: .venvs/engine-%/.done
	PATH="$(abspath .venvs/engine-$*/bin):$$PATH" .venvs/engine-$*/bin/python -m pytest -q --doctest-modules src/eventide/engines/$* tests/engines/$*

# One pipeline on every engine, the same rows: the engines one after the other, each in one process.
SAME := tests/engines/test_same_results.py tests/engines/test_docs_example.py

test-same: $(VENV)/.dev engine-environments
	$(BIN)/pytest -q $(SAME)

# Programs, Java processes and task managers that are killed in mid-stream, on Flink and on Spark.
FLINK_KILLS := tests/engines/flink/test_flink_kills.py tests/engines/flink/test_flink_cluster.py
SPARK_KILLS := tests/engines/spark/test_spark_kill.py

test-kills: engine-environments
	PATH="$(abspath .venvs/engine-flink/bin):$$PATH" .venvs/engine-flink/bin/python -m pytest -q $(FLINK_KILLS)
	PATH="$(abspath .venvs/engine-spark/bin):$$PATH" .venvs/engine-spark/bin/python -m pytest -q $(SPARK_KILLS)

test-engines: $(VENV)/.dev $(ENGINES:%=test-%) test-same

test-kafka: $(VENV)/.dev
	$(BIN)/pytest -m 'kafka and not fuzz' tests/connectors tests/contract tests/crash tests/docs tests/neutron tests/unit

install: $(VENV)/.base

demo: install
	$(BIN)/eventide sensors demo

lint: $(VENV)/.dev
	$(BIN)/ruff check src tests tools benchmarks
	$(BIN)/ruff format --check src tests tools benchmarks

types: $(VENV)/.dev
	$(BIN)/mypy

layers: $(VENV)/.dev
	$(BIN)/lint-imports
	$(BIN)/python -m tools.sizes --max 600 --median 150

check: lint types layers
	EVENTIDE_HYPOTHESIS=fast $(BIN)/pytest -q -n 2 -m 'not slow and not fuzz and not kafka'

# What some tests start themselves. On Debian, as root, it is installed where it is missing; elsewhere nothing
# happens, and those tests say what they skipped.
servers:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
	    missing=; \
	    ls /usr/lib/postgresql/*/bin/initdb > /dev/null 2>&1 || command -v initdb > /dev/null || missing="postgresql"; \
	    command -v strace > /dev/null || missing="$$missing strace"; \
	    test -z "$$missing" || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing; } \
	        || echo "could not install:$$missing"; \
	fi

test: $(VENV)/.dev .venvs/beam/.done engine-environments servers lint types layers
	EVENTIDE_HYPOTHESIS=ci EVENTIDE_BEAM_PYTHON=$(abspath .venvs/beam/bin/python) EVENTIDE_SOAK_MINUTES=$(SOAK) \
	    $(BIN)/pytest -n 2 --dist worksteal -m 'not fuzz and not kafka' $(SAME:%=--ignore=%)
	# the same without the compiled kernels: they are optional and must change nothing
	EVENTIDE_COMPILED=0 EVENTIDE_HYPOTHESIS=fast $(BIN)/pytest -q -n 2 -m 'not slow and not fuzz' tests/kernel tests/joins tests/property tests/keyed tests/engine
	$(MAKE) test-kafka
	$(MAKE) test-beam
	$(MAKE) test-same
	$(MAKE) test-kills

fuzz: $(VENV)/.dev
	$(BIN)/python tests/fuzz/fuzz_run.py --count 100000
	EVENTIDE_HYPOTHESIS=fuzz $(BIN)/pytest -n 2 tests/property tests/semantics tests/joins tests/operators tests/kernel tests/log tests/formats

soak: $(VENV)/.dev servers
	EVENTIDE_SOAK_MINUTES=$(or $(MINUTES),10) $(BIN)/pytest -q tests/crash/test_soak.py

conform: $(VENV)/.dev .venvs/beam/.done
	EVENTIDE_BEAM_PYTHON=$(abspath .venvs/beam/bin/python) $(BIN)/eventide conform --suite beam-transcripts

bench-peers:
	$(PYTHON) benchmarks/peers/make.py

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/run.py $(ID)

bench-neutron:
	$(PYTHON) benchmarks/peers/make.py neutron
	PYTHONPATH=src .venvs/neutron/bin/python benchmarks/neutron/run.py $(if $(QUICK),--quick) $(NAMES)

bench-gamma:
	$(PYTHON) benchmarks/peers/make.py gamma
	PYTHONPATH=src .venvs/gamma/bin/python benchmarks/gamma/run.py $(if $(QUICK),--quick) $(NAMES)

# The same work through eventide and as written by hand for the engine.
bench-engines: $(VENV)/.dev engine-environments
	for name in $(patsubst benchmarks/cases/w2_%.py,%,$(wildcard $(ENGINES:%=benchmarks/cases/w2_%.py))); do \
	    $(BIN)/python benchmarks/run.py w2-$$name || exit 1; done
	$(BIN)/python benchmarks/run.py spark-batches

clean:
	rm -rf $(VENV) .venvs dist build demo-output demo-sensors .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
