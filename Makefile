# `make` lists what there is to do. Each target installs, or names in one line, what it lacks.

.DEFAULT_GOAL := help
SHELL := /bin/sh
.SHELLFLAGS := -ec

# rustup puts cargo here, and not every shell looks there.
export PATH := $(PATH):$(HOME)/.cargo/bin

BUILD_NEEDS := cc:gcc cc:libc6-dev cmake:cmake
TEST_NEEDS  := python3:python3 py/ensurepip:python3-venv node:nodejs npm:npm /usr/lib/postgresql/*/bin/postgres:postgresql \
	sqlite3:sqlite3 promtool:prometheus kubectl:kubernetes-client curl:curl \
	strip:binutils unshare:util-linux ip:iproute2 buildah:buildah debootstrap:debootstrap docker-compose:docker-compose \
	caddy:caddy nginx:nginx-light systemd-analyze:systemd strace:strace
BENCH_NEEDS := python3:python3 nginx:nginx-light taskset:util-linux
LAYOUT_NEEDS := python3:python3 taskset:util-linux valgrind:valgrind nm:binutils
SCRIPTS     := $(wildcard .ci/run .ci/need .ci/test tests/sdk/install.sh tests/golden/install.sh tests/cluster/install.sh \
	tests/deploy/install.sh .ci/image .ci/images deploy/docker/compile deploy/docker/python deploy/load/run.sh)

# Where a release is put together.
DIST ?= dist
export DIST

SERVED = [ -s api.yaml ] || [ -n "$$CONFIG_URL$$API_YAML_CONTENT" ]

.PHONY: help run install image images archive sbom checksums load deps deps-build deps-test deps-bench test test-dialect test-layers test-root test-gateway test-cluster test-deploy dashboards golden conformance fuzz mutants check bench bench-micro bench-layout bench-count clean

help: ## This list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

run: deps-build ## Serve ./api.yaml, or a demo when there is none
	@echo "Building; the first time takes some minutes."
	@cargo build --bin uni-api
	@if $(SERVED); then exec cargo run --quiet; else exec cargo run --quiet -- demo; fi

# Beside cargo, so that the shell finds the program, man its page, and bash its completions.
PREFIX ?= $(or $(CARGO_HOME),$(HOME)/.cargo)

install: $(if $(BINARY),,deps-build) ## Build for real use and install, with manual and completions (PREFIX=~/.cargo BINARY=one-that-is-built)
	@if [ -n "$(BINARY)" ]; then mkdir -p "$(PREFIX)/bin" && install -m 755 "$(BINARY)" "$(PREFIX)/bin/"; \
	else cargo install --locked --path . --bin uni-api --root "$(PREFIX)"; fi
	@cd "$(PREFIX)" && mkdir -p share/man/man1 share/bash-completion/completions share/zsh/site-functions share/fish/vendor_completions.d \
	&& bin/uni-api man >share/man/man1/uni-api.1 \
	&& bin/uni-api completions bash >share/bash-completion/completions/uni-api \
	&& bin/uni-api completions zsh >share/zsh/site-functions/_uni-api \
	&& bin/uni-api completions fish >share/fish/vendor_completions.d/uni-api.fish
	@command -v uni-api >/dev/null || echo "Add $(PREFIX)/bin to your PATH."
	@echo "Next: 'uni-api init' writes a first api.yaml, 'uni-api' serves it."

image: ## Build a container image (TARGET=latest|debug|distroless IMAGE=name ARCH=arm64 BINARY=path): .ci/image
	@.ci/image

images: ## Build and push the images of a release, of programs in dist (REPOSITORY=ghcr.io/OWNER/uni-api): .ci/images
	@.ci/images

archive: ## Pack the program for a release into dist (TRIPLE=x86_64-unknown-linux-gnu BINARY=path)
	@test -n "$(BINARY)" || $(MAKE) --no-print-directory deps-build
	@python3 .ci/archive.py $(or $(TRIPLE),$(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')) $(BINARY)

sbom: ## Write what the program is made of into dist, in CycloneDX's form
	@mkdir -p $(DIST)
	@python3 .ci/sbom.py > $(DIST)/uni-api.cdx.json

checksums: ## Write the checksums of what lies in dist
	@cd $(DIST) && rm -f SHA256SUMS && { command -v sha256sum >/dev/null && sha256sum * || shasum -a 256 *; } > ../SHA256SUMS.tmp
	@mv $(DIST)/../SHA256SUMS.tmp $(DIST)/SHA256SUMS

deps: deps-build ## Install what building needs (Debian, Ubuntu)

deps-build:
	@.ci/need $(BUILD_NEEDS)
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust, https://rustup.rs" >&2; exit 1; }

deps-test: deps-build
	@.ci/need $(TEST_NEEDS)
	@test ! -x tests/sdk/install.sh || tests/sdk/install.sh
	@test ! -x tests/golden/install.sh || tests/golden/install.sh
	@test ! -x tests/cluster/install.sh || tests/cluster/install.sh
	@test ! -x tests/deploy/install.sh || tests/deploy/install.sh

deps-bench: deps-build
	@.ci/need $(BENCH_NEEDS)

test: deps-test ## Run every test: Rust, documentation examples, SDKs, PostgreSQL
	@echo "Building the libraries for the documentation's examples."
	cargo test --workspace --doc
	@.ci/test --workspace --no-fail-fast

# One part of them, with what is installed. FILTER="words of names" chooses tests.
test-dialect: ## Test the wire formats (FILTER=golden)
	@.ci/test -p dialect -- $(FILTER)

test-layers: ## Test the layers (FILTER=failover)
	@.ci/test -p layers -- $(FILTER)

test-root: ## Test the program's library and the pages about it (FILTER=config)
	@.ci/test -p uni-api --lib --test docs --test memory -- $(FILTER)

test-gateway: ## Test the built program (FILTER=failover)
	@.ci/test -p uni-api --test gateway -- $(FILTER)

test-cluster: ## Test manifests, dashboards and rules (FILTER=panel)
	@.ci/test -p uni-api --test cluster -- $(FILTER)

dashboards: ## Write the dashboards anew, and the rules for Kubernetes
	@python3 grafana/dashboards.py

test-deploy: ## Test images, proxies, units and recipes (FILTER=docker)
	@.ci/test -p uni-api --test deploy -- $(FILTER)

load: deps-build ## Load the program with locust, over a provider that answers by itself (USERS=100 RATE=10 DURATION=120)
	@test -n "$(BINARY)" || cargo build --release --bin uni-api
	@BINARY=$(or $(BINARY),$${CARGO_TARGET_DIR:-target}/release/uni-api) deploy/load/run.sh

golden: ## Make golden cases out of recordings, with the providers' SDKs (FIXTURES=folder PROVIDER=name)
	@test -n "$(FIXTURES)" || { echo "usage: make golden FIXTURES=folder-of-recordings [PROVIDER=name]" >&2; exit 1; }
	@tests/golden/install.sh
	@tests/golden/.venv/bin/python tests/golden/make.py $(FIXTURES) layers/dialect/tests/golden $(if $(PROVIDER),--provider $(PROVIDER))
	@echo "Next: GOLDEN_BLESS=1 make test-dialect FILTER=golden, and read what it wrote."

# Of others, read where they are; CASES names another folder.
CASES ?= ../shared/external/aws-wire

conformance: deps-build ## Run AWS's own cases of signatures and event streams (CASES=../shared/external/aws-wire)
	@test -d $(CASES)/sigv4/v4 && test -f $(CASES)/event-stream/rest-json-event-stream.smithy \
	|| { echo "$(CASES) has no such cases: name their folder, make conformance CASES=..." >&2; exit 1; }
	AWS_WIRE=$(abspath $(CASES)) cargo test -p dialect --features conformance --test dialect conformance
	AWS_WIRE=$(abspath $(CASES)) cargo test -p uni-api --features conformance --lib the_cases_of_aws

fuzz: deps-build ## Run the decoders under a fuzzer (SECONDS=60 TARGET=streamed_answer)
	@rustup toolchain list 2>/dev/null | grep -q nightly || { echo "nightly is missing: rustup toolchain install nightly" >&2; exit 1; }
	@cargo fuzz --version >/dev/null 2>&1 || { echo "cargo-fuzz is missing: cargo install cargo-fuzz" >&2; exit 1; }
	@for target in $(or $(TARGET),whole_answer streamed_answer failed_answer request frames); do \
	cargo +nightly fuzz run $$target --fuzz-dir fuzz -- -max_total_time=$(or $(SECONDS),60) -max_len=2000 || exit 1; done

mutants: deps-test ## Break the codecs in small ways, of which each must fail a test (FILTER=anthropic)
	@python3 tests/mutants/mutants.py $(FILTER)

check: deps-build ## Format, lints, documentation, licences, example configuration, scripts
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
	@if cargo deny --version >/dev/null 2>&1; then cargo deny --offline check bans licenses sources; \
	else echo "NOT CHECKED: licences and banned crates (cargo install cargo-deny)" >&2; fi
	cargo run --quiet -- check --strict --config api.yaml.example
	@for script in $(SCRIPTS); do sh -n $$script; done
	@! command -v python3 >/dev/null || for script in .ci/*.py benches/*/*.py tests/sdk/python/*.py tests/golden/*.py tests/mutants/*.py tests/cluster/python/*.py grafana/*.py deploy/load/*.py; do python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read())' $$script; done

bench: deps-bench ## Compare the whole process with a bare hyper proxy and nginx (ROUNDS=3 BEFORE=PATH)
	cargo build --release --bin uni-api
	cargo build --release --manifest-path benches/run/Cargo.toml
	@python3 benches/run/run.py --rounds $(or $(ROUNDS),3) $(if $(BEFORE),--against $(BEFORE))

bench-layout: deps-build ## Write anew which functions the linker puts side by side
	@.ci/need $(LAYOUT_NEEDS)
	UNI_API_LAYOUT=plain cargo rustc --release --bin uni-api -- -C strip=none
	cargo build --release --manifest-path benches/run/Cargo.toml
	@python3 benches/layout/layout.py

bench-count: deps-build ## Count the instructions of requests and chunks (BEFORE=PATH)
	@.ci/need $(LAYOUT_NEEDS)
	cargo build --release --bin uni-api
	cargo build --release --manifest-path benches/run/Cargo.toml
	@python3 benches/count/count.py $(if $(BEFORE),--gateway before=$(BEFORE)) --gateway now=$${CARGO_TARGET_DIR:-target}/release/uni-api

bench-micro: deps-build ## Time the hot parts alone
	cargo bench --workspace

clean: ## Remove what was built and installed here
	@# Layers of the images that the tests made may still be mounted.
	@sed -n 's#^[^ ]* \($(CURDIR)/target/deploy/[^ ]*\) .*#\1#p' /proc/mounts 2>/dev/null | sort -r | xargs -r umount
	cargo clean
	rm -rf benches/run/target fuzz/target tests/sdk/python/.venv tests/sdk/node/node_modules tests/sdk/agents/node_modules tests/sdk/codex/node_modules tests/golden/.venv tests/cluster/python/.venv tests/cluster/node/node_modules tests/deploy/.venv dist
