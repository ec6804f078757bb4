"""
Test environment: a Redis, a daemon and real Platypush nodes, each in its own process.

Run it with the Python of the environment that tools/platypush-venv.sh creates.
"""

import atexit
import base64
import contextlib
import functools
import gzip
import hmac
import importlib.util
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import redis
import websocket

from calls import yaml_config

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
FORWARDER = ROOT / 'platypush' / 'user_daemon.py'
HOST = '127.0.0.1'
QUEUE = 'platypush/user'
# Maximum wait in seconds: longer than any step takes that succeeds, even on a busy machine.
TIMEOUT = 60
API_TOKEN = 'token-of-the-tests'


def daemon_binary():
    """Returns PLATYPUSH_TESTS_DAEMON, or the binary that cargo build creates."""
    built = Path(os.environ.get('CARGO_TARGET_DIR', ROOT / 'target')) / 'debug' / 'platypush-userd'
    return os.environ.get('PLATYPUSH_TESTS_DAEMON', str(built))


def documentation():
    """Returns the text of README.md and of all files in docs/."""
    files = [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]
    return '\n'.join(file.read_text() for file in files)


def free_port():
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return listener.getsockname()[1]


def wait_for(condition, what, timeout=TIMEOUT):
    """Polls until the condition returns a true value, and returns it."""
    deadline = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f'timed out after {timeout} s waiting for {what}')
        time.sleep(0.02)


