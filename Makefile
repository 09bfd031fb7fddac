# Thin on purpose: the logic lives in the crates and in the scripts under e2e/.
PYTHON ?= python3

.PHONY: help demo test check fmt lint crds golden layering budgets conformance exchange outages e2e failpoints interop load mutate mutants fuzz hostile fronts routing reload histories revocation tenancy figures deny

help: ## what there is
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | sort

demo: ## the whole flow on this machine, without a cluster; ARGS=--check runs once and ends
	@$(PYTHON) e2e/demo/run $(ARGS)

test: ## everything, cheap parts first; what CI runs
	@$(PYTHON) e2e/test

check: ## format, lint, unit, golden and layering tests
	@$(PYTHON) e2e/test --quick

fmt: ## format the code
	cargo fmt

lint: ## warnings are errors
	cargo clippy --workspace --all-targets -- -D warnings

crds: ## write the CustomResourceDefinitions anew
	cargo run -q -p portreeve-crds --example crdgen
	@mkdir -p charts/portreeve/files/crds && cp crds/*.yaml charts/portreeve/files/crds/

golden: ## write the golden outputs anew; read the diff
	PORTREEVE_GOLDEN=write cargo test -q -p portreeve-compiler --test golden
	PORTREEVE_GOLDEN=write cargo test -q -p portreeve-e2e --test samples
	PORTREEVE_GOLDEN=write cargo test -q -p portreeve-proxy --lib the_table_of_the_docs
	PORTREEVE_GOLDEN=write cargo test -q -p portreeve-policy --lib the_table_of_the_docs
	PORTREEVE_GOLDEN=write cargo test -q -p portreeve-cli --test validate the_page

layering: ## the iron rules of the architecture
	cargo test -q -p portreeve-e2e --test layering

budgets: ## lines of a file and of a function, and what modules may use
	cargo test -q -p portreeve-e2e --test layering -- budget each_module
	cargo clippy -q --workspace --all-targets -- -D warnings

conformance: ## published vectors through the library and through a running proxy
	@$(PYTHON) e2e/conformance/run

exchange: ## tokens of partners at a real token service, by all three grants
	@$(PYTHON) e2e/exchange/run

mutate: ## damages every golden input; no fault may open anything; PAIRS and SEED
	@cargo run -q --release -p portreeve-e2e --bin mutate -- $(PAIRS) $(SEED)

outages: ## every row of docs/outages.md, with a fault proxy between real parts
	@$(PYTHON) e2e/outages/run

e2e: ## a real node, the chart, real pods; KUBECONFIG names another cluster
	@e2e/run

failpoints: ## 1,000 registrations that end at any await, against the real token service; RUNS and SEED
	@$(PYTHON) e2e/failpoints/run $(RUNS)

interop: ## registration at Keycloak, and at a server with every oddity of docs/registration.md
	@$(PYTHON) e2e/interop/run

load: ## 1,000 ClientRegistrations at once
	@$(PYTHON) e2e/load/run

fuzz: ## every parser of what others write, with libFuzzer; ARGS=--seconds=60
	@$(PYTHON) e2e/fuzz/run $(ARGS)

fronts: ## nginx and HAProxy in front, applications that close idle connections behind; REQUESTS
	@$(PYTHON) e2e/fronts/run $(REQUESTS)

hostile: ## hostile peers beside honest ones, class by class, and nginx beside; ARGS=--seconds=60
	@$(PYTHON) e2e/hostile/run $(ARGS)

routing: ## bar B4: thousands of targets to six applications; TARGETS
	@$(PYTHON) e2e/routing/run $(TARGETS)

reload: ## bar B16: snapshots that follow each other under load, and a drain; SWAPS
	@$(PYTHON) e2e/reload/run $(SWAPS)

figures: ## measure what the README states, in release mode
	@$(PYTHON) bench/figures

deny: ## licences, bans and sources, with cargo-deny
	cargo deny check licenses bans sources

mutants: ## changes the code that decides and looks whether a test notices; ARGS=--part=NAME
	@$(PYTHON) e2e/mutants/run $(ARGS)

histories: ## bar B10: histories of pushes with loss, repetition, restarts
	cargo test -p portreeve-proxy --lib b10_

revocation: ## bar B7: nothing lasts longer than its bound, whatever the clock does
	cargo test -p portreeve-proxy b7_

tenancy: ## bar B13: nothing of one namespace changes by objects of another
	cargo test -p portreeve-compiler --test tenancy
