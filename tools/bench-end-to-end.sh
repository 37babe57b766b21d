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
#                      second at such a batch interval: 50000@250ms 10000@20ms; set and
#                      empty: none
#   BENCH_SECONDS      seconds that each of them takes                                             20
#   BENCH_WARM         seconds at the same rate before those, which do not count: until the          0
#                      broker's Java machine has compiled what it runs
#   BENCH_TIMESTAMPS   whose time events have in Kafka, for freshness: the broker's, from   LogAppendTime
#                      its acceptance on, or CreateTime, when the generator meant to send
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
readonly seconds=${BENCH_SECONDS:-20} warm=${BENCH_WARM:-0} interval=${BENCH_INTERVAL:-250ms}
readonly streams=${BENCH_STREAMS:-transactions,clicks,devices}
readonly entities=${BENCH_ENTITIES:-10000} partitions=${BENCH_PARTITIONS:-4}
read -r -a run_args <<<"${BENCH_RUN_ARGS:-}"
readonly timestamp_type=${BENCH_TIMESTAMPS:-LogAppendTime}
# `BENCH_RATE` is the name of before there could be several.
read -r -a live <<<"${BENCH_LIVE-${BENCH_RATE:-1000}@$interval}"

# Starts of which the middle one counts.
readonly starts=3
# Seconds between two looks at how far a run has come.
readonly look_every=0.1

readonly keep=${BENCH_KEEP:-}
# shellcheck source=tools/servers.sh
. "$root/tools/servers.sh"

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

# Generates so many events per second for so many seconds, from a seed.
generate_live() {
  [ "$2" -gt 0 ] || return 0
  generate --rate "$1" --for "${2}s" --seed "$3" >>"$directory/generate.log" 2>&1 ||
    fail "events could not be generated" "$directory/generate.log"
}

# Measures freshness at so many events per second and such a batch interval.
measure_freshness() {
  local rate=$1 batch_interval=$2 metrics="$directory/live-$1-$2.metrics" before view processed
  before="$metrics.before"
  say "running live, $rate events/s for $warm + $seconds s, batches of $batch_interval"
  redis-cli -p "$redis_port" flushall >/dev/null
  start_run "live-$rate-$batch_interval" "$batch_interval" --start-from latest
  generate_live "$rate" "$warm" 3
  scrape "$before"
  generate_live "$rate" "$seconds" 2
  # Who keeps up has published the last ones by then.
  sleep 1
  scrape "$metrics"
  processed=$(($(sum_of "$metrics" stream_events_processed_total) - $(sum_of "$before" stream_events_processed_total)))
  row "run, live at $rate events/s for $seconds s, batches of $batch_interval" "$processed events"
  row "  freshness, all views, p50" "$(freshness "$before" "$metrics" 0.5)"
  row "  freshness, all views, p99" "$(freshness "$before" "$metrics" 0.99)"
  while read -r view; do
    row "  freshness, $view, p50, p99" "$(freshness "$before" "$metrics" 0.5 "$view"), $(freshness "$before" "$metrics" 0.99 "$view")"
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
