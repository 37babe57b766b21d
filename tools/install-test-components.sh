#!/usr/bin/env bash
# Installs what the build and the integration tests need and this machine lacks:
# a C toolchain and OpenSSL's headers (for librdkafka), Java 17, Maven, redis-server,
# redis-sentinel and promtool from Debian, Apache Kafka and S3Proxy (a server that
# speaks as S3 does, over a directory) from Maven Central. Says nothing when
# nothing is missing. No service is left running.
#
# Kafka's jars go to $WINDROW_KAFKA_DIR (~/.cache/windrow-kafka by default),
# S3Proxy's to $WINDROW_S3PROXY_DIR (~/.cache/windrow-s3proxy).
set -euo pipefail

readonly kafka=org.apache.kafka:kafka_2.13:4.1.1
readonly kafka_dir="${WINDROW_KAFKA_DIR:-$HOME/.cache/windrow-kafka}"
readonly kafka_jar="$kafka_dir/libs/kafka_2.13-4.1.1.jar"

readonly s3proxy=org.gaul:s3proxy:2.2.0
readonly s3proxy_dir="${WINDROW_S3PROXY_DIR:-$HOME/.cache/windrow-s3proxy}"
readonly s3proxy_jar="$s3proxy_dir/libs/s3proxy-2.2.0.jar"
# Of the stores that it can stand before, only the directory is wanted, and two without whose classes it does not run.
readonly s3proxy_without=org.apache.jclouds:jclouds-allblobstore
readonly s3proxy_stores=(org.apache.jclouds.api:s3:2.6.0 org.apache.jclouds.api:openstack-swift:2.6.0)

cleanup=()
trap 'for undo in "${cleanup[@]}"; do eval "$undo"; done' EXIT

say() { printf '%s\n' "install-test-components: $*" >&2; }
fail() { say "$@"; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

# The same choice as the tests': $JAVA_HOME first, then the path.
has_java() {
  local java=java version
  if [ -n "${JAVA_HOME:-}" ] && [ -x "$JAVA_HOME/bin/java" ]; then java="$JAVA_HOME/bin/java"; fi
  version=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1) || return 1
  [ "${version:-0}" -ge 17 ]
}

# The Debian packages whose programs or headers are missing, one a line.
missing_packages() {
  local pair
  for pair in gcc:gcc g++:g++ make:make perl:perl pkg-config:pkg-config openssl:openssl \
    redis-server:redis-server redis-sentinel:redis-sentinel redis-cli:redis-tools promtool:prometheus; do
    has "${pair%%:*}" || echo "${pair#*:}"
  done
  if ! has pkg-config || ! pkg-config --exists openssl; then echo libssl-dev; fi
  if ! has_java; then echo default-jre-headless; fi
  if [ ! -f "$kafka_jar" ] || [ ! -f "$s3proxy_jar" ]; then has mvn || echo maven; fi
}

# Runs a command as root, quietly; shows what it printed if it fails.
as_root() {
  local log
  log=$(mktemp)
  cleanup+=("rm -f '$log'")
  "${sudo[@]}" "$@" >"$log" 2>&1 </dev/null || { cat "$log" >&2; fail "failed: $*"; }
}

install_packages() {
  local packages=("$@") services=()
  local all="${packages[*]}"
  if [ ! -e /etc/debian_version ] || ! has apt-get; then
    fail "this is no Debian; please install what these Debian packages hold: $all"
  fi
  if [ "$(id -u)" -eq 0 ]; then
    sudo=()
  elif has sudo && { [ -t 2 ] && sudo -v || sudo -n true; } 2>/dev/null; then
    sudo=(sudo)
  else
    fail "neither root nor sudo; please have these Debian packages installed: $all"
  fi

  say "installing $all"
  # Debian starts a server's service when it is installed, unless this file says 101.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    cleanup+=("${sudo[*]} rm -f /usr/sbin/policy-rc.d")
    as_root sh -c 'printf "#!/bin/sh\nexit 101\n" >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d'
  fi
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"

  # Nor at the next boot; a service that was there before is none of our business.
  case " $all " in *" redis-server "*) services+=(redis-server) ;; esac
  case " $all " in *" redis-sentinel "*) services+=(redis-sentinel) ;; esac
  case " $all " in *" prometheus "*) services+=(prometheus) ;; esac
  if [ -d /run/systemd/system ] && [ "${#services[@]}" -gt 0 ]; then
    as_root systemctl disable --now "${services[@]}"
  fi
}

# A dependency of a Maven project, without what is named behind it.
dependency() {
  local group artifact version
  IFS=: read -r group artifact version <<<"$1"
  printf '    <dependency>\n      <groupId>%s</groupId>\n      <artifactId>%s</artifactId>\n' "$group" "$artifact"
  printf '      <version>%s</version>\n' "$version"
  if [ -n "${2:-}" ]; then
    printf '      <exclusions><exclusion><groupId>%s</groupId><artifactId>%s</artifactId></exclusion></exclusions>\n' \
      "${2%%:*}" "${2#*:}"
  fi
  printf '    </dependency>\n'
}

# Fetches jars with all that they need: into which directory, and the dependencies as XML.
fetch_jars() {
  local directory=$1 dependencies=$2 fetched
  mkdir -p "$directory"
  fetched=$(mktemp -d "$directory/fetch.XXXXXX")
  cleanup+=("rm -rf '$fetched'")
  cat >"$fetched/pom.xml" <<EOF
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>windrow</groupId>
  <artifactId>test-components</artifactId>
  <version>1</version>
  <dependencies>
$dependencies
  </dependencies>
</project>
EOF
  (cd "$fetched" &&
    mvn -q -B dependency:copy-dependencies -DoutputDirectory=libs -DincludeScope=runtime >maven.log 2>&1) ||
    { cat "$fetched/maven.log" >&2; fail "Maven could not fetch what belongs into $directory"; }
  # Complete or not there at all: tests look only into libs.
  if [ -e "$directory/libs" ]; then mv "$directory/libs" "$fetched/old"; fi
  mv "$fetched/libs" "$directory/libs"
}

fetch_kafka() {
  say "fetching $kafka into $kafka_dir"
  fetch_jars "$kafka_dir" "$(dependency "$kafka")"
}

fetch_s3proxy() {
  local store
  say "fetching $s3proxy into $s3proxy_dir"
  fetch_jars "$s3proxy_dir" "$(
    dependency "$s3proxy" "$s3proxy_without"
    for store in "${s3proxy_stores[@]}"; do dependency "$store"; done
  )"
}

mapfile -t missing < <(missing_packages)
if [ "${#missing[@]}" -gt 0 ]; then
  install_packages "${missing[@]}"
  hash -r
  mapfile -t missing < <(missing_packages)
  # An old Debian's default Java may be older than 17; then another package has it.
  if [ "${#missing[@]}" -gt 0 ]; then fail "installed, but still missing or too old: ${missing[*]}"; fi
fi
if [ ! -f "$kafka_jar" ]; then fetch_kafka; fi
if [ ! -f "$s3proxy_jar" ]; then fetch_s3proxy; fi
