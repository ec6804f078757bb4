#!/usr/bin/env python3
"""Runs a real Platypush node for the benchmark: platypush_node.py --workdir DIR --redis-port PORT

Run it with the Python of the environment that tools/platypush-venv.sh creates. Once the node answers requests, it prints
one line of JSON with the data for a client on stdout. All other output goes to stderr. SIGTERM ends it.
"""

import argparse
import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path

HOST = "127.0.0.1"
QUEUE = "platypush/backend/redis"
DEVICE_ID = "bench-node"
USERNAME = "bench"
PASSWORD = "bench password"
SECONDS_TO_START = 60
SECONDS_TO_STOP = 10

# Only the plugins that every node has, and no web server.
CONFIG = {
    "device_id": DEVICE_ID,
    "backend.redis": {"queue": QUEUE},
    # Each user.authenticate_user logs a warning, because its result is not JSON.
    "logging": {"level": "ERROR"},
    # The node runs 20 requests in parallel, and user.authenticate_user takes two connections. With the default of 15
    # connections, parallel requests block each other until the pool's timeout of 30 s, and some fail.
    "db": {"pool_size": 40},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", required=True, type=Path, help="a new or empty folder for all files of the node")
    parser.add_argument("--redis-port", required=True, type=int, help=f"port of a Redis on {HOST} that only the node and its clients use")
    args = parser.parse_args()

    # Platypush prints to stdout, and so do its migrations.
    result = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGALRM, too_late)
    signal.alarm(SECONDS_TO_START)
    error = "the node ended unexpectedly"
    try:
        run(args.workdir.absolute(), args.redis_port, result)
    except SystemExit as end:
        error = end.code
    except Exception:
        traceback.print_exc()
    if error:
        print(f"platypush_node: {error}", file=sys.stderr, flush=True)
    # A normal exit would wait for the queued work of the node's thread pools.
    os._exit(1 if error else 0)


def stop(*_):
    # If the node does not end in time, SIGALRM kills the process.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS_TO_STOP)
    sys.exit(0)


def too_late(*_):
    sys.exit(f"the node answered no request within {SECONDS_TO_START} s")


def run(workdir, redis_port, result):
    workdir.mkdir(parents=True, exist_ok=True)
    if any(workdir.iterdir()):
        sys.exit(f"{workdir} is not empty")
    config = workdir / "config.yaml"
    # The folders are in the file, because the node's migrations, a separate process, read nothing else. JSON is YAML.
    config.write_text(json.dumps({**CONFIG, "workdir": str(workdir / "data"), "cachedir": str(workdir / "cache")}))
    # Settings of the user who runs the benchmark must not reach the node.
    for name in [name for name in os.environ if name.startswith("PLATYPUSH_")]:
        del os.environ[name]

    try:
        import redis
        from platypush.app import Application
    except ImportError as error:
        sys.exit(f"{error}. Run this with the python of tools/platypush-venv.sh")
    client = redis.Redis(HOST, redis_port)
    try:
        client.ping()
    except redis.RedisError as error:
        sys.exit(f"no Redis: {error}")

    node = Application(
        config_file=str(config), redis_host=HOST, redis_port=redis_port, no_capture_stdout=True, no_capture_stderr=True
    )
    session_token = create_user()
    threading.Thread(target=announce, args=(client, session_token, result), daemon=True).start()
    node.run()


def create_user():
    # Imported after the node has read its configuration, because the import would read another one.
    from platypush.user import UserManager

    users = UserManager()
    users.create_user(USERNAME, PASSWORD)
    # Without with_status, this fails for a user without 2FA.
    session, _ = users.create_user_session(USERNAME, PASSWORD, with_status=True)
    return session.session_token


def announce(client, session_token, result):
    """Waits until the node answers a request, and prints the data for a client."""
    try:
        number, reply = 0, None
        # Repeated, because a request is lost before the node has subscribed to its own bus.
        while reply is None:
            number += 1
            request = {
                "type": "request",
                "target": DEVICE_ID,
                "action": "user.authenticate_session",
                "args": {"session_token": session_token},
                "id": f"probe-{number}",
            }
            client.rpush(QUEUE, json.dumps(request))
            reply = client.blpop(f"platypush/responses/{request['id']}", timeout=1)
        response = json.loads(reply[1])["response"]
        if response["errors"] or response["output"]["username"] != USERNAME:
            raise ValueError(f"the node answered {reply[1].decode()}")
    except Exception as error:
        print(f"platypush_node: {error!r}", file=sys.stderr, flush=True)
        os._exit(1)
    signal.alarm(0)
    print(
        json.dumps(
            {
                "queue": QUEUE,
                "target": DEVICE_ID,
                "session_token": session_token,
                "username": USERNAME,
                "password": PASSWORD,
            }
        ),
        file=result,
        flush=True,
    )


if __name__ == "__main__":
    main()
