# One line a recipe; what is longer lives in tools/. `make` alone lists them.
# Further arguments: make demo ARGS='--for 30s', make test ARGS='sink::'.
export PATH := $(PATH):$(HOME)/.cargo/bin
BROKERS ?= localhost:9092
REDIS_URL ?= redis://localhost:6379
REGISTRY ?= http://localhost:8081
COMPOSE := docker compose -f deploy/compose.yaml
ARGS ?=
CASES ?= 10000
SEEDS ?= 10000
MINUTES ?= 10
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= framing avro_body writer_schema view_header config resp

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-features oracle chaos simulate soak fuzz lint fmt build release bench up up-all seed run down check-deploy

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what building and testing need and this Debian machine lacks
	@tools/install-build-components.sh && tools/install-test-components.sh

demo: ## show features changing, live, with everything embedded
	@tools/install-build-components.sh redis-server && cargo run --locked -- demo $(ARGS)

test: ## run every test, against a real Kafka and a real Redis
	@tools/install-build-components.sh && tools/install-test-components.sh && cargo test --locked --tests -- $(ARGS)

test-features: ## run the tests of the shipped feature views only
	@tools/install-build-components.sh && tools/install-test-components.sh && cargo test --locked --test it features:: -- $(ARGS)

oracle: ## compare the engines with plain SQL over many generated logs and views: make oracle CASES=10000 SEED=1
	PROPTEST_CASES=$(CASES) PROPTEST_RNG_SEED=$(or $(SEED),$$(date +%s)) \
	  cargo test --locked --test it -- $(or $(TEST),engine:: worker::)

chaos: ## break processes, Kafka and Redis at random, then compare every hash: make chaos MINUTES=10 SEED=1
	@tools/install-build-components.sh && tools/install-test-components.sh
	WINDROW_CHAOS_SECONDS=$$(($(MINUTES) * 60)) WINDROW_CHAOS_SEED=$(or $(SEED),$$(date +%s)) \
	  cargo test --locked --test it -- --nocapture chaos::

simulate: ## play seeded faults in process, then compare every hash: make simulate SEEDS=10000 SEED=1
	WINDROW_SIMULATION_SEEDS=$(SEEDS) WINDROW_SIMULATION_SEED=$(or $(SEED),1) \
	  cargo test --locked --test it -- --nocapture simulation::whatever

soak: MINUTES = 60
soak: ## run for long with entities that are ever new, and fail when memory grows: make soak MINUTES=60
	@tools/install-build-components.sh && tools/install-test-components.sh
	cargo build --release --locked && tools/soak.sh $(MINUTES)

# Rust's sanitizer flags are handed on to C compilers, and librdkafka's configure cannot link what comes of that.
fuzz: export CFLAGS += -fno-sanitize=address
fuzz: ## look for input that breaks a parser, with cargo-fuzz on nightly Rust: make fuzz FUZZ_SECONDS=600
	cp Cargo.lock fuzz/Cargo.lock && for target in $(FUZZ_TARGETS); do \
	  mkdir -p fuzz/found/$$target && if [ $$target = view_header ]; then more=sql; else more=; fi && \
	  cargo +nightly fuzz run $$target fuzz/found/$$target fuzz/corpus/$$target $$more -- \
	    -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 $(ARGS) || exit 1; done

lint: ## check format and lints as CI does
	cargo fmt --check && cargo clippy --locked --all-targets -- -D warnings

fmt: ## format the code
	cargo fmt

build: ## build as the demo and the tests do
	cargo build --locked

release: ## build the optimised, stripped binary
	cargo build --release --locked

# The whole as the engine is measured: one view, with as many cards.
bench: export BENCH_VIEWS ?= transaction
bench: export BENCH_STREAMS ?= transactions
bench: export BENCH_ENTITIES ?= 50000
bench: export BENCH_EVENTS ?= 4000000
bench: export BENCH_LIVE ?= 50000@250ms 10000@20ms
bench: export BENCH_WARM ?= 60
bench: export BENCH_SECONDS ?= 60
bench: ## measure each stage, the engine, then the whole with a real Kafka and a real Redis
	@tools/install-build-components.sh && tools/install-test-components.sh
	cargo bench --locked --bench stages -- $(ARGS) && cargo bench --locked --bench engine -- $(ARGS)
	cargo build --release --locked && tools/bench-end-to-end.sh
	BENCH_LIVE= BENCH_PARTITIONS=1 BENCH_EVENT_RATE=100000 tools/bench-end-to-end.sh # catching up with a busy topic

up: ## start Kafka, a registry, Redis, Prometheus and Grafana in containers
	$(COMPOSE) up --detach --wait kafka registry redis prometheus grafana && $(COMPOSE) run --rm topics

up-all: ## the same, with Windrow built and run in a container beside them
	$(COMPOSE) up --detach --build --wait windrow prometheus grafana

seed: ## generate events into the local Kafka
	cargo run --release --locked -- generate --brokers $(BROKERS) --schema-registry-url $(REGISTRY) $(ARGS)

run: ## run the main job against the local Kafka and Redis
	cargo run --release --locked -- run --brokers $(BROKERS) --redis-url $(REDIS_URL) --schema-registry-url $(REGISTRY) $(ARGS)

down: ## stop the containers and delete what they kept
	$(COMPOSE) down --volumes

check-deploy: ## check the alert rules and their tests with promtool
	cd deploy/prometheus && promtool check config prometheus.yml && promtool check rules alerts.yml && promtool test rules alerts.test.yml
