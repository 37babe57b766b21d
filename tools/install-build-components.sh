#!/usr/bin/env bash
# Installs what compiling Windrow needs and this Debian machine lacks: a C and C++ toolchain for librdkafka,
# zlib, zstd and mimalloc, and OpenSSL's headers. Does nothing where all of it is there.
set -euo pipefail

packages=(ca-certificates curl g++ gcc libssl-dev make pkg-config)
# Whatever else the caller wants from Debian, such as redis-server for the demo.
packages+=("$@")

missing=()
for package in "${packages[@]}"; do
  # pkg-config is provided by pkgconf on newer releases: a command that answers counts too.
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' && continue
  [ "$package" = pkg-config ] && command -v pkg-config >/dev/null && continue
  missing+=("$package")
done

if [ "${#missing[@]}" -gt 0 ]; then
  if ! command -v apt-get >/dev/null; then
    echo "error: not a Debian machine; install the equivalents of: ${missing[*]}" >&2
    exit 1
  fi
  sudo=()
  [ "$(id -u)" -eq 0 ] || sudo=(sudo)
  echo "installing ${missing[*]}" >&2
  # Debian starts a server's service when it is installed, unless this file says 101.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap '"${sudo[@]}" rm -f "$policy"' EXIT
    "${sudo[@]}" sh -c "printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy"
  fi
  "${sudo[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
fi

# Rust may be installed and merely not on the path of this shell.
if ! command -v cargo >/dev/null && [ ! -x "$HOME/.cargo/bin/cargo" ]; then
  echo "error: Rust is missing; get it from https://rustup.rs (stable, 1.94 or newer), open a new shell, then run this again" >&2
  exit 1
fi
