# Holdline's doors. Each target installs what it lacks (scripts/install.sh) and says what it does.
.DEFAULT_GOAL := help
.PHONY: help demo test bench lab fuzz fmt clean
SHELL := /bin/bash
export PATH := $(PATH):$(if $(CARGO_HOME),$(CARGO_HOME),$(HOME)/.cargo)/bin
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)

help: ## what there is to make
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/^([a-z]+):.*## /  make \1|/' | \
	  while IFS='|' read -r name what; do printf '%-14s %s\n' "$$name" "$$what"; done

demo: ## the whole platform on this machine: kill a part of it, and see what its calls feel (ARGS="..." is passed on)
	@scripts/install.sh build
	@echo "demo: building holdline (release; minutes the first time, nothing when built)"
	@cargo build --locked --release --package holdline
	@exec $(TARGET)/release/holdline demo $(ARGS)

test: ## everything CI runs: format, lints, tidy, licences, tests, fuzzing for seconds, docs
	@scripts/test.sh

bench: ## Holdline beside Kamailio under the same load, into target/bench.json (ROWS=proxy-call for one row)
	@scripts/install.sh build bench
	@cargo xtask bench $(if $(ROWS),--rows $(ROWS))

fuzz: ## fuzz each decoder for SECONDS=60 (TARGETS="message uri" for some of them)
	@scripts/install.sh build fuzz
	@scripts/fuzz.sh $(or $(SECONDS),60) $(TARGETS)

lab: ## the published experiments in under ten minutes, into target/lab/report.html (ARGS="--runs 200", ARGS=takeover)
	@scripts/install.sh build lab
	@echo "lab: building holdline (release; minutes the first time, nothing when built)"
	@cargo build --locked --release --package holdline
	@$(TARGET)/release/holdline lab $(or $(ARGS),--out $(TARGET)/lab)

fmt: ## format the code
	@cargo fmt --all
	@[ ! -f crates/fuzz/Cargo.toml ] || cargo fmt --manifest-path crates/fuzz/Cargo.toml

clean: ## remove what was built
	@cargo clean