def clean_environment(**more):
    """Returns the environment without the PLATYPUSH* settings of the user who runs the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith('PLATYPUSH')}
    return {**kept, **more}


class Process:
    """A process whose output goes to a file."""

    def __init__(self, folder, name):
        self.log_file = Path(folder) / f'{name}.log'
        self.process = None

    def launch(self, command, env):
        # The process that runs the tests may ignore SIGINT, as a job in the background of a shell does.
        command = ['/usr/bin/env', '--default-signal=INT', *command]
        with open(self.log_file, 'ab') as log:
            self.process = subprocess.Popen(
                command, env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def log(self):
        return self.log_file.read_text(errors='replace')

    def send(self, number):
        self.process.send_signal(number)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            # On some kernels a stopped process does not handle SIGKILL until it continues.
            self.process.send_signal(signal.SIGCONT)
        if self.process:
            self.process.wait(TIMEOUT)

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT)


class RedisServer(Process):
    def __init__(self, folder):
        super().__init__(folder, 'redis')
        self.folder = Path(folder)
        self.port = free_port()
        self.url = f'redis://{HOST}:{self.port}/0'
        self.start()

    def start(self):
        command = ['redis-server', '--port', str(self.port), '--bind', HOST, '--save', '']
        self.launch([*command, '--dir', str(self.folder)], clean_environment())
        # No socket time-out, which would interrupt blocking commands.
        self.client = redis.Redis(HOST, self.port, socket_timeout=None)

        def answers():
            with contextlib.suppress(redis.RedisError):
                return self.client.ping()

        wait_for(answers, 'Redis')


class Daemon(Process):
    """A daemon with cheap password hashes and without the throttle."""

    def __init__(self, folder, server, name='daemon', config=None, **settings):
        super().__init__(folder, name)
        self.server = server
        workdir = Path(folder) / f'{name}.workdir'
        self.settings = {
            'WORKDIR': str(workdir),
            'REDIS__URL': server.url,
            'DEVICE_ID': 'the-daemon',
            'PASSWORD__MEMORY_KIB': '8',
            'PASSWORD__ITERATIONS': '1',
            'THROTTLE__FAILURES': '0',
            **settings,
        }
        self.config = Path(folder) / f'{name}.yaml'
        # JSON is YAML.
        self.config.write_text(json.dumps(config or {}))
        self.start()

    def start(self):
        env = {f'PLATYPUSH_USERD_{k}': v for k, v in self.settings.items()}
        earlier = self.log().count(' ready ') if self.log_file.exists() else 0
        command = [daemon_binary(), 'serve', '--config', str(self.config)]
        self.launch(command, clean_environment(**env))

        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f'the daemon ended: {self.log()[-2000:]}')
            return self.log().count(' ready ') > earlier

        wait_for(ready, 'the daemon')


class Direct:
    """A client that sends requests to the daemon directly, not through a node."""

    def __init__(self, server, queue=QUEUE):
        self.redis = server.client
        self.queue = queue

    def call(self, action, **args):
        request_id = str(uuid.uuid4())
        request = {'action': f'user.{action}', 'args': args, 'id': request_id}
        self.redis.rpush(self.queue, json.dumps(request))
        return result(self.redis.blpop(f'platypush/responses/{request_id}', TIMEOUT))

    def ok(self, action, **args):
        output, errors = self.call(action, **args)
        if errors:
            raise AssertionError(f'{action}: {errors}')
        return output


def result(popped):
    """Returns output and errors of a reply. The output is None if there are errors."""
    if popped is None:
        raise AssertionError('no reply')
    response = json.loads(popped[1])['response']
    output, errors = response['output'], response['errors']
    return (None if errors and output == {'success': False} else output), errors


class Node(Process):
    """A Platypush node with its own bus channel, list and web server."""

    def __init__(
        self, folder, server, name, scripts=(), config=None, env=None, forwarder=True, change=None
    ):
        super().__init__(folder, name)
        self.name = name
        self.server = server
        self.redis = server.client
        self.bus = f'platypush/bus/{name}'
        self.list = f'platypush/backend/redis/{name}'
        self.port = free_port()
        self.env = env or {}
        self.folder = Path(folder) / name
        self.scripts = self.folder / 'scripts'
        self.scripts.mkdir(parents=True)
        for script in [*([FORWARDER] if forwarder else []), *scripts]:
            shutil.copy(script, self.scripts)
        for script, (old, new) in (change or {}).items():
            file = self.scripts / script
            file.write_text(replaced(file.read_text(), old, new))
        self.config = {
            'device_id': name,
            # In the file, because the node's migrations, a separate process, read nothing else.
            'workdir': str(self.folder / 'workdir'),
            'cachedir': str(self.folder / 'cache'),
            # Some tests run more hooks in parallel than redis-py's limit, 100 connections.
            'redis': {'host': HOST, 'port': server.port, 'max_connections': 1000},
            'backend.redis': {'queue': self.list},
            'backend.http': {
                'port': self.port,
                'bind_address': HOST,
                'zeroconf_enabled': False,
            },
            **(config or {}),
        }
        self.launch_node()

    def launch_node(self):
        # JSON is YAML.
        config = self.folder / 'config.yaml'
        config.write_text(json.dumps(self.config))
        command = [sys.executable, '-m', 'platypush.app', '--config', str(config)]
        command += ['--redis-queue', self.bus, '--pidfile', str(self.folder / 'pid')]
        self.launch(command, clean_environment(PLATYPUSH_API_TOKEN=API_TOKEN, **self.env))

    def wait_until_ready(self):
        def answers():
            if self.process.poll() is not None:
                raise AssertionError(f'{self.name} ended: {self.log()[-5000:]}')
            with contextlib.suppress(OSError):
                return not self.execute('utils.sleep', {'seconds': 0}, timeout=5)[1]

        wait_for(answers, f'{self.name} to answer: see {self.log_file}')
        return self

    def request(self, action, args, **more):
        return {'type': 'request', 'target': self.name, 'action': action, 'args': args, **more}

    def execute(self, action, args=None, timeout=TIMEOUT):
        """Calls an action by POST /execute."""
        post = urllib.request.Request(
            f'http://{HOST}:{self.port}/execute',
            json.dumps(self.request(action, args or {})).encode(),
            {'Content-Type': 'application/json', 'X-Token': API_TOKEN},
        )
        with urllib.request.urlopen(post, timeout=timeout) as reply:
            return result((None, reply.read()))

    def over_bus(self, action, args):
        request = self.request(action, args, id=str(uuid.uuid4()), origin='the-tests')
        self.redis.publish(self.bus, json.dumps(request))
        return result(self.redis.blpop(f'platypush/responses/{request["id"]}', TIMEOUT))

    def over_list(self, action, args):
        request = self.request(action, args, id=str(uuid.uuid4()))
        self.redis.rpush(self.list, json.dumps(request))
        return result(self.redis.blpop(f'platypush/responses/{request["id"]}', TIMEOUT))

    def socket(self, path):
        return websocket.create_connection(
            f'ws://{HOST}:{self.port}{path}', header={'X-Token': API_TOKEN}, timeout=TIMEOUT
        )

    def over_websocket(self, action, args):
        with contextlib.closing(self.socket('/ws/requests')) as ws:
            ws.send(json.dumps(self.request(action, args, id=str(uuid.uuid4()))))
            return result((None, ws.recv()))

    def fire(self, subtype, channel=None, **args):
        """Publishes an event on the node's bus, or pushes it to the node's list."""
        event = {'type': 'platypush.message.event.custom.CustomEvent', 'subtype': subtype, **args}
        message = json.dumps({'type': 'event', 'target': self.name, 'args': event})
        if channel == 'list':
            self.redis.rpush(self.list, message)
        else:
            self.redis.publish(self.bus, message)

    def through_script(self, route, action, args):
        """Calls the action from scripts/routes.py or from a hook of the configuration."""
        answers = f'test/{uuid.uuid4()}'
        if route == 'cron':
            job = {'action': action, 'args': args, 'answers': answers}
            self.redis.rpush(f'test/cron/{self.name}', json.dumps(job))
        elif route == 'yaml_hook':
            self.fire(f'call {action}', answers=answers, **args)
        else:
            self.fire('call', route=route, action=action, call_args=args, answers=answers)
        popped = self.redis.blpop(answers, TIMEOUT)
        if popped is None:
            raise AssertionError(f'no answer from {route}')
        # The result that the caller on the node gets.
        response = json.loads(popped[1])['response']
        return response['output'], response['errors']


class Fleet:
    """All processes of a test, in one temporary folder. PLATYPUSH_TESTS_KEEP=1 keeps the folder."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix='platypush-userd-tests-'))
        self.server = RedisServer(self.folder)
        self.direct = Direct(self.server)
        self.processes = [self.server]

    def add(self, process):
        self.processes.append(process)
        return process

    def daemon(self, **more):
        return self.add(Daemon(self.folder, self.server, **more))

    def node(self, name, **more):
        return self.add(Node(self.folder, self.server, name, **more))

    def close(self):
        for process in reversed(self.processes):
            process.kill()
        if not os.environ.get('PLATYPUSH_TESTS_KEEP'):
            shutil.rmtree(self.folder)


