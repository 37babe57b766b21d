#!/usr/bin/env bash
# Runs for long and looks whether memory stays what the windows hold. Prints a summary; fails when memory grows.
#
#   tools/soak.sh [MINUTES [BINARY]]
#
# Starts an Apache Kafka and a redis-server of its own, as bench-end-to-end.sh does, and a generator whose cards, users
# and devices are nearly all new: with windows of minutes they go quiet soon, and what was kept of them has to go.
# MINUTES are 60 otherwise. BINARY is target/release/windrow otherwise, which is built if it is missing. Memory in the
# last quarter of the time must be no more than a tenth above that in the second quarter (medians, as a snapshot for a
# checkpoint takes memory for a moment). Options are environment variables:
#
#   SOAK_SQL           directory of the feature views                                             sql
#   SOAK_WINDOW        seconds of their longest windows, which are 24 hours there                  300
#   SOAK_RATE          events per second                                                          2000
#   SOAK_ENTITIES      cards, users and devices, so many each                               4000000000
#   SOAK_EVERY         seconds between two samples                                                  15
#   SOAK_CSV           where the samples are written                                   target/soak.csv
#   SOAK_RUN_ARGS      further arguments of `windrow run`, parted by blanks: --parallelism 2
#   SOAK_KEEP          where not empty, logs and metrics are left where the end says
#   WINDROW_KAFKA_DIR  where Kafka's jars are                                 ~/.cache/windrow-kafka
#   JAVA_HOME          where Java is                                                      on the path
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
readonly root
readonly minutes=${1:-60} window=${SOAK_WINDOW:-300} rate=${SOAK_RATE:-2000} every=${SOAK_EVERY:-15}
readonly entities=${SOAK_ENTITIES:-4000000000} partitions=4 streams=transactions,clicks,devices
readonly keep=${SOAK_KEEP:-} target=${CARGO_TARGET_DIR:-$root/target}
readonly csv=${SOAK_CSV:-$target/soak.csv}
# What is kept of events that are late, in seconds, beside the windows.
readonly lateness=60
# How much memory may be above that of the second quarter, in percent.
readonly tolerance=10
read -r -a run_args <<<"${SOAK_RUN_ARGS:-}"
# shellcheck source=tools/servers.sh
. "$root/tools/servers.sh"
run_args+=(--checkpoint-dir "$directory/checkpoints")

check_arguments() {
  local number
  for number in "$minutes" "$window" "$rate" "$every"; do
    [[ $number =~ ^[1-9][0-9]*$ ]] || fail "\`$number\` is no whole number above 0"
  done
  [ "$window" -ge 10 ] || fail "SOAK_WINDOW has to be 10 s at least"
  # The windows are full once the first quarter is over.
  [ $((minutes * 60)) -ge $((4 * (window + lateness))) ] ||
    fail "windows of $window s are not full after a quarter of $minutes minutes: give more, or a smaller SOAK_WINDOW"
}

