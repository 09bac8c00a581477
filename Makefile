# Needs cargo and python3 (3.11 or later); everything else goes into .venv by pip.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
CARGO ?= cargo
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# What the installed package is built from: a change in any of it installs anew.
SOURCES := pyproject.toml Cargo.toml Cargo.lock core/Cargo.toml python/Cargo.toml \
	$(shell find core/src python/src -name '*.rs') \
	$(shell find python/unrolled -name '*.py' -o -name '*.pyi' -o -name py.typed -o -name tolerances.toml)

# Where there is taskset, a bench of one thread stays on one core.
ONE_CORE := $(if $(shell command -v taskset),taskset -c $(or $(CORE),0))

# The features of the crate, each of which must hold alone.
FEATURES := alloc std rayon formats

.PHONY: help demo course test test-rust test-alone test-scalar test-python test-extras test-others lint lint-rust lint-python bench \
	bench-rust bench-rust-peers bench-monitor install-capi cross web math-exhaustive fuzz sanitize clap clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or later is needed"'
	$(PYTHON) -m venv $(VENV)

# One stamp for each set of extras: .venv/installed-demo, .venv/installed-test …
$(VENV)/installed-%: $(BIN)/python $(SOURCES)
	$(PIP) install --quiet '.[$*]'
	@touch $@

demo: $(VENV)/installed-demo  ## check the kernels, tell nine speakers apart, forecast sunspots
	$(BIN)/unrolled demo $(ARGS)

course: $(VENV)/installed-demo  ## the course on gradient flow: eight parts with figures (minutes)
	$(BIN)/python examples/gradient_flow/run_all.py $(ARGS)

test: test-rust test-python  ## every test, Rust's and Python's
	@echo "make test: all tests passed"

# On Linux the extension is built first, for the test that reads its machine code.
ifeq ($(shell uname -s),Linux)
test-rust: export UNROLLED_ARTEFACT := $(abspath $(or $(CARGO_TARGET_DIR),target)/release/lib_native.so)
endif

# Python's extension is tried from Python; what the header is made with would bring features of its own.
NOT_HERE := unrolled-python unrolled-capi-header

test-rust:
	$(if $(UNROLLED_ARTEFACT),PYO3_PYTHON='$(PYTHON)' $(CARGO) build --release -p unrolled-python)
	$(CARGO) test --release --workspace $(NOT_HERE:%=--exclude %) --features unrolled/formats
	$(CARGO) test -p unrolled-capi-header

# The level of a machine without vectors, as a microcontroller is.
SCALAR = RUSTFLAGS='$(RUSTFLAGS) --cfg unrolled_scalar' $(CARGO) test --release --target-dir target/scalar -p unrolled \
  --no-default-features --features std

test-scalar:  ## cells of fixed size with the portable level of a machine without vectors
	$(SCALAR) --test fixed --test compressed

test-alone: test-scalar  ## nets without std or threads; every bit with that level
	$(CARGO) test --release -p unrolled --no-default-features --features alloc --test network
	$(SCALAR) --test guard

test-python: $(VENV)/installed-test
	$(BIN)/python -m pytest $(ARGS)

# Everything beside which ours can be tried: PyTorch is several GB.
$(VENV)/installed-extras: $(VENV)/installed-test
	$(PIP) install --quiet '.[test,torch,jax,sklearn,onnx,keras]' 'onnxruntime>=1.20' onnxscript pandas
	@touch $@

# Tests of which a part needs them.
WITH_EXTRAS := $(patsubst %,tests/%_extra,torch jax sklearn onnx) $(wildcard tests/test_formats*.py) \
	$(patsubst %,tests/test_%.py,torch write flow flow_kernels extras reader docstrings docs)

test-extras: $(VENV)/installed-extras  ## what comes with extras: PyTorch, JAX, scikit-learn, ONNX, Keras
	$(BIN)/python -m pytest $(WITH_EXTRAS) $(ARGS)

# The same as `make test`, but for the tests that `make test-extras` runs whole.
test-others: test-rust $(VENV)/installed-test
	$(BIN)/python -m pytest $(WITH_EXTRAS:%=--ignore=%) $(ARGS)

install-capi:  ## the C and C++ library: PREFIX=/usr/local, or wherever pkg-config and CMake are to find it
	$(if $(PREFIX),,$(error PREFIX says where to: make install-capi PREFIX=$$HOME/.local))
	CARGO='$(CARGO)' capi/install.sh '$(PREFIX)'

cross:  ## built for other machines, run by emulators; ARGS=--fetch gets Debian's compiler for what rustup has not
	$(PYTHON) tools/cross.py $(ARGS)

web:  ## for browsers and node, into target/web: what loads models, and one with MODEL=model.rs, of net.to_rust
	$(PYTHON) web/build.py $(if $(MODEL),--model '$(MODEL)') $(ARGS)

