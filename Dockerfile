# syntax=docker/dockerfile:1
# Two stages: one compiles, the other carries the binary, the shipped views and schemas, and nothing to compile with.

FROM rust:1.95.0-slim-bookworm AS builder
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# gcc, g++ and make build librdkafka, zlib, zstd and mimalloc; OpenSSL is Debian's own, found by pkg-config.
# Debian's security updates matter more than one exact version.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ gcc libssl-dev make pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
# Cargo wants every target of the manifest to be there, tests and benches too.
COPY benches ./benches
COPY tests ./tests
COPY schemas ./schemas
COPY sql ./sql
COPY src ./src
# The caches outlive the layer, so a change of the source does not compile the dependencies again.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin windrow \
    && install -D target/release/windrow /out/windrow

FROM debian:12.11-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin windrow
COPY --from=builder /out/windrow /usr/local/bin/windrow
COPY schemas /etc/windrow/schemas
COPY sql /etc/windrow/sql
# windrow.toml is looked for here; mount one to change more than the environment says.
WORKDIR /etc/windrow
# Inside a container loopback is nobody's; what is published to the host is decided outside.
ENV WINDROW_METRICS_ADDR=0.0.0.0:8088 \
    WINDROW_SCHEMA_DIR=/etc/windrow/schemas \
    WINDROW_SQL_DIR=/etc/windrow/sql
USER 10001:10001
EXPOSE 8088
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["windrow", "health", "--metrics-addr", "127.0.0.1:8088"]
ENTRYPOINT ["windrow"]
CMD ["run"]
