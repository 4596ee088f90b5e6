# `make` lists the targets. Each runs alone, from a fresh clone; scripts/setup brings the system libraries it needs.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo demo-gtk demo-chat lint fmt clippy rustdoc tests-run rooms pictures-check guests packages decisions public-api api package test build-all nextest doctest loom fuzz conformance suites features generate pictures deny bench clean

# What a program of the demos gets: make demo ARGS='--http-port 8001'
ARGS ?=
# Packages that `bench` builds for release beside its runner: the servers it starts.
BENCH_SERVERS ?= hello interloop-e2e
# What `suites` builds with.
PROFILE ?= release
# For how long each target of `fuzz` runs.
FUZZ_SECONDS ?= 60

export CARGO_TERM_COLOR ?= auto

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## glib and tokio in one process: examples/side-by-side on 127.0.0.1:8000
	@scripts/setup demo
	cargo build -p side-by-side
	cargo run --quiet -p side-by-side -- $(or $(ARGS),--http-host 127.0.0.1 --http-port 8000)

demo-gtk: ## a GTK window and a web page on one board: examples/gtk-counter (under Xvfb where there is no display)
	@scripts/setup demo-gtk
	cargo build -p gtk-counter
	scripts/with-display cargo run --quiet -p gtk-counter -- $(or $(ARGS),--http-host 127.0.0.1 --http-port 8000)

demo-chat: ## a chat of web pages and a GTK window, with notifications by D-Bus: examples/chat (under Xvfb where there is no display)
	@scripts/setup demo-gtk
	cargo build -p chat
	scripts/with-display cargo run --quiet -p chat -- $(or $(ARGS),--http-host 127.0.0.1 --http-port 8000)

lint: fmt clippy rustdoc tests-run rooms pictures-check guests packages decisions public-api ## rustfmt, clippy and rustdoc, warnings denied; and the checks that CONTRIBUTING.md lists

fmt:
	cargo fmt --all --check

# -D warnings goes to clippy and rustdoc alone and RUSTFLAGS stays as it is: else every dependency would be built twice.
clippy:
	@scripts/setup demo-gtk
	cargo clippy --workspace --all-targets --features interloop-e2e/table -- -D warnings

rustdoc:
	@scripts/setup demo-gtk
	RUSTDOCFLAGS="$$RUSTDOCFLAGS -D warnings" cargo doc --workspace --no-deps --all-features

tests-run:
	scripts/tests-run

rooms:
	@scripts/setup rooms
	scripts/rooms
	scripts/rooms-picture --check

pictures-check:
	@scripts/setup rooms
	scripts/pictures --check

guests:
	scripts/tasks-as-guests

packages:
	@scripts/setup rooms
	scripts/packages

decisions:
	scripts/decisions

# After rustdoc: it builds nothing that is there already.
public-api:
	@scripts/setup demo-gtk
	@scripts/setup rooms
	scripts/public-api --check

api: ## the public items of each crate, into docs/api; make lint says when they have changed
	@scripts/setup demo-gtk
	@scripts/setup rooms
	scripts/public-api

package: ## what a release does, but for the upload: packs each crate, and builds it from its package (needs the network)
	@scripts/setup demo-gtk
	cargo publish --workspace --dry-run

test: nextest doctest loom ## every test: units, properties, end to end, documentation, loom

# Unit tests are in libraries, all others in tests/: no binary has tests, so none is linked a second time for them.
TESTS = --workspace --lib --test '*'

# With the tests' own features, so that nextest builds nothing again; nextest itself would not build the plain binaries
# of the examples, which the end-to-end tests start.
build-all:
	@scripts/setup all
	cargo build $(TESTS) --bins --examples

nextest: build-all
	if cargo nextest --version >/dev/null 2>&1; \
	then cargo nextest run $(TESTS); \
	else cargo test $(TESTS) --no-fail-fast; fi

doctest: build-all
	cargo test --workspace --doc --no-fail-fast

loom: ## the races of mailbox and shutdown, all interleavings (its own folder: target/loom)
	RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=$${CARGO_TARGET_DIR:-target}/loom \
		cargo test -p interloop --lib --release loom

# cargo-fuzz asks for a nightly compiler; the stable one does as well. Seeds are checked in, what is found on the way stays in fuzz/corpus.
fuzz: ## Thrift's reader of frames, and its walk against Apache's decoders, for FUZZ_SECONDS each (needs cargo-fuzz)
	for target in frames decoders; do \
		mkdir -p fuzz/corpus/$$target; \
		RUSTC_BOOTSTRAP=1 CARGO_PROFILE_RELEASE_DEBUG=0 cargo fuzz run --fuzz-dir fuzz $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=8192 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 || exit 1; \
	done

conformance: ## every loop against the whole kit, at full size; writes the table in docs/conformance.md
	@scripts/setup all
	INTERLOOP_CONFORMANCE=full cargo run --release -p interloop-e2e --features table --bin conformance -- $(ARGS)

suites: ## the suites of others, against ours and theirs; writes the table in docs/suites.md (PROFILE=dev: a debug build)
	@scripts/setup suites
	cargo build --profile $(PROFILE) -p interloop-e2e --bin suite -p grpc-health -p interloop-benches --bin bare-axum --bin bare-tls --bin bare-dbus --bin bus-on --bin grpc-health
	tests/suites/run.py --profile $(if $(filter dev,$(PROFILE)),debug,$(PROFILE)) $(ARGS)

features: ## each crate without features, with each feature alone, with all
	@scripts/setup demo-gtk
	scripts/features

generate: ## what Thrift's compiler and protoc make of interfaces, and the picture of the rooms, all of which is checked in
	@scripts/setup generate
	scripts/generate
	scripts/rooms-picture

pictures: ## the pictures of README.md and docs/, from services that run: a window beside curl, states, a stop, a graph
	@scripts/setup pictures
	scripts/pictures

deny: ## licences, bans and sources of all dependencies (needs cargo-deny)
	cargo deny --workspace check licenses bans sources

bench: ## ours against hand-written code, interleaved; writes benches/RESULTS.md
	@scripts/setup demo
	cargo build --release -p interloop-benches $(addprefix -p ,$(BENCH_SERVERS))
	cargo run --quiet --release -p interloop-benches -- $(ARGS)

clean: ## remove what was built
	cargo clean
