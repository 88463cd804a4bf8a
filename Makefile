# The index of this project's commands: `make help` prints it. Each line calls xtask, where the work is.
XTASK := cargo xtask
PREFIX ?= /usr/local

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## bundle two aarch64 images into a Debian arm64 root filesystem and run them in aarch64 machines (no root needed)
	@$(XTASK) demo

test: ## set up what the tests need and run every test (engine tests need root; skipped by name without it)
	@$(XTASK) test

test-long: ## kill machines at fifty random moments, and run all suites of vdkr and vpdmn (half an hour)
	@$(XTASK) test-long

test-yocto: ## build images with the openembedded-core in OECORE_DIR=… (skipped without it)
	@$(XTASK) test-yocto

check: ## formatting, clippy, licences and sources of dependencies, the rule between the crates
	@$(XTASK) check

bench: ## compare speed and memory with other tools (needs root, disk space and patience)
	@$(XTASK) bench

man: ## make the man pages and shell completions, in target/man and target/completions
	@$(XTASK) man

install: ## install the tool, vdkr, vpdmn, their agents and guest data into PREFIX=… (below DESTDIR=…)
	@$(XTASK) install "PREFIX=$(PREFIX)" "DESTDIR=$(DESTDIR)"

fuzz: ## run the fuzz targets for a minute each (needs a nightly compiler and cargo-fuzz)
	@$(XTASK) fuzz

clean: ## remove build output and everything cached (Debian root filesystems too)
	@$(XTASK) clean

.PHONY: help demo test test-long test-yocto check bench man install fuzz clean
