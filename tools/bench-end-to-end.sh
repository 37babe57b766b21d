#!/usr/bin/env bash
# Measures the whole, Kafka to Redis: throughput, freshness, start, memory, size. Prints one table.
#
#   tools/bench-end-to-end.sh [BINARY]
#
# Starts an Apache Kafka and a redis-server of its own on free ports of the loopback, and stops both. BINARY is
# target/release/windrow otherwise, which is built if it is missing. Options are environment variables:
#
#   BENCH_SQL          directory of the feature views                                             sql
#   BENCH_VIEWS        those of them that run, parted by blanks: transaction                all of them
#   BENCH_STREAMS      streams that are generated, parted by commas: transactions           all of them
#   BENCH_EVENTS       events of the throughput measurement, of those streams together         200000
#   BENCH_EVENT_RATE   those events per second of event time                                     2000
#   BENCH_LIVE         freshness measurements, parted by blanks, each so many events per    1000@250ms
#                      second at such a batch interval: 50000@250ms 10000@20ms
#   BENCH_SECONDS      seconds that each of them takes                                             20
#   BENCH_INTERVAL     batch interval of everything else                                        250ms
#   BENCH_ENTITIES     cards, users and devices, so many each                                   10000
#   BENCH_PARTITIONS   partitions of a topic                                                        4
#   BENCH_RUN_ARGS     further arguments of `windrow run`, parted by blanks: --parallelism 2
#   BENCH_KEEP         where not empty, logs and metrics are left where the end says
#   WINDROW_KAFKA_DIR  where Kafka's jars are                                 ~/.cache/windrow-kafka
#   JAVA_HOME          where Java is                                                      on the path
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
readonly root
readonly events=${BENCH_EVENTS:-200000} event_rate=${BENCH_EVENT_RATE:-2000}
readonly seconds=${BENCH_SECONDS:-20} interval=${BENCH_INTERVAL:-250ms}
readonly streams=${BENCH_STREAMS:-transactions,clicks,devices}
readonly entities=${BENCH_ENTITIES:-10000} partitions=${BENCH_PARTITIONS:-4}
readonly libs="${WINDROW_KAFKA_DIR:-$HOME/.cache/windrow-kafka}/libs"
readonly java="${JAVA_HOME:+$JAVA_HOME/bin/}java"
read -r -a run_args <<<"${BENCH_RUN_ARGS:-}"
# `BENCH_RATE` is the name of before there could be several.
read -r -a live <<<"${BENCH_LIVE:-${BENCH_RATE:-1000}@$interval}"

# Starts of which the middle one counts.
readonly starts=3
# Another process may take a port between its choice and its use.
readonly attempts=3
# Below the ports that systems give to outgoing connections.
readonly first_port=20000 last_port=32000
# The longest wait, in seconds, for anything that takes a few at most.
readonly patience=60
# Seconds between two looks at how far a run has come.
readonly look_every=0.1

directory=$(mktemp -d "${TMPDIR:-/tmp}/windrow-bench-XXXXXX")
readonly directory
children=()

say() { printf 'bench-end-to-end: %s\n' "$*" >&2; }

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
  if [ -n "${BENCH_KEEP:-}" ]; then say "logs and metrics are in $directory"; else rm -rf "$directory"; fi
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

