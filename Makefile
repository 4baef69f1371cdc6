# The verbs of this repository. `make` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
# Static, so that it runs in an image that holds nothing else.
AGENT := target/$(HOST)/agent/netcheck-agent
AGENT_IMAGE := target/agent-image/netcheck-agent.tar
TOOLBOX_IMAGE := target/toolbox-image/netcheck-toolbox.tar
CNI_PLUGIN := target/$(HOST)/agent/netcheck-cni
CNI_DAEMON := target/$(HOST)/cni-daemon/netcheck-cni-daemon
CNI_IMAGE := target/cni-image/netcheck-cni.tar
# The plugin pins the image it was built beside; read anew by each recipe, since the first of them makes it.
export NETCHECK_AGENT_DIGEST = $(shell cat target/agent-image/netcheck-agent.digest 2>/dev/null)
export NETCHECK_CNI_DIGEST = $(shell cat target/cni-image/netcheck-cni.digest 2>/dev/null)
export NETCHECK_TOOLBOX_DIGEST = $(shell cat target/toolbox-image/netcheck-toolbox.digest 2>/dev/null)
# What a node pulls of each, in bytes, for whoever asks the plugin.
export NETCHECK_AGENT_SIZE = $(shell cat target/agent-image/netcheck-agent.size 2>/dev/null)
export NETCHECK_CNI_SIZE = $(shell cat target/cni-image/netcheck-cni.size 2>/dev/null)
export NETCHECK_TOOLBOX_SIZE = $(shell cat target/toolbox-image/netcheck-toolbox.size 2>/dev/null)
# Static, and without paths of this machine.
STATIC := RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$$HOME/.cargo=/cargo --remap-path-prefix=$$PWD=/src" \
    cargo build $(QUIET) --target $(HOST)
# Who looks on sees cargo's own progress; a log holds what went wrong.
QUIET := $(shell test -t 2 || echo --quiet)

.PHONY: help demo test lint bench soak rig-up rig-down build plugin packages rig kubernetes image cni-image toolbox-image binaries

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

packages:
	@tests/rig/install-packages.sh

# Go and Rust side by side: each leaves a core idle part of the time. What either needs of cargo's lock comes before both.
build: rig ## build everything: plugin, agent, its image, the rig and its Kubernetes
	@$(MAKE) --no-print-directory --jobs=2 kubernetes binaries

rig: packages
	@cargo build $(QUIET) --package netcheck-rig --bin netcheck-rig

kubernetes: rig
	@target/debug/netcheck-rig build

binaries: image cni-image toolbox-image
	@cargo build $(QUIET) --workspace --bins

image: packages
	@$(STATIC) --profile agent --package netcheck-agent
	@cargo run $(QUIET) --package netcheck-image -- build --agent $(AGENT) --output $(AGENT_IMAGE)

toolbox-image: image ## the image that people get a shell in
	@cargo run $(QUIET) --package netcheck-image -- build --toolbox --agent $(AGENT) --output $(TOOLBOX_IMAGE)

cni-image: packages
	@$(STATIC) --profile agent --package netcheck-cni --bin netcheck-cni
	@$(STATIC) --profile cni-daemon --package netcheck-cni-daemon
	@cargo run $(QUIET) --package netcheck-image -- build --cni-daemon $(CNI_DAEMON) --cni-plugin $(CNI_PLUGIN) --output $(CNI_IMAGE)

plugin: image cni-image toolbox-image ## the plugin as a release, pinned to the images built beside it
	@cargo build $(QUIET) --release --package kubectl-netcheck

demo: build ## a real cluster, a healthy matrix, a route that the CNI puts back, a firewall that the matrix finds
	@tests/demo.sh

test: build ## every test: units, namespaces, a real cluster
	@tests/run-tests.sh

lint: ## rustfmt, clippy, shell syntax
	@cargo fmt --all --check
	@cargo clippy $(QUIET) --workspace --all-targets -- -D warnings
	@bash -n .ci/run $$(git ls-files '*.sh')

# What runs on a rig needs everything built; other benchmarks need what they measure.
BENCH_NEEDS := $(if $(filter capture-engine counting,$(BENCH)),packages,$(if $(filter cni-add cni-daemon datapath,$(BENCH)),cni-image,build plugin))
bench: $(BENCH_NEEDS) ## benchmarks: ours, the peer's, the ratio; BENCH=NAME for one
	@$(if $(filter-out counting,$(or $(BENCH),all)),cargo run $(QUIET) --release --package netcheck-e2e --bin netcheck-bench -- $(BENCH))
	@$(if $(filter counting,$(or $(BENCH),counting)),cargo bench $(QUIET) --package netcheck-cni-bpf --bench counting)

soak: build ## the long counts
	@cargo run $(QUIET) --package netcheck-e2e --bin netcheck-soak

rig-up: build ## bring up a real Kubernetes; then: source target/rig/env
	@target/debug/netcheck-rig up
	@for image in $(AGENT_IMAGE) $(TOOLBOX_IMAGE); do target/debug/netcheck-rig image load "$$image"; done

rig-down: ## take it down and leave nothing
	@cargo run $(QUIET) --package netcheck-rig --bin netcheck-rig -- down
