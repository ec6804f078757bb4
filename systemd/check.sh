#!/usr/bin/env bash
# Checks the unit and the sysusers file with systemd's own tools: verify must print nothing, and the exposure must be
# below 2.0. systemd need not be running. If systemd-analyze is missing, tools/need.sh installs it with apt-get.
set -euo pipefail
cd "$(dirname "$0")/.."
tools/need.sh systemd-analyze=systemd systemd-sysusers=systemd

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# verify requires the binary of ExecStart to exist, so a copy of the unit names an empty file.
install -m 755 /dev/null "$dir/platypush-userd"
sed "s|^ExecStart=/usr/bin/|ExecStart=$dir/|" systemd/platypush-userd.service >"$dir/platypush-userd.service"
grep -q "^ExecStart=$dir/platypush-userd serve" "$dir/platypush-userd.service"

# Some problems leave the exit status at 0, so any output is a failure. (The man page is not installed here.)
if ! output=$(systemd-analyze verify --man=no "$dir/platypush-userd.service" 2>&1) || [ -n "$output" ]; then
    printf 'systemd-analyze verify:\n%s\n' "$output" >&2
    exit 1
fi
echo "systemd-analyze verify: clean"

# The threshold is in tenths and inclusive: 19 means "below 2.0".
if ! output=$(systemd-analyze security --offline=true --threshold=19 --no-pager "$dir/platypush-userd.service" 2>&1); then
    printf '%s\n' "$output" >&2
    echo "systemd-analyze security: the exposure must be below 2.0" >&2
    exit 1
fi
echo "systemd-analyze security: $(tail -n 1 <<<"$output")"

mkdir -p "$dir/tree/etc"
output=$(systemd-sysusers --root="$dir/tree" "$PWD/systemd/platypush-userd.sysusers.conf" 2>&1) || {
    printf 'systemd-sysusers: %s\n' "$output" >&2
    exit 1
}
grep -Eq '^platypush-userd:[^:]*:[0-9]+:[0-9]+:[^:]*:/:/usr/sbin/nologin$' "$dir/tree/etc/passwd"
echo "systemd-sysusers: creates the user without a login shell"
