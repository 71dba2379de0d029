# The one door. `make` alone says what there is to do.
#
# Everything is set up on the way: uv and a virtual environment with LNbits and the
# tools, from requirement files with hashes; the core, built into it; node's tools.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

LNBITS_VERSION ?= 1.6.2
DEFAULT_VERSION := 1.6.2

# One environment for each LNbits: `.venv` for the usual one.
VENV := .venv$(if $(filter-out $(DEFAULT_VERSION),$(LNBITS_VERSION)),-$(LNBITS_VERSION))
PINNED := requirements/lnbits-$(LNBITS_VERSION).txt

export UV_PROJECT_ENVIRONMENT := $(VENV)
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
export UV_PYTHON_DOWNLOADS := never
# The environment's own programs first; `.uv` has uv where the machine has none.
export PATH := $(CURDIR)/$(VENV)/bin:$(CURDIR)/.uv/bin:$(PATH)

RUST := Cargo.toml $(wildcard Cargo.lock) $(shell find src -name '*.rs')
PYTHON_CORE := $(shell find python/nostrclient_core -name '*.py*' -not -name '*.pyc')
EXTENSION := $(wildcard *.py *.json *.md) LICENSE \
    $(shell find docs static templates python/nostrclient_ext -type f -not -name '*.pyc')
RUN := uv run --no-sync

INSTALLED := $(VENV)/.installed
CORE := $(VENV)/.core
WHEEL := dist/.wheel$(TARGET:%=-%)
BUNDLE := dist/.bundle
OTHER_BUNDLE := dist/other/.bundle
NODE := $(VENV)/.node
OWNERS := $(patsubst requirements/lnbits-%.in,.venv-owner-%/.installed,$(wildcard requirements/lnbits-*.in))
RELAYS := .venv-relays/.installed
NODE_TOOLS := node_modules/.package-lock.json
NODE_CLIENTS := tests/support/node
STUBTEST := target/stubtest
# Another multiplexer, to be measured beside ours.
PEER_VERSION := 1.8.1
PEER := target/peers/.installed-$(PEER_VERSION)

.PHONY: help run test crash-test dev format check clean bench curves pre-commit
.PHONY: mypy pyright black checkblack ruff checkruff prettier checkprettier
.PHONY: eslint tsc rustfmt checkrust checkversion checkrules checklayers checksentences
.PHONY: stubtest lock
.PHONY: postgres chromium socks fronts
.PHONY: wheel bundle other-bundle other-core version

help: ## What the targets do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' Makefile

# --- Running ---------------------------------------------------------------------------

run: $(CORE) ## LNbits with this extension and two local relays, until Ctrl-C
	@exec $(VENV)/bin/python -m scripts.run

dev: $(CORE) ## Build the core into the virtual environment

# So many processes run Python tests at the same time: see tests/support/lanes.py. If one of them
# dies, the test that it died of is named, and the run ends.
LANES ?= 4
IN_LANES := -n $(LANES) --max-worker-restart 0 -v

test: $(CORE) $(NODE) $(OWNERS) $(RELAYS) other-core postgres chromium socks fronts bundle other-bundle ## The Rust tests, then the tests against a real LNbits
	cargo test
	LNBITS_BACKEND_WALLET_CLASS=FakeWallet DEBUG=true PYTHONUNBUFFERED=1 $(RUN) pytest $(IN_LANES)

ROUNDS ?= 200

crash-test: $(CORE) ## Kill LNbits ROUNDS times, and the core alone ten times as often
	CRASH_ROUNDS=$(ROUNDS) $(RUN) pytest -s tests/outbox/test_crash.py

# ONLY: the scenarios to run, of those in benches/endpoint/scenarios. KEEP=1: with the tables put
# into docs/performance.md.
bench: $(CORE) $(PEER) ## Measure the endpoint of a real LNbits, beside a relay and another proxy
	cargo bench --bench endpoint -- $(ONLY) $(KEEP:%=--keep)

# ONLY: over-relays, over-clients or over-subscriptions.
curves: $(CORE) $(PEER) ## Draw how that grows with relays, clients and subscriptions
	cargo bench --bench endpoint -- $(or $(ONLY),curves)

# --- Releasing -------------------------------------------------------------------------

# `TARGET` is one of Rust's, as aarch64-unknown-linux-musl.
wheel: $(WHEEL) ## The core for this kind of machine, or for TARGET, in dist/wheels

bundle: $(BUNDLE) ## The zip that LNbits installs, with every wheel in dist/wheels

other-bundle: $(OTHER_BUNDLE) ## The same as the next version, for tests of upgrades

# `VERSION` is the new one; without it, the one there is.
version: ## Say the version, or set it: make version VERSION=2.1.0
	@$(or $(PYTHON),python3) -m scripts.version $(VERSION)

# --- Checking --------------------------------------------------------------------------

# None of them needs the core that `make dev` builds, and none replaces it.
CHECKS := checkversion checkrules checklayers checksentences mypy pyright eslint tsc \
    checkblack checkruff checkprettier checkrust stubtest
check: $(CHECKS) ## All checks

checkversion: $(INSTALLED) ## Whether the core and the extension have one version
	$(RUN) python -m scripts.version

checkrules: $(INSTALLED) ## Whether every rule that is named stands in docs/rules.md
	$(RUN) python -m scripts.check_rules

checklayers: $(INSTALLED) ## Whether the core's floors know only those below them
	$(RUN) python -m scripts.check_layers

checksentences: $(INSTALLED) ## Whether nothing is decided by the wording of a text
	$(RUN) python -m scripts.check_sentences

