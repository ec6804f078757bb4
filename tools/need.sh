#!/usr/bin/env bash
# Checks that commands exist: tools/need.sh [rust] COMMAND[=PACKAGE]…
# Installs missing commands with apt-get (as root or through sudo); without apt-get it prints the packages to install.
# `rust` must come first and is never installed: a missing or old cargo is an error with instructions.
set -euo pipefail

need_rust() {
    local wanted cargo version found
    wanted=$(sed -nE 's/^rust-version = "([0-9.]+)"/\1/p' "$(dirname "$0")/../Cargo.toml")
    read -ra cargo <<<"${CARGO:-cargo}"
    if ! command -v "${cargo[0]}" >/dev/null; then
        found="${cargo[0]} was not found"
    elif ! version=$("${cargo[@]}" --version 2>&1); then
        found="'${cargo[*]} --version' failed: $version"
    elif [[ ! $version =~ ^cargo\ ([0-9]+\.[0-9]+) ]]; then
        found="'${cargo[*]} --version' said: $version"
    elif [ "$(printf '%s\n' "$wanted" "${BASH_REMATCH[1]}" | sort -V | head -n 1)" = "$wanted" ]; then
        return
    else
        found="$(command -v "${cargo[0]}") is $version"
    fi
    cat >&2 <<TEXT
need: Rust $wanted or newer, but $found.
rustup installs it for you alone, below ~/.cargo and ~/.rustup (https://rustup.rs):
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh
(\`rustup update stable\` where there is a rustup already). Then repeat the command. The cargo package of Debian 12
is too old.
TEXT
    exit 1
}

if [ "${1-}" = rust ]; then
    need_rust
    shift
fi

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
