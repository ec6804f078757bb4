#!/usr/bin/env bash
# Runs all main actions, from the first user to a deletion, against its own Redis and daemon in a temporary folder.
# Prints every request and every reply. An unexpected reply ends the demo with an error.
set -euo pipefail

# Settings of the user who runs the demo must not reach its daemon.
while read -r variable; do unset "$variable"; done < <(compgen -v PLATYPUSH_USERD_ || true)
cd "$(dirname "$0")/.."

if [ -t 1 ]; then
    bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else
    bold='' dim='' green='' red='' plain=''
fi

tools/need.sh rust cc=build-essential redis-server redis-cli=redis-tools
echo "Building (the first time takes a few minutes) …"
read -ra cargo <<<"${CARGO:-cargo}"
unset CARGO
"${cargo[@]}" build --release --locked
PATH="$(realpath "${CARGO_TARGET_DIR:-target}")/release:$PATH"

tmp=$(mktemp -d "${TMPDIR:-/tmp}/userd-demo.XXXXXX")
socket=$tmp/redis.sock
redis_pid='' daemon_pid=''

finish() {
    local status=$? pid
    trap - EXIT
    for pid in $daemon_pid $redis_pid; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    if [ "$status" -ne 0 ]; then
        for log in "$tmp"/*.log; do
            if [ -s "$log" ]; then
                printf '\n%s--- end of %s%s\n' "$dim" "${log##*/}" "$plain" >&2
                tail -n 20 "$log" >&2
            fi
        done
        printf '\n%sThe demo failed.%s\n' "$red" "$plain" >&2
    fi
    rm -rf "$tmp"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step_number=0
step() {
    step_number=$((step_number + 1))
    printf '\n%s%2d. %s%s\n' "$bold" "$step_number" "$1" "$plain"
}