@functools.cache
def shared():
    """Returns the fleet shared by tests that do not break it: a daemon, two nodes and a user."""
    fleet = Fleet()
    atexit.register(fleet.close)
    publish = ['platypush/bus/node-a', 'list:platypush/backend/redis/node-b']
    # A throttle that counts failures, which events contain, but never locks a name here.
    fleet.daemon(
        config={'events': {'publish': publish}},
        THROTTLE__FAILURES='100',
    )
    fleet.direct.ok('create_user', username='admin', password='the first')
    # One session for the tests, and one that only the code of the examples uses.
    fleet.admin, fleet.examples_session = (
        fleet.direct.ok('create_session', username='admin', password='the first') for _ in range(2)
    )
    scripts = [*(HERE / 'scripts').glob('*.py'), *(ROOT / 'examples').glob('*.py')]
    # The configuration that the examples ask for.
    include = ROOT / 'examples' / 'manage_users.yaml'
    constants = {'user_admin_token': fleet.examples_session['session_token']}
    config = {'user': {}, 'include': str(include), 'constants': constants, **yaml_config()}
    fleet.a, fleet.b = (
        fleet.node(name, scripts=scripts, config=config, change=change)
        for name, change in [
            ('node-a', {}),
            # Runs the nightly job each second.
            ('node-b', {'manage_users.py': ("'0 3 * * *'", "'* * * * * *'")}),
        ]
    )
    for node in (fleet.a, fleet.b):
        node.wait_until_ready()
    return fleet


def replaced(text, old, new):
    if text.count(old) != 1:
        raise AssertionError(f'expected exactly one {old}')
    return text.replace(old, new)


def in_process(what, *more, forwarder=True, config=None, env=None):
    """Runs tests/platypush/in_process.py and returns its result."""
    with tempfile.TemporaryDirectory(prefix='platypush-userd-tests-') as folder:
        scripts = Path(folder) / 'scripts'
        scripts.mkdir()
        if forwarder and what != 'late':
            shutil.copy(FORWARDER, scripts)
        if what == 'late':
            more = [str(FORWARDER.parent)]
        all_config = {
            'device_id': 'in-process',
            'workdir': f'{folder}/workdir',
            'cachedir': f'{folder}/cache',
            **(config or {}),
        }
        file = Path(folder) / 'config.yaml'
        file.write_text(json.dumps(all_config))
        done = subprocess.run(
            [sys.executable, str(HERE / 'in_process.py'), str(file), what, *more],
            env=clean_environment(PYTHONDONTWRITEBYTECODE='1', **(env or {})),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        if done.returncode or not done.stdout:
            raise AssertionError(f'{what}: {done.stdout}{done.stderr}')
        output = json.loads(done.stdout)
        return {'log': done.stderr, 'results': output} if what == 'call' else output


def platypush_folder():
    return Path(importlib.util.find_spec('platypush').submodule_search_locations[0])


def platypush_source(path):
    return (platypush_folder() / path).read_text()


def panel_file():
    """Returns the list of actions that is part of Platypush."""
    return json.loads(gzip.decompress((platypush_folder() / 'components.json.gz').read_bytes()))


def totp(secret):
    """Returns the current TOTP code (RFC 6238)."""
    counter = struct.pack('>Q', int(time.time()) // 30)
    digest = hmac.new(base64.b32decode(secret), counter, 'sha1').digest()
    offset = digest[-1] & 15
    return f'{(int.from_bytes(digest[offset:offset + 4], "big") & 0x7FFFFFFF) % 10**6:06}'


def in_threads(number, work):
    """Runs work(0), work(1), … in parallel and returns their results in order."""
    results = [None] * number

    def run(i):
        try:
            results[i] = work(i)
        except Exception as error:
            results[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT * 2)
    for outcome in results:
        if isinstance(outcome, Exception):
            raise outcome
    return results
