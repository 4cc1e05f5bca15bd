# make run: everything needed, then an untrusted program in a hardened container.
# make test: everything needed, then the tests; as root the privileged ones too.
# make test-vm: as root, the privileged tests in a virtual machine with systemd, cgroup v2 and AppArmor (integration/README.md).
# make test-faults: as root, one failure at each system call of a start and an end (integration/README.md).
# make fuzz: the fuzz targets, TIME seconds each (integration/README.md).
# CARGO, CARGO_TARGET_DIR, RUNTIME, RUNTIMES, PREFIX and DESTDIR can be set.

CARGO ?= cargo
PREFIX ?= /usr/local
TARGET_DIR := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)

# The shipped binary is static: no shared object is ever loaded, neither the host's nor the container's, and it starts
# three times as fast (docs/performance.md). musl where the toolchain has the target, else static glibc. Naming the
# target keeps the flags away from procedural macros, which cannot be static.
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
MUSL := $(subst -gnu,-musl,$(HOST))
has_target = $(wildcard $(shell rustc --print target-libdir --target $(1) 2>/dev/null)/libstd-*)
# Expanded when used, not when read: `setup` may have added the target meanwhile.
TARGET = $(if $(call has_target,$(MUSL)),$(MUSL),$(HOST))
# What start-up has to relocate is packed (RELR, which musl reads since 1.2.4), and no tables for unwinding are made: it aborts.
FLAGS = -C target-feature=+crt-static -C relocation-model=pic -C force-unwind-tables=no $(RELR)
RELR = $(if $(filter $(MUSL),$(TARGET)),-C link-arg=-Wl$(comma)-z$(comma)pack-relative-relocs)
comma := ,
STATIC = RUSTFLAGS="$(FLAGS)" CARGO_TARGET_DIR="$(TARGET_DIR)"
# For `pent --version`; empty outside of a repository.
COMMIT := $(shell git describe --always --dirty --abbrev=12 2>/dev/null)
PENT = $(TARGET_DIR)/$(TARGET)/release/pent
PENT_GUARDED = $(TARGET_DIR)/$(TARGET)/integration/pent

UNIT_TESTS := $(patsubst tests/%.rs,--test %,$(wildcard tests/*.rs))
# The [[test]] entries of the manifest that lie in integration/.
PRIVILEGED_TESTS := $(shell awk -F'"' '/^name/ { name = $$2 } /^path = "integration\// { print "--test " name }' Cargo.toml)

.PHONY: all setup build guarded run test test-vm test-faults unit privileged fuzz check deny bench manual install clean

all: build

setup:
	@integration/setup.sh "$(MUSL)" "$(TARGET_DIR)"

build: setup
	PENT_COMMIT="$(COMMIT)" $(STATIC) $(CARGO) build --locked --release --bin pent --target $(TARGET)

run: build
	@examples/untrusted/run.sh "$(PENT)"

test: setup unit privileged

unit:
	$(CARGO) test --locked --features libseccomp --lib --bins $(UNIT_TESTS)
	$(CARGO) test --locked --features libseccomp --doc

# They drive a release build with the allocation guard and all assertions, or RUNTIME in its place.
ifeq ($(shell id -u),0)
privileged: guarded
	PENT_BIN="$(PENT_GUARDED)" $(CARGO) test --locked --features libseccomp $(PRIVILEGED_TESTS)
else
privileged:
	@echo 'skip: the privileged tests need root: sudo make test'
endif

guarded:
	$(STATIC) $(CARGO) build --locked --profile integration --features guard --bin pent --target $(TARGET)

# pent, then the guest's runc and crun; RUNTIME=pent for pent alone, VM=qemu for every controller and several processors,
# TESTS="limits systemd:scope" for a part.
test-vm: setup guarded
	PENT_BIN="$(PENT_GUARDED)" CARGO_TARGET_DIR="$(TARGET_DIR)" RUNTIME="$(RUNTIME)" integration/vm/run.sh test $(TESTS)

# One failure, and one death, at each system call of create, start, exec, delete and sandbox: hours. INJECT=200 for so many of each kind,
# INJECT_SEED=N for others; `make test-vm TESTS=injected` tries a sample on the other cgroup version.
INJECT ?= all
INJECT_SEED ?= 7
test-faults: guarded
	PENT_BIN="$(PENT_GUARDED)" PENT_INJECT="$(INJECT)" PENT_INJECT_SEED="$(INJECT_SEED)" \
	$(CARGO) test --locked --features libseccomp --test injected
	PENT_BIN="$(PENT_GUARDED)" PENT_INJECT="$(INJECT)" PENT_INJECT_SEED="$(INJECT_SEED)" \
	$(CARGO) test --locked --features libseccomp --test sandbox -- a_call_that_fails

# Stable compilers say no to sanitizer coverage without RUSTC_BOOTSTRAP. What is found is in fuzz/artifacts, what was learned in
# fuzz/corpus; FUZZ="archive proxy" for a part, SANITIZER=address for one that also sees errors of memory, at a third of the speed.
TIME ?= 60
FUZZ ?= archive config flags names profile proxy state
SANITIZER ?= none
fuzz:
	@command -v cargo-fuzz >/dev/null || { echo 'cargo-fuzz is not installed: cargo install --locked cargo-fuzz'; exit 1; }
	RUSTC_BOOTSTRAP=1 $(CARGO) fuzz build -O -s $(SANITIZER)
	@for target in $(FUZZ); do mkdir -p fuzz/corpus/$$target fuzz/artifacts/$$target; echo "fuzz $$target"; \
	RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run -O -s $(SANITIZER) $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
	-max_total_time=$(TIME) -timeout=10 -rss_limit_mb=2048 -max_len=16384 -handle_xfsz=0 -print_final_stats=1 || exit 1; done

check: deny
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets --features libseccomp -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items

# Building cargo-deny takes minutes, so a machine without it is told and only CI builds it.
deny:
ifeq ($(CI),true)
	@command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny
	$(CARGO) deny --locked check bans licenses sources
else
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny --locked check bans licenses sources; \
	else echo 'skip: cargo-deny is not installed: cargo install --locked cargo-deny'; fi
endif

bench: build
	PENT_BIN="$(PENT)" RUNTIMES="$(RUNTIMES)" $(CARGO) bench --locked --bench whole_process

# Manual pages and completions, from the definition that reads the command line.
manual:
	$(CARGO) run --locked --quiet --example manual -- "$(TARGET_DIR)/manual"

install: build manual
	install -D -m 755 "$(PENT)" "$(DESTDIR)$(PREFIX)/bin/pent"
	install -D -m 644 -t "$(DESTDIR)$(PREFIX)/share/man/man8" "$(TARGET_DIR)"/manual/man/man8/*
	install -D -m 644 "$(TARGET_DIR)/manual/completions/pent.bash" "$(DESTDIR)$(PREFIX)/share/bash-completion/completions/pent"
	install -D -m 644 "$(TARGET_DIR)/manual/completions/_pent" "$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_pent"
	install -D -m 644 "$(TARGET_DIR)/manual/completions/pent.fish" "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/pent.fish"

clean:
	$(CARGO) clean