# Prints a command, quoted for a shell.
show() {
    local word line=''
    for word in "$@"; do
        if [[ $word =~ ^[A-Za-z0-9_./:=@-]+$ ]]; then
            line+=" $word"
        elif [[ $word == *\'* && $word != *[\"\$\`\\!]* ]]; then
            line+=" \"$word\""
        else
            line+=" '${word//\'/\'\\\'\'}'"
        fi
    done
    printf '    %s$%s%s\n' "$dim" "$plain" "$line"
}

redis() {
    redis-cli -s "$socket" "$@"
}

# raw ID MESSAGE: sends the message as any Redis client would. The reply is left in $reply.
raw() {
    show redis-cli RPUSH platypush/user "$2"
    redis RPUSH platypush/user "$2" >/dev/null
    show redis-cli BLPOP "platypush/responses/$1" 30
    # Prints two lines, the name of the list and the reply, or nothing on a time-out.
    reply=$(redis BLPOP "platypush/responses/$1" 30 | sed 1d)
    printf '    %s\n' "${reply:-(no reply)}"
}

# call ACTION key=value…: sends the request with the daemon's own client; --json prints the raw reply.
# Its exit status is checked as well: 0, or 1 when the reply carries errors or its output is false.
call() {
    local status=0 want=0
    show platypush-userd call --json "$@"
    reply=$(platypush-userd call --json "$@" 2>"$tmp/call.log") || status=$?
    printf '    %s\n' "${reply:-(no reply)}"
    [[ $reply == *'"errors": []'* && $reply != *'"output": false'* ]] || want=1
    [ "$status" -eq "$want" ] || fail "exit status $want, and it was $status"
}

fail() {
    printf '    %s✗ expected: %s%s\n' "$red" "$1" "$plain"
    exit 1
}

# expect TEXT…: each text must be in the reply.
expect() {
    local text
    for text in "$@"; do
        [[ $reply == *"$text"* ]] || fail "$text"
    done
    printf '    %s✓%s\n' "$green" "$plain"
}

# expect_not TEXT: the text must not be in the reply.
expect_not() {
    [[ $reply != *"$1"* ]] || fail "no $1"
}

token_of_reply() {
    [[ $reply =~ '"session_token": "'([0-9a-f]{64})'"' ]] || fail "a session_token of 64 hex digits"
    token=${BASH_REMATCH[1]}
}

redis-server --port 0 --unixsocket "$socket" --unixsocketperm 700 --dir "$tmp" --save '' --appendonly no --loglevel warning \
    >"$tmp/redis.log" 2>&1 &
redis_pid=$!
for _ in {1..100}; do
    if redis PING >/dev/null 2>&1; then break; fi
    kill -0 "$redis_pid" || { redis_pid='' && exit 1; }
    sleep 0.1
done

cat >"$tmp/config.yaml" <<YAML
device_id: demo
workdir: $tmp/state
redis:
  url: unix://$socket
YAML
export PLATYPUSH_USERD_CONFIG=$tmp/config.yaml

cat <<TEXT

A private Redis listens on $socket (redis-cli below means: redis-cli -s $socket).
The daemon and its client read $PLATYPUSH_USERD_CONFIG:

$(sed 's/^/    /' "$PLATYPUSH_USERD_CONFIG")
TEXT
show platypush-userd serve --config "$PLATYPUSH_USERD_CONFIG"
platypush-userd serve --config "$PLATYPUSH_USERD_CONFIG" >"$tmp/daemon.log" 2>&1 &
daemon_pid=$!

step "The first user needs no credentials (the request may be sent before the daemon is ready)"
raw d1 '{"type": "request", "id": "d1", "action": "user.create_user", "args": {"username": "alice", "password": "correct horse"}}'
expect '"id": "d1", "type": "response"' '"user_id": 1, "username": "alice"' '"errors": []'

step "Further users need credentials"
raw d2 '{"type": "request", "id": "d2", "action": "user.create_user", "args": {"username": "mallory", "password": "let me in"}}'
expect '"success": false' 'You need to authenticate in order to create another user'

step "Alice creates Bob"
call user.create_user username=bob password=123456 executing_user=alice 'executing_user_password=correct horse'
expect '"user_id": 2, "username": "bob"'

step "The right password, sent the way a Platypush procedure sends it: a Python literal, 123456 now a number"
raw d4 "{'type': 'request', 'id': 'd4', 'action': 'user.authenticate_user', 'args': {'username': 'bob', 'password': 123456, 'code': None}}"
expect '"output": true, "errors": []'

step "A wrong password"
call user.authenticate_user username=bob password=654321
expect '"output": false, "errors": []'

step "The reason, with return_details"
raw d6 '{"type": "request", "id": "d6", "action": "user.authenticate_user", "args": {"username": "bob", "password": "654321", "return_details": true}}'
expect '"output": [false, "invalid_credentials"]'

step "Bob opens a session"
call user.create_session username=bob password=123456
expect '"username": "bob"' '"expires_at": null'
token_of_reply
bobs=$token

step "The session token identifies Bob"
call user.authenticate_session "session_token=$bobs"
expect '"user_id": 2, "username": "bob"'

step "The user of the session, and whether a second factor is enabled"
raw d9 '{"type": "request", "id": "d9", "action": "user.get_user_by_session", "args": {"session_token": "'"$bobs"'"}}'
expect '"username": "bob"' '"has_2fa": false'

step "All users"
raw d10 '{"type": "request", "id": "d10", "action": "user.get_users"}'
expect_not mallory
expect '"username": "alice"' '"username": "bob"'

step "Bob changes his password"
call user.update_password username=bob old_password=123456 'new_password=battery staple'
expect '"output": true, "errors": []'

step "The old one no longer works"
call user.authenticate_user username=bob password=123456
expect '"output": false, "errors": []'

step "The new one does (here with positional arguments)"
raw d13 '{"type": "request", "id": "d13", "action": "user.authenticate_user", "args": ["bob", "battery staple"]}'
expect '"output": true, "errors": []'

step "Bob ends his session"
call user.delete_session "session_token=$bobs"
expect '"output": true, "errors": []'

step "Its token is invalid"
call user.authenticate_session "session_token=$bobs"
expect '"success": false' 'Invalid session token'

step "Bob opens another session"
call user.create_session username=bob 'password=battery staple'
expect '"username": "bob"'
token_of_reply
bobs=$token

step "Alice opens a session"
call user.create_session username=alice 'password=correct horse'
expect '"username": "alice"'
token_of_reply

step "Alice deletes Bob, authenticated by her session token"
raw d18 '{"type": "request", "id": "d18", "action": "user.delete_user", "args": {"username": "bob", "session_token": "'"$token"'"}}'
expect '"output": true, "errors": []'

step "Bob's second session is invalid too"
call user.authenticate_session "session_token=$bobs"
expect '"success": false' 'Invalid session token'

step "Only Alice is left"
raw d20 '{"type": "request", "id": "d20", "action": "user.get_users"}'
expect_not bob
expect '"user_id": 1, "username": "alice"'

step "The daemon stops on SIGTERM"
show kill -TERM "$daemon_pid"
kill -TERM "$daemon_pid"
timeout 20 tail --pid="$daemon_pid" -f /dev/null || fail "it ends within its shutdown_timeout of 10 s"
status=0
wait "$daemon_pid" || status=$?
daemon_pid=''
printf '    exit status %d\n' "$status"
[ "$status" -eq 0 ] || fail "exit status 0"
printf '    %s✓%s\n\n%sThe demo passed.%s\n' "$green" "$plain" "$bold" "$plain"
