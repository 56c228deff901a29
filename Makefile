# Bellhop's entry points. What they do is in xtask/src; `cargo run -p xtask -- help` lists all of it.

# One target folder for everything, so that nothing is built twice.
export CARGO_TARGET_DIR ?= $(CURDIR)/target

XTASK := cargo run --quiet --locked -p xtask --

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

.PHONY: demo
demo: setup ## Build everything and show the main job in a lab of network namespaces (root); KEEP=1 leaves the lab up
	@$(XTASK) demo $(if $(filter-out 0,$(KEEP)),--keep)

.PHONY: demo-down
demo-down: ## Remove what `make demo KEEP=1` left
	@$(XTASK) demo-down

.PHONY: cluster
cluster: setup ## Bring up a real Kubernetes cluster of three nodes (root); MODE=cp: its control plane alone
	@$(XTASK) cluster $(MODE)

.PHONY: cluster-down
cluster-down: ## Remove what `make cluster` brought up
	@$(XTASK) cluster-down

# A KUBECONFIG that is merely in the environment must not lead the cases to a cluster that somebody works with.
.PHONY: e2e
e2e: setup ## Run the end-to-end cases (root); CASES="1 4", or on your own cluster: KUBECONFIG=... on make's command line
	@$(XTASK) e2e $(CASES) $(if $(filter command%,$(origin KUBECONFIG)),--kubeconfig $(KUBECONFIG))

.PHONY: test
test: setup ## Run every check and test there is (root)
	@$(XTASK) test

.PHONY: check
check: setup-host ## Run the checks and tests that need no root, no lab and no WebAssembly toolchain
	@$(XTASK) check

.PHONY: fuzz
fuzz: setup ## Run libFuzzer on the protocol machines for a minute each; FUZZ_SECONDS=600 for longer
	@$(XTASK) fuzz

.PHONY: bench
bench: setup ## Measure, in the release profile (root); BENCHES="bulk cluster-short" measures those alone
	@$(XTASK) bench $(BENCHES)

.PHONY: interop
interop: setup ## Run the speaker against five implementations of BGP and write docs/reference/interop.md (root)
	@$(XTASK) interop

.PHONY: image
image: setup-host ## Build the OCI image into target/image/bellhop.tar; RELEASE=1 optimises, IMAGE=NAME:TAG names it
	@$(XTASK) image $(if $(filter-out 0,$(RELEASE)),--release) $(if $(IMAGE),--name $(IMAGE))

.PHONY: setup
setup: ## Install what is missing (root, Debian 12)
	@tools/setup.sh

.PHONY: setup-host
setup-host:
	@tools/setup.sh --host

.PHONY: fixtures
fixtures: setup ## Rebuild the committed WebAssembly fixtures
	@$(XTASK) fixtures

.PHONY: crds
crds: setup-host ## Rewrite crds/, the chart's copy of it and docs/kinds from the types in host/api
	@$(XTASK) crds

.PHONY: clean
clean: ## Remove everything that was built
	cargo clean
	rm -rf .tools bench-results
