# The commands of a checkout. Needs git, make and Python >= 3.11 with venv; everything else is made from requirements/.

PYTHON ?=
ENV := .venv
DEMO := .make/demo
LOCK := .make/lock
BUILD := .make/build
INTO = $(if $(DESTDIR),--destdir $(DESTDIR)) $(if $(PREFIX),--prefix $(PREFIX))
BIN := $(ENV)/bin
MAKE_ENV = python="$$(tools/find-python $(PYTHON))" && "$$python" tools/env.py

.DEFAULT_GOAL := help
.PHONY: help env demo test bench chaos soak powercut service install rollback uninstall point-years hubs hub-points consumers lint types imports counts meters figures pictures lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## a simulated meter, the daemon and a broker, live in the terminal; SECONDS=20 ends by itself
	@$(MAKE_ENV) $(DEMO) requirements/demo.txt
	@$(DEMO)/bin/meterd demo $(if $(SECONDS),--seconds $(SECONDS))

test: env ## everything: format, lint, types, import contracts, tests against real servers, coverage
	@$(BIN)/python tools/servers.py
	@$(BIN)/python tools/check.py

bench: env ## the figures that meterd claims, each against its peer in the same run; SECONDS=150 bounds it
	@$(BIN)/python tools/servers.py
	@$(BIN)/python tests/bench/bench.py $(if $(SECONDS),--seconds $(SECONDS))

powercut: env ## 200 kills and 200 power cuts of the stores, and what a day writes to the medium; SECONDS= bounds each kind
	@$(BIN)/python -m tests.powercut.powercut $(if $(SECONDS),--seconds $(SECONDS))

point-years: env ## 200 point-years of intervals validated and written in every carrier: time and memory; POINTS=200
	@$(BIN)/python tests/bench/point_years.py $(if $(POINTS),--points $(POINTS))

hubs: env ## 100,000 messages to test hubs among faults, with the uploader killed at random (docs/hubs); SECONDS=1800 bounds it
	@$(BIN)/python -m tests.hubfleet.fleet $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) $(if $(MESSAGES),--messages $(MESSAGES))

hub-points: env ## a day of 10,000 points built, validated and sent: time and memory; POINTS=10000
	@$(BIN)/python -m tests.hubfleet.points $(if $(POINTS),--points $(POINTS))

consumers: env ## the lines of docs/consumers in Node-RED, ioBroker's client, Home Assistant's dsmr_reader; SECONDS=900 bounds it
	@$(BIN)/python tools/servers.py
	@$(BIN)/python tests/consumers/consumers.py $(if $(SECONDS),--seconds $(SECONDS))

chaos: env ## the daemon among faults, judged by an oracle (docs/chaos.md); SECONDS=600 bounds it, SEED= has a run again
	@$(BIN)/python tools/servers.py
	@$(BIN)/python -m tests.chaos.chaos $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED))

soak: env ## 30 simulated days as fast as the daemon takes them (docs/chaos.md); SECONDS=900 bounds it
	@$(BIN)/python tools/servers.py
	@$(BIN)/python -m tests.soak.soak $(if $(SECONDS),--seconds $(SECONDS))

install: ## meterd as a service, beside the version that is there (docs/operations.md); DESTDIR=, PREFIX=/opt/meterd
	@$(MAKE_ENV) --bare $(BUILD) requirements/build.txt
	@$(BUILD)/bin/python tools/install.py install $(INTO)

rollback: ## back to the version before
	@"$$(tools/find-python $(PYTHON))" tools/install.py rollback $(INTO)

uninstall: ## remove the program; configuration, keys and readings stay
	@"$$(tools/find-python $(PYTHON))" tools/install.py uninstall $(INTO)

service: env ## the units under a booted systemd, in a container; prints NOT RUN where that is not possible
	@$(BIN)/python tests/service/booted.py

env: ## the environment of the tests, in .venv, from requirements/dev.txt
	@$(MAKE_ENV) $(ENV) requirements/dev.txt

lint: env ## format and lint only
	@$(BIN)/python tools/check.py format lint

types: env ## mypy --strict only
	@$(BIN)/python tools/check.py types

imports: env ## the import contracts only
	@$(BIN)/python tools/check.py imports

counts: env ## run everything, then raise the least numbers of tests/expected-counts.toml to what ran
	@$(BIN)/python tools/servers.py
	@$(BIN)/python tools/check.py --raise

meters: ## write the README's table of meters, docs/meters and docs/countries anew from their data
	@"$$(tools/find-python $(PYTHON))" tools/meters_table.py
	@"$$(tools/find-python $(PYTHON))" tools/country_pages.py

figures: ## write the README's table of figures anew from docs/measured
	@"$$(tools/find-python $(PYTHON))" tools/figures.py

pictures: env ## draw docs/pictures anew from real runs
	@$(BIN)/python tools/servers.py
	@$(BIN)/python tools/pictures.py
	@$(BIN)/python tools/hub_page.py

lock: ## write requirements/*.txt anew from pyproject.toml; UPGRADE=1 takes the newest versions
	@$(MAKE_ENV) --bare $(LOCK) requirements/lock.txt
	@$(LOCK)/bin/python tools/lock.py $(if $(UPGRADE),--upgrade)

clean: ## remove the environments and everything else that make made
	@rm -rf $(ENV) .make dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