# The views, with windows of minutes in the place of those of hours.
shorten_views() {
  local view
  mkdir "$directory/sql"
  for view in "${SOAK_SQL:-$root/sql}"/*.sql; do
    sed -e "s/INTERVAL '5 minutes'/INTERVAL '$((window / 5)) seconds'/g" \
      -e "s/INTERVAL '30 minutes'/INTERVAL '$((window * 2 / 5)) seconds'/g" \
      -e "s/INTERVAL '24 hours'/INTERVAL '$window seconds'/g" "$view" >"$directory/sql/$(basename "$view")"
  done
}

# A quantile of the freshness since the sample before, in milliseconds; nothing where nothing was published.
recent_freshness() {
  freshness "$directory/before.metrics" "$directory/now.metrics" "$1" | awk '$1 == "-" { exit } { print ($1 == ">" ? $2 : $1) }'
}

# Writes a sample down, taken so many seconds after the start.
sample() {
  local now="$directory/now.metrics" before="$directory/before.metrics"
  runs "$run" || fail "windrow run ended" "$directory/run-soak.log"
  if [ -e "$now" ]; then mv "$now" "$before"; else : >"$before"; fi
  scrape "$now" || fail "windrow run does not answer" "$directory/run-soak.log"
  printf '%s,%s,%s,%s,%s,%s,%s,%s\n' "$1" "$(sum_of "$now" process_resident_memory_bytes)" \
    "$(sum_of "$now" stream_state_bytes)" "$(sum_of "$now" kafka_consumer_lag)" "$(recent_freshness 0.5)" \
    "$(recent_freshness 0.99)" "$(sum_of "$now" stream_events_processed_total)" \
    "$(redis-cli -p "$redis_port" dbsize)" >>"$csv"
}

soak() {
  local begun taken next=0 generator
  echo seconds,rss_bytes,state_bytes,consumer_lag,freshness_p50_ms,freshness_p99_ms,events,redis_keys >"$csv"
  start_run soak 250ms --start-from latest
  # What is freed after the start is given back within this time.
  sleep 3
  sample 0
  begun=$SECONDS
  # It is stopped before, unless this script is killed.
  (exec_generate --rate "$rate" --for "$((minutes * 60 + 600))s" --seed 3) >"$directory/generate.log" 2>&1 &
  generator=$!
  children+=("$generator")
  while [ "$next" -lt $((minutes * 60)) ]; do
    next=$((next + every))
    taken=$((SECONDS - begun))
    if [ "$taken" -lt "$next" ]; then sleep $((next - taken)); fi
    runs "$generator" || fail "the generator ended" "$directory/generate.log"
    sample "$((SECONDS - begun))"
  done
  stop "$generator"
  stop "$run"
}

# Prints what the samples say; fails when memory grew.
summarize() {
  awk -F , -v whole="$((minutes * 60))" -v tolerance="$tolerance" '
    function median(values, count,    i, j, swapped) {
      for (i = 2; i <= count; i++) {
        swapped = values[i]
        for (j = i - 1; j >= 1 && values[j] > swapped; j--) values[j + 1] = values[j]
        values[j + 1] = swapped
      }
      return count % 2 ? values[(count + 1) / 2] : (values[count / 2] + values[count / 2 + 1]) / 2
    }
    function mebibytes(bytes) { return sprintf("%.1f MiB", bytes / 1048576) }
    function row(name, text) { printf "%-56s %s\n", name, text }
    NR == 1 { next }
    NR == 2 { idle = $2 }
    $4 > lag { lag = $4 }
    $6 + 0 > slowest { slowest = $6 + 0 }
    { state = $3; events = $7; keys = $8 }
    $1 >= whole / 4 {
      if (!warm) warm = $2
      n++; sum_x += $1; sum_y += $2; sum_xx += $1 * $1; sum_xy += $1 * $2
    }
    $1 >= whole / 4 && $1 < whole / 2 { second[++seconds] = $2 }
    $1 >= whole * 3 / 4 { last[++lasts] = $2; end = $2 }
    END {
      if (!seconds || !lasts) { print "too few samples to tell"; exit 1 }
      before = median(second, seconds)
      after = median(last, lasts)
      spread = n * sum_xx - sum_x * sum_x
      slope = spread > 0 ? (n * sum_xy - sum_x * sum_y) / spread * 3600 : 0
      row("events", events)
      row("resident memory before the first event", mebibytes(idle))
      row("  when the windows are full, at the end", mebibytes(warm) ", " mebibytes(end))
      row("  median of the second quarter, of the last", mebibytes(before) ", " mebibytes(after))
      row("  slope since the first quarter", sprintf("%+.1f MiB an hour", slope / 1048576))
      row("state that the views report at the end", mebibytes(state))
      if (end > idle) row("  of what resident memory grew by", sprintf("%.2f", state / (end - idle)))
      row("keys in Redis at the end", keys)
      row("events not read yet, at most", lag)
      row("freshness p99 between two samples, at most", slowest " ms")
      exit (after > before * (1 + tolerance / 100))
    }' "$csv"
}

check_arguments
# The log does not grow for hours: it goes back for more than the windows and what is late.
readonly retention_ms=$(((window + 600) * 1000)) segment_bytes=33554432
check_tools
shorten_views
mkdir -p "$(dirname "$csv")"
find_binary "${@:2}"
say "starting Redis and Kafka"
start_redis
start_kafka
say "running for $minutes minutes, $rate events/s, windows of up to $window s; samples are in $csv"
soak
summarize || fail "resident memory in the last quarter is more than $tolerance % above that of the second"
