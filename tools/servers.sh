# A Kafka, a redis-server and a `windrow run` of one's own, for the scripts beside this one, which source it. They
# listen on free ports of the loopback, keep their files in a temporary directory and are stopped when the script ends.
#
# The script sets `root`; `partitions`, `entities` and `streams` for what is generated; `run_args`, further arguments of
# `windrow run`; `keep`, not empty where the directory is to be left; `retention_ms` and `segment_bytes` for a Kafka
# that forgets.
# shellcheck shell=bash disable=SC2034,SC2154

name=$(basename "$0" .sh)
readonly name
readonly libs="${WINDROW_KAFKA_DIR:-$HOME/.cache/windrow-kafka}/libs"
readonly java="${JAVA_HOME:+$JAVA_HOME/bin/}java"
# Another process may take a port between its choice and its use.
readonly attempts=3
# Below the ports that systems give to outgoing connections.
readonly first_port=20000 last_port=32000
# The longest wait, in seconds, for anything that takes a few at most.
readonly patience=60

directory=$(mktemp -d "${TMPDIR:-/tmp}/windrow-$name-XXXXXX")
readonly directory
children=()

say() { printf '%s: %s\n' "$name" "$*" >&2; }

# Ends the script with a message and the end of a log, if one is named.
fail() {
  say "$1"
  if [ -n "${2:-}" ] && [ -s "$2" ]; then tail -n 20 "$2" >&2; fi
  exit 1
}

# Whether a child runs: one that ended and was not waited for yet does not.
runs() {
  local state
  state=$(ps -o stat= -p "$1" 2>/dev/null) && [ "${state:0:1}" != Z ]
}

# Takes a child that ended off the list.
forget() {
  local pid=$1 other others=()
  for other in "${children[@]}"; do
    [ "$other" = "$pid" ] || others+=("$other")
  done
  children=("${others[@]}")
}

# Ends a child in order, and by force when that takes too long.
stop() {
  local pid=$1 left=$((patience * 10))
  kill -TERM "$pid" 2>/dev/null || true
  while [ "$left" -gt 0 ] && runs "$pid"; do
    sleep 0.1
    left=$((left - 1))
  done
  kill -KILL "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  forget "$pid"
}