lint: lint-rust lint-python  ## formats, clippy, documentation, ruff, mypy, stubs
	@echo "make lint: nothing to object to"

lint-rust:
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path benches/rust-peers/Cargo.toml --check
	$(CARGO) fmt --manifest-path open-cell/Cargo.toml --check
	$(CARGO) fmt --manifest-path web/Cargo.toml --check
	$(CARGO) fmt --manifest-path examples/cortex-m/Cargo.toml --check
	$(CARGO) fmt --manifest-path examples/clap/Cargo.toml --check
	$(CARGO) clippy --workspace --all-targets --features unrolled/formats -- -D warnings
	$(CARGO) clippy --manifest-path open-cell/Cargo.toml --target-dir target/open-cell --all-targets --all-features \
	  -- -D warnings
	for feature in '' loader; do \
	  $(CARGO) clippy --manifest-path web/Cargo.toml --target-dir target/web-build --all-targets --features "$$feature" \
	    -- -D warnings; \
	done
	$(CARGO) clippy -p unrolled --no-default-features -- -D warnings
	for feature in $(FEATURES); do \
	  $(CARGO) clippy -p unrolled --no-default-features --features $$feature -- -D warnings; \
	done
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --features unrolled/formats

lint-python: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest unrolled._native

bench: $(VENV)/installed-bench  ## everything beside PyTorch, ONNX Runtime, OpenVINO and JAX
	$(BIN)/unrolled bench $(ARGS)

bench-rust:  ## the kernels alone, from Rust: steps, tiles, passes, what silence costs
	$(CARGO) bench -p unrolled --bench '*' $(ARGS)

bench-rust-peers:  ## beside candle and burn, one thread (their crates take minutes to build)
	cd benches/rust-peers && RAYON_NUM_THREADS=1 $(ONE_CORE) $(CARGO) run --release -- $(ARGS)

bench-monitor: $(VENV)/installed-demo  ## what watching the flow of gradients costs a training
	$(BIN)/python benches/monitor.py $(ARGS)

# Tests that look at the code, the instructions or the stack of an ordinary build stay out.
SANITIZED := $(filter-out freestanding instructions machine_code stack,$(basename $(notdir $(wildcard core/tests/*.rs))))
SANITIZE = RUSTUP_TOOLCHAIN=nightly RUSTFLAGS='$(1)' $(CARGO) $(2) --release --target $(HOST)
HOST = $(shell $(CARGO) -vV | sed -n 's/^host: //p')

# Debug assertions: overflow, and what unsafe functions of the standard library ask for. Memory is watched by zones
# around every value on the stack, so that it takes several times as much.
sanitize:  ## Rust's tests under the address sanitizer, steps under the real-time one (needs Rust's nightly)
	RUST_MIN_STACK=67108864 $(call SANITIZE,-Zsanitizer=address -Cdebug-assertions,test) \
	  --target-dir target/sanitize -p unrolled --lib $(SANITIZED:%=--test %)
	$(call SANITIZE,-Zsanitizer=realtime,build) --target-dir target/sanitize --manifest-path sanitize/Cargo.toml
	target/sanitize/$(HOST)/release/sanitize
	for mistake in allocates opens; do \
	  if target/sanitize/$(HOST)/release/sanitize $$mistake 2> target/sanitize/$$mistake; then \
	    echo "the sanitizer does not see what $$mistake" >&2; exit 1; fi; \
	  grep -q RealtimeSanitizer target/sanitize/$$mistake; \
	done
	@echo "make sanitize: nothing to object to"

math-exhaustive:  ## the elementary functions at every f32 there is (long)
	$(CARGO) run --release --example exhaustive_math -p unrolled

# How long each reader, and the interface, is fuzzed.
SECONDS ?= 60

fuzz: $(VENV)/installed-fuzz  ## what reads files, coverage-guided, and every function: SECONDS=60 each
	for reader in $$($(BIN)/python fuzz/readers.py --list); do \
	  $(BIN)/python fuzz/readers.py $$reader --seconds $(SECONDS); \
	done
	$(BIN)/python fuzz/api.py --seconds $(SECONDS)
	UNROLLED_FUZZ=$(SECONDS)000 $(CARGO) test --release -p unrolled --features formats --test formats

# A folder of its own: the crate is built without rayon here.
CLAP := --manifest-path examples/clap/Cargo.toml --target-dir target/clap

clap:  ## the CLAP audio effect of examples/clap: built and tested in a host (minutes: the crate is built anew)
	$(CARGO) build --release $(CLAP)
	$(CARGO) test --release $(CLAP)
	$(CARGO) clippy $(CLAP) --all-targets -- -D warnings

clean:  ## remove what was built and installed
	rm -rf $(VENV) target demo-output bench-output fuzz/corpus fuzz/found .pytest_cache .mypy_cache .ruff_cache .hypothesis