mypy: $(INSTALLED) ## Python's types
	$(RUN) mypy

pyright: $(INSTALLED) $(NODE_TOOLS) ## Python's types, checked by another
	$(RUN) node_modules/.bin/pyright

checkblack: $(INSTALLED) ## Python's layout
	$(RUN) black --check .

checkruff: $(INSTALLED) ## Python's habits
	$(RUN) ruff check .

checkprettier: $(NODE_TOOLS) ## The layout of everything else
	$(RUN) node_modules/.bin/prettier --check .

eslint: $(NODE_TOOLS) ## JavaScript's habits
	$(RUN) node_modules/.bin/eslint .

tsc: $(NODE_TOOLS) $(NODE_CLIENTS)/node_modules/.package-lock.json ## JavaScript's types
	$(RUN) node_modules/.bin/tsc -p .
	$(RUN) node_modules/.bin/tsc -p $(NODE_CLIENTS)

checkrust: ## Rust's layout and habits
	cargo fmt --check
	cargo clippy --all-targets --all-features -- -D warnings

# A debug build, which has much in common with that of `cargo test`, in a folder of its own.
stubtest: $(INSTALLED) ## Whether the core is what its .pyi says
	rm -rf $(STUBTEST)
	maturin build --quiet --auditwheel skip --out $(STUBTEST)
	python -m zipfile -e $(STUBTEST)/*.whl $(STUBTEST)
	PYTHONPATH=$(STUBTEST) MYPYPATH=$(STUBTEST) $(RUN) python -m mypy.stubtest nostrclient_core

pre-commit: $(INSTALLED) $(NODE_TOOLS) ## What is checked before a commit, on all files
	$(RUN) pre-commit run --all-files

# --- Mending ---------------------------------------------------------------------------

format: prettier black ruff rustfmt ## Mend layout and habits

prettier: $(NODE_TOOLS)
	$(RUN) node_modules/.bin/prettier --write .

black: $(INSTALLED)
	$(RUN) black .

ruff: $(INSTALLED)
	$(RUN) ruff check --fix .

rustfmt:
	cargo fmt

clean: ## Remove what was built and installed (not the data of `make run`)
	rm -rf .venv .venv-* .uv node_modules $(NODE_CLIENTS)/node_modules target dist
	rm -rf .mypy_cache .pytest_cache .ruff_cache
	find python -name '*.so' -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

lock: $(INSTALLED) ## Pin the newest versions of what is installed
	scripts/lock.sh

# --- Setting up ------------------------------------------------------------------------

$(INSTALLED): $(wildcard requirements/*.txt) requirements/dev.in scripts/setup.sh
	scripts/setup.sh $(VENV) $(LNBITS_VERSION)
	@touch $@

.venv-owner-%/.installed: requirements/lnbits-%.in requirements/lnbits-%.txt scripts/setup-owner.sh | $(INSTALLED)
	scripts/setup-owner.sh $(@D) $*
	@touch $@

$(RELAYS): requirements/relays.txt scripts/setup-relays.sh | $(INSTALLED)
	scripts/setup-relays.sh $(@D)
	@touch $@

# `maturin develop` links `python/` into the environment; the library itself is beside
# the sources, and serves every environment. It overwrites a copy of the old one, from
# which an LNbits may be running.
$(CORE): $(INSTALLED) $(RUST) $(PYTHON_CORE) pyproject.toml
	for so in python/nostrclient_core/*.so; do \
	    if [ -e "$$so" ]; then cp "$$so" "$$so.copy" && mv "$$so.copy" "$$so"; fi; \
	done
	maturin develop --release --uv
	@touch $@

$(WHEEL): $(RUST) $(PYTHON_CORE) pyproject.toml requirements/zig.txt scripts/wheel.sh \
    | $(INSTALLED)
	scripts/wheel.sh dist/wheels $(TARGET)
	@touch $@

$(BUNDLE): $(WHEEL) $(EXTENSION) $(wildcard dist/wheels/*.whl) scripts/bundle.py \
    scripts/manifest.py
	$(RUN) python -m scripts.bundle
	@touch $@

$(OTHER_BUNDLE): $(BUNDLE) scripts/other_version.py
	$(RUN) python -m scripts.other_version
	@touch $@

# With what its authors have locked, and a folder of its own to build in. Without it the rest is
# measured all the same.
$(PEER):
	mkdir -p $(@D)
	cargo install --locked --root target/peers --target-dir target/peers/build \
	    --version $(PEER_VERSION) proxy-nostr-relay && touch $@ || \
	    echo "proxy-nostr-relay was not built, and is not measured." >&2

$(NODE): $(INSTALLED) requirements/node.txt
	scripts/setup-node.sh
	@touch $@

# The environment of the older LNbits. Building the core into it replaces the library from
# which every LNbits starts, so it is not left to the test that needs it.
other-core: $(CORE)
	$(MAKE) --no-print-directory dev LNBITS_VERSION=1.5.6

# Of the machine, so nothing here marks that it is there.
postgres:
	scripts/setup-postgres.sh

# As above.
chromium:
	scripts/setup-chromium.sh

# As above.
socks:
	scripts/setup-socks.sh

# As above.
fronts:
	scripts/setup-fronts.sh

$(NODE_TOOLS): package-lock.json $(NODE)
	npm ci --silent
	@touch $@

# As the tests' fixture `node` does it.
$(NODE_CLIENTS)/node_modules/.package-lock.json: $(NODE_CLIENTS)/package-lock.json $(NODE)
	cd $(NODE_CLIENTS) && npm ci --silent
	@touch $@
