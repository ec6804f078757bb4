#!/usr/bin/env bash
# Makes sure that commands are there: tools/need.sh COMMAND[=PACKAGE]…
# What is missing is installed with apt-get where there is one (as root or through sudo); elsewhere it says what to install.
set -euo pipefail

missing=() packages=()
for need in "$@"; do
    if ! command -v "${need%%=*}" >/dev/null; then
        missing+=("${need%%=*}")
        packages+=("${need#*=}")
    fi
done
if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi

by_hand() {
    echo "need: $1. Please install by hand: ${missing[*]} (Debian packages: ${packages[*]})" >&2
    exit 1
}

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || by_hand "not root, and there is no sudo"
    as_root=(sudo)
fi
command -v apt-get >/dev/null || by_hand "there is no apt-get"

echo "need: ${missing[*]} not found, installing with apt-get: ${packages[*]}" >&2
if ! { "${as_root[@]}" apt-get update -qq &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"; } >&2; then
    by_hand "apt-get failed"
fi
for command in "${missing[@]}"; do
    command -v "$command" >/dev/null || by_hand "installed, but $command is still not found"
done
if [[ " ${packages[*]} " == *" redis-server "* ]]; then
    echo "need: Debian may have started a Redis of its own on port 6379. Nothing here uses it:" \
        "tests and demo start private ones. To turn it off: systemctl disable --now redis-server" >&2
fi