# Puts the views that run where nothing else is.
choose_views() {
  local sql=${BENCH_SQL:-$root/sql} views=() view
  read -r -a views <<<"${BENCH_VIEWS:-}"
  mkdir "$directory/sql"
  if [ "${#views[@]}" -eq 0 ]; then
    cp "$sql"/*.sql "$directory/sql/" || fail "there is no view in $sql"
  fi
  for view in "${views[@]}"; do
    cp "$sql/$view.sql" "$directory/sql/" || fail "there is no view \`$view\` in $sql"
  done
}

check_live() {
  local one
  for one in "${live[@]}"; do
    [[ $one =~ ^[0-9]+@[0-9]+(us|ms|s)$ ]] || fail "BENCH_LIVE has \`$one\`, which is not like 50000@250ms"
  done
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

# One node that keeps everything, as the tests have it (tests/it/support/kafka.rs).
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
log.retention.ms=-1
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

generate() {
  (cd "$directory" && exec "$binary" generate --brokers "$brokers" --partitions "$partitions" \
    --entities "$entities" --streams "$streams" "$@")
}

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

# A quantile of freshness in milliseconds, interpolated in its bucket as Prometheus does; of one view or of all. The
# bucket's edges follow in brackets: between them the quantile lies.
freshness() {
  awk -v quantile="$2" -v view="${3:-}" '
    /^stream_freshness_seconds_bucket/ && (view == "" || index($1, "view=\"" view "\"")) {
      match($1, /le="[^"]*"/)
      edge = substr($1, RSTART + 4, RLENGTH - 5)
      if (!(edge in up_to)) edges[++count] = edge
      up_to[edge] += $2
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
    }' "$1"
}

mebibytes() { calculate "$1 / 1048576" '%.1f MiB'; }

row() { printf '%-56s %s\n' "$1" "$2" >>"$directory/table"; }

measure_start() {
  local start times=()
  say "starting on empty topics"
  # The first group that there ever is makes Kafka's own topic for groups: that start does not count.
  for ((start = 0; start <= starts; start++)); do
    start_run idle "$interval"
    [ "$start" -eq 0 ] || times+=("$ready_ms")
    [ "$start" -eq "$starts" ] || stop "$run"
  done
  row "start until /readyz is 200" "$(printf '%s\n' "${times[@]}" | sort -n | sed -n "$(((starts + 1) / 2))p") ms"
  # What is freed after the start is given back within this time.
  sleep 3
  scrape "$directory/idle.metrics"
  row "resident memory, idle" "$(mebibytes "$(sum_of "$directory/idle.metrics" process_resident_memory_bytes)")"
  stop "$run"
}

# Writes down how many events a run has processed, and when, until it is gone.
watch_run() {
  local processed
  while runs "$1"; do
    if scrape "$directory/watched.metrics" 2>/dev/null; then
      processed=$(sum_of "$directory/watched.metrics" stream_events_processed_total)
      echo "$(now) $processed" >>"$2"
    fi
    sleep "$look_every"
  done
}

# Events per second between the first look at which some were processed and the first at which the most were.
sustained() {
  awk '
    $2 > 0 && !begun { begun = $1; before = $2 }
    $2 > most { most = $2; ended = $1 }
    END {
      if (ended > begun) printf "%.0f events/s", (most - before) * 1e6 / (ended - begun)
      else printf "too short to tell"
    }' "$1"
}

measure_throughput() {
  local begun taken start_ms run watcher log="$directory/run-catch-up.log" watched="$directory/catch-up.watched"
  say "generating $events events"
  # The last one happens now: none is ahead of its time.
  start_ms=$(calculate "$(now) / 1000 - $events / $event_rate * 1000")
  begun=$(now)
  generate --count "$events" --rate 0 --event-rate "$event_rate" --start-time "$start_ms" --seed 1 \
    >"$directory/generate.log" 2>&1 || fail "events could not be generated" "$directory/generate.log"
  taken=$(($(now) - begun))
  row "generate --rate 0, into Kafka" "$(calculate "$events * 1e6 / $taken") events/s"

  say "catching up"
  choose_port
  metrics_port=$port
  : >"$watched"
  begun=$(now)
  (exec_run catch-up "$interval" --until-caught-up --start-from earliest) >"$log" 2>&1 &
  run=$!
  children+=("$run")
  watch_run "$run" "$watched" &
  watcher=$!
  wait "$run" || fail "run failed" "$log"
  taken=$(($(now) - begun))
  forget "$run"
  wait "$watcher" || true
  grep -Eq "processed=$events( |\$)" <(sed 's/\x1b\[[0-9;]*m//g' "$log") || fail "run did not process every event" "$log"
  row "run --until-caught-up, $events events" "$(calculate "$taken / 1e6" '%.1f') s"
  row "  from start to end of the process" "$(calculate "$events * 1e6 / $taken") events/s"
  row "  sustained, from the first to the last one processed" "$(sustained "$watched")"
}

# Measures freshness at so many events per second and such a batch interval.
measure_freshness() {
  local rate=$1 batch_interval=$2 metrics="$directory/live-$1-$2.metrics" view processed
  say "running live, $rate events/s for $seconds s, batches of $batch_interval"
  redis-cli -p "$redis_port" flushall >/dev/null
  start_run "live-$rate-$batch_interval" "$batch_interval" --start-from latest
  generate --rate "$rate" --for "${seconds}s" --seed 2 >>"$directory/generate.log" 2>&1 ||
    fail "events could not be generated" "$directory/generate.log"
  # Who keeps up has published the last ones by then.
  sleep 1
  scrape "$metrics"
  processed=$(sum_of "$metrics" stream_events_processed_total)
  row "run, live at $rate events/s for $seconds s, batches of $batch_interval" "$processed events"
  row "  freshness, all views, p50" "$(freshness "$metrics" 0.5)"
  row "  freshness, all views, p99" "$(freshness "$metrics" 0.99)"
  while read -r view; do
    row "  freshness, $view, p50, p99" "$(freshness "$metrics" 0.5 "$view"), $(freshness "$metrics" 0.99 "$view")"
  done < <(sed -n 's/^stream_freshness_seconds_count{view="\([^"]*\)"}.*/\1/p' "$metrics")
  row "  events not read yet at the end" "$(sum_of "$metrics" kafka_consumer_lag)"
  row "  resident memory at the end" "$(mebibytes "$(sum_of "$metrics" process_resident_memory_bytes)")"
  stop "$run"
}

measure_size() {
  local stripped="$directory/windrow"
  cp "$binary" "$stripped"
  if command -v strip >/dev/null; then strip "$stripped"; fi
  row "size of the stripped binary" "$(mebibytes "$(stat -c %s "$stripped")")"
}

check_tools
check_live
choose_views
find_binary "$@"
say "starting Redis and Kafka"
start_redis
start_kafka
measure_start
measure_throughput
for one in "${live[@]}"; do measure_freshness "${one%@*}" "${one#*@}"; done
measure_size

kafka_jar=$(basename "$libs"/kafka_2.13-*.jar .jar)
readonly kafka_jar
printf '%s, %s cores, Kafka %s, %s, %s entities, %s partitions, views %s\n\n' "$("$binary" --version)" "$(nproc)" \
  "${kafka_jar#kafka_2.13-}" "$(redis-server --version | sed 's/ server v=\([^ ]*\).*/ \1/')" \
  "$entities" "$partitions" "$(basename -s .sql -a "$directory"/sql/*.sql | paste -sd ' ')"
cat "$directory/table"
