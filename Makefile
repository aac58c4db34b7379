# The commands of this repository; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-torture lab-down test test-lab test-beside test-faults test-unit simulate check bench bench-prompt bench-failover bench-replication torture-replication \
	docs wheel lock clean

help: ## list these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 16

setup: $(STAMP) ## install the Debian and Python packages that everything here needs

$(STAMP): pyproject.toml procurement/pyproject.toml requirements/dev.txt bindep.txt
	@echo "setup: Python environment in $(VENV)"
	python3 -c 'import ensurepip, venv' 2>/dev/null || { apt-get -qq update && apt-get -qq install -y --no-install-recommends python3-venv; }
	test -x $(BIN)/python || python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . --editable procurement
	@echo "setup: Debian packages"
	missing=$$($(BIN)/bindep -b || true); \
	if test -n "$$missing"; then \
		: "the tests start what they need: no database cluster and no service of the packages' own"; \
		test -e /etc/postgresql-common/createcluster.conf || \
			{ mkdir -p /etc/postgresql-common && echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf; }; \
		apt-get -qq update && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends -o Dpkg::Options::=--force-confold $$missing >/dev/null; \
	fi
	touch $(STAMP)

demo demo-torture: export DCCTL_ENVIRONMENT := inventories/lab

demo: setup ## build the lab, lose the primary's site while a client writes, show what the client saw
	$(BIN)/dcctl demo

demo-torture: setup ## kill the demo at three phases; the next one must succeed each time
	$(BIN)/python tests/torture/demo.py

lab-down: setup ## remove the lab and all it made
	$(BIN)/dcctl lab down

# A host has one lab, and most tests need none: the two halves run side by side.
test: setup ## every test, the lab's included
	$(MAKE) --no-print-directory -j2 test-lab test-beside

test-lab: setup
	$(BIN)/pytest tests/lab

test-beside: setup
	mkdir -p build
	echo "the tests without the lab: build/test-beside.log, shown here when they have ended"
	$(BIN)/pytest --ignore tests/lab > build/test-beside.log 2>&1 || { cat build/test-beside.log; exit 1; }
	tail -n 3 build/test-beside.log

test-faults: setup ## break the whole stack in every way, and kill its operators after every step (40 min)
	$(BIN)/pytest tests/lab/test_faults.py -m lab

test-unit: setup ## the tests that need no root and no lab
	$(BIN)/pytest tests/unit

SEEDS ?= 1000
JOBS ?= 1
simulate: setup ## random faults against the whole system in virtual time (SEEDS=10000 JOBS=2 FIRST=1)
	$(BIN)/python -m dcctl.testing.simulation --seeds $(SEEDS) --jobs $(JOBS) --first $(or $(FIRST),1)

check: setup ## style, types, floors, playbooks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	ANSIBLE_CONFIG=playbooks/ansible.cfg $(BIN)/ansible-lint --offline playbooks

bench: bench-prompt bench-replication ## every measurement beside its peers, for docs/benchmarks.md

bench-prompt: setup ## how long `dcctl --help` and `dcctl status` take, with the lab up
	DCCTL_ENVIRONMENT=inventories/lab $(BIN)/python bench/prompt.py

bench-failover: setup ## how long writes stand still, ours beside Patroni alone; with the lab up and automation automatic
	$(BIN)/python bench/failover.py

bench-replication: setup ## replication beside rclone, container-sync and the swift command
	$(BIN)/python bench/replication.py

torture-replication: setup ## two Swift clusters that fail, ours, peers and wrong replicators, judged: one table (20 min)
	$(BIN)/python tests/torture/replication.py --page docs/reference/replication-torture.md

docs: setup ## build the documentation into build/site; a warning is an error
	$(BIN)/mkdocs build --strict

wheel: setup ## build the wheel into build/dist
	$(BIN)/python -m build --wheel --no-isolation --outdir build/dist .

lock: ## renew requirements/*.txt from pyproject.toml
	$(BIN)/pip-compile --quiet --allow-unsafe --strip-extras --generate-hashes --extra dev \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host -o requirements/dev.txt pyproject.toml
	$(BIN)/pip-compile --quiet --allow-unsafe --strip-extras --generate-hashes -c requirements/dev.txt \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host -o requirements/run.txt pyproject.toml
	for name in agent procurement; do \
		$(BIN)/pip-compile --quiet --allow-unsafe --strip-extras --generate-hashes -c requirements/dev.txt \
			--no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
			-o requirements/$$name.txt requirements/$$name.in || exit 1; \
	done
	$(BIN)/pip-compile --quiet --allow-unsafe --strip-extras --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host -o requirements/swift.txt requirements/swift.in

clean: ## remove what builds left here; the lab is `make lab-down`
	rm -rf build dist site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