clean_up() {
  local index
  # The last one first: who writes before whom it writes to.
  for ((index = ${#children[@]} - 1; index >= 0; index--)); do stop "${children[index]}"; done
  if [ -n "$keep" ]; then say "logs and metrics are in $directory"; else rm -rf "$directory"; fi
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Microseconds since the epoch.
now() { echo "${EPOCHREALTIME/[.,]/}"; }

# awk's answer to a formula.
calculate() { awk "BEGIN { printf \"${2:-%.0f}\", $1 }"; }

# Sets `port` to one at which nobody listens, and which was not chosen before.
port=$((first_port + RANDOM % 8000))
choose_port() {
  while port=$((port < last_port ? port + 1 : first_port)); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || return 0
  done
}

check_tools() {
  local tool
  for tool in "$java" redis-server redis-cli curl; do
    command -v "$tool" >/dev/null || fail "$tool is missing: run tools/install-test-components.sh"
  done
  compgen -G "$libs/kafka_2.13-*.jar" >/dev/null ||
    fail "no Apache Kafka in $libs: run tools/install-test-components.sh"
}

find_binary() {
  local built="${CARGO_TARGET_DIR:-$root/target}/release/windrow"
  binary=${1:-$built}
  if [ "$#" -eq 0 ] && [ ! -x "$binary" ]; then
    say "building $binary"
    (cd "$root" && PATH="$PATH:$HOME/.cargo/bin" cargo build --release --locked >&2)
  fi
  [ -x "$binary" ] || fail "$binary is no program"
  binary=$(realpath "$binary")
}

start_redis() {
  local attempt
  for ((attempt = 0; attempt < attempts; attempt++)); do
    choose_port
    redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no --daemonize no --dir "$directory" \
      >"$directory/redis.log" 2>&1 &
    local pid=$!
    children+=("$pid")
    if wait_until "$pid" redis_answers "$port"; then
      redis_port=$port
      return
    fi
    stop "$pid"
  done
  fail "redis-server did not start" "$directory/redis.log"
}

redis_answers() { [ "$(redis-cli -p "$1" ping 2>/dev/null)" = PONG ]; }

# One node that keeps everything where nothing else is said, as the tests have it (tests/it/support/kafka.rs).
kafka_properties() {
  cat <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$2
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$1,CONTROLLER://127.0.0.1:$2
advertised.listeners=PLAINTEXT://127.0.0.1:$1
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs=$directory/kafka
auto.create.topics.enable=false
log.retention.ms=${retention_ms:--1}
log.segment.bytes=${segment_bytes:-1073741824}
log.retention.check.interval.ms=30000
log.message.timestamp.type=${timestamp_type:-CreateTime}
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
PROPERTIES
}

start_kafka() {
  local attempt kafka_port pid log="$directory/kafka.log" properties="$directory/server.properties"
  local jvm=("$java" -Xms256m -Xmx1g -XX:-UsePerfData -cp "$libs/*")
  for ((attempt = 0; attempt < attempts; attempt++)); do
    rm -rf "$directory/kafka"
    choose_port
    kafka_port=$port
    choose_port
    kafka_properties "$kafka_port" "$port" >"$properties"
    "${jvm[@]}" kafka.tools.StorageTool format -t 4L6g3nShT-eMCtK--X86sw -c "$properties" >"$log" 2>&1 ||
      fail "Kafka's storage could not be formatted; Java 17 or newer is needed" "$log"
    # In the directory: Kafka makes others where it is started.
    (cd "$directory" && exec "${jvm[@]}" kafka.Kafka "$properties") >>"$log" 2>&1 &
    pid=$!
    children+=("$pid")
    brokers=127.0.0.1:$kafka_port
    # Makes the topics, too.
    if wait_until "$pid" generate --count 0; then return; fi
    stop "$pid"
  done
  fail "Kafka did not start" "$log"
}

# Waits until a command succeeds; fails when the child ends before.
wait_until() {
  local pid=$1 end=$((SECONDS + patience))
  shift
  until "$@" >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$end" ] || ! runs "$pid"; then return 1; fi
    sleep 0.02
  done
}

# Becomes `windrow generate`.
exec_generate() {
  cd "$directory"
  exec "$binary" generate --brokers "$brokers" --partitions "$partitions" --entities "$entities" \
    --streams "$streams" "$@"
}

generate() { (exec_generate "$@"); }

# Becomes `windrow run` of a group with a batch interval.
exec_run() {
  local group=$1 batch_interval=$2
  shift 2
  cd "$directory"
  exec "$binary" run --brokers "$brokers" --redis-url "redis://127.0.0.1:$redis_port" --group-id "$group" \
    --sql-dir "$directory/sql" --schema-dir "$root/schemas" --metrics-addr "127.0.0.1:$metrics_port" \
    --batch-interval "$batch_interval" "${run_args[@]}" "$@"
}

# Sets `run` to a `windrow run` that is ready, and `ready_ms` to the time that took.
start_run() {
  local log="$directory/run-$1.log" begun
  choose_port
  metrics_port=$port
  begun=$(now)
  (exec_run "$@") >"$log" 2>&1 &
  run=$!
  children+=("$run")
  wait_until "$run" curl -sf "http://127.0.0.1:$metrics_port/readyz" || fail "windrow did not get ready" "$log"
  ready_ms=$((($(now) - begun) / 1000))
}

# Fetches the metrics into a file.
scrape() { curl -sf "http://127.0.0.1:$metrics_port/metrics" >"$1"; }

# The sum of all samples of a metric.
sum_of() { awk -v name="$2" '$1 == name || index($1, name "{") == 1 { sum += $2 } END { printf "%.0f", sum }' "$1"; }

# A quantile of freshness in milliseconds between two files of metrics, interpolated in its bucket as Prometheus does; of
# one view or of all. The bucket's edges follow in brackets: between them the quantile lies.
freshness() {
  awk -v quantile="$3" -v view="${4:-}" '
    /^stream_freshness_seconds_bucket/ && (view == "" || index($1, "view=\"" view "\"")) {
      match($1, /le="[^"]*"/)
      edge = substr($1, RSTART + 4, RLENGTH - 5)
      if (!(edge in up_to)) edges[++count] = edge
      up_to[edge] += FILENAME == ARGV[1] ? -$2 : $2
    }
    END {
      total = up_to["+Inf"]
      if (total == 0) { print "-"; exit }
      rank = quantile * total
      for (i = 1; i <= count; i++) {
        if (up_to[edges[i]] < rank) continue
        low = i > 1 ? edges[i - 1] : 0
        below = i > 1 ? up_to[edges[i - 1]] : 0
        if (edges[i] == "+Inf") { printf "> %.0f ms", low * 1000; exit }
        quantile = low + (edges[i] - low) * (rank - below) / (up_to[edges[i]] - below)
        printf "%.0f ms (%.0f to %.0f)", quantile * 1000, low * 1000, edges[i] * 1000
        exit
      }
    }' "$1" "$2"
}

mebibytes() { calculate "$1 / 1048576" '%.1f MiB'; }
