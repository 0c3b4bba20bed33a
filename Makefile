# Everything that can be done with this repository. `make` prints this list.
SHELL := /bin/bash
SWIFT ?= swift
BUILD := $(SWIFT) build -c release
PREFIX ?= /usr/local
DATA ?= /var/lib/aurum
EVENTS ?= 2000000
SEED ?= 20261121
SCHEDULES ?= 100000
CHART := Sources/CAssets/vendor/chart.min.js

.DEFAULT_GOAL := help
.PHONY: help run demo test soak bench bench-peers bench-questions sim fuzz check format install build dependencies test-dependencies venv

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

run: build ## Install what is missing, build release, start the seeded demo and print its URL
	@exec .build/release/aurum demo

demo: run ## The same as run

build: dependencies $(CHART)
	@$(BUILD) --product aurum

test: dependencies test-dependencies $(CHART) venv ## Install what the tests need and run all of them, nothing skipped
	@scripts/check-format
	@$(BUILD) --build-tests
	@scripts/run-tests

soak: dependencies test-dependencies $(CHART) venv ## The tests again with the full counts of kills and seeds (hours)
	@$(BUILD) --build-tests
	@TEST_SOAK=1 scripts/run-tests

bench: build ## Measure every area against its bar and the baseline; exit 1 on a miss
	@.build/release/aurum bench events --gate
	@.build/release/aurum bench all

bench-peers: build venv ## The same events and the same paths through other engines and through Aurum, side by side
	@scripts/bench-peers
	@scripts/bench-attribution-peers

bench-questions: build ## Fill EVENTS events, then ask the dashboard's questions while events keep coming in
	@.build/release/aurum bench questions --events $(EVENTS)

sim: dependencies test-dependencies $(CHART) ## Simulated schedules of locks, jobs, limiters and caches: SCHEDULES of each from SEED
	@$(BUILD) --build-tests
	@SIM_SEED=$(SEED) SIM_SCHEDULES=$(SCHEDULES) $(SWIFT) test -c release --skip-build --filter SimulationTests

fuzz: dependencies ## Fuzz the event parser and the segment reader with libFuzzer, a minute each
	@scripts/fuzz

check: $(CHART) ## Format and house rules only, quickly
	@scripts/check-format

format: ## Format the sources in place
	@$(SWIFT) format --in-place --recursive --parallel Sources Tests Package.swift

install: build ## Put the binary, a systemd unit and a data folder in place (as root)
	@PREFIX=$(PREFIX) DATA=$(DATA) scripts/install

dependencies:
	@scripts/install-packages libpq-dev libsqlite3-dev libzstd-dev zlib1g-dev libjs-chart.js

test-dependencies:
	@scripts/no-default-cluster
	@scripts/install-packages chromium chromium-driver curl openssl postgresql python3-venv redis-server redis-tools

$(CHART): | dependencies
	@mkdir -p $(dir $@)
	@for file in /usr/share/javascript/chart.js/chart.min.js /usr/share/javascript/chart.js/Chart.min.js; do \
		if [ -e $$file ]; then cp $$file $@; exit 0; fi; done; \
		echo "Chart.js is missing; install Debian's package libjs-chart.js" >&2; exit 1

venv:
	@scripts/make-venv
