"""
Has this Platypush node's ``user.*`` actions served by platypush-userd.

Put this file into the node's ``scripts/`` folder. From then on every call of a ``user.*`` action,
on whatever route it comes, goes over Redis to the daemon, and the node's own database is not
asked. The daemon's further actions are there too. The web login of the node stays with the node.

Settings, all optional, stand in a section of ``config.yaml`` or in the environment, which wins::

    user:
      queue: platypush/user               # PLATYPUSH_USERD_QUEUE
      reply_prefix: platypush/responses/  # PLATYPUSH_USERD_REPLY_PREFIX
      timeout: 5                          # PLATYPUSH_USERD_TIMEOUT, seconds
      retry_after: 5                      # PLATYPUSH_USERD_RETRY_AFTER, seconds
      token: secret                       # PLATYPUSH_USERD_TOKEN
      redis: redis://localhost:6379/0     # PLATYPUSH_USERD_REDIS__URL (default: the node's Redis)
      forward: true                       # PLATYPUSH_USERD_FORWARD; false: the node serves itself
"""

import contextlib
import datetime
import functools
import importlib.abc
import importlib.machinery
import inspect
import json
import logging
import os
import sys
import threading
import time
import uuid
from typing import Any, Callable, Dict, List, Optional, Union

import redis

from platypush import when
from platypush.message.event.application import ApplicationStartedEvent

# No more of Platypush may be imported up here: scripts are loaded while the configuration is read,
# and platypush.user or platypush.plugins would build a second one, with another workdir.

log = logging.getLogger('platypush:plugin:user')

# What an error means for the caller.
NOTHING = 'nothing was done, and it is safe to repeat'
NOT_KNOWN = 'whether the request takes effect is not known'

# Callers beyond which the others wait for a sign of life. Platypush has 20 workers.
WAITING = 8

# How soon a caller that waits for a reply notices that the node stops.
SLICE_SECONDS = 0.5

# A "${variable}" of Platypush's YAML makes the text 'True' of a true.
FLAGS = {'dry_run', 'return_details', 'revoke_sessions'}

# Every other integer was digits before Platypush decoded it: a password, a code, a name.
NO_TEXT = FLAGS | {'expires_at', 'id'}

# What Platypush's own plugin has. Where one of them is missing, nothing may be served at all.
OF_PLATYPUSH = {
    'create_user', 'authenticate_user', 'update_password', 'delete_user', 'create_session',
    'authenticate_session', 'delete_session', 'get_users', 'get_user_by_session',
}  # fmt: skip


Text = Optional[str]


class Extensions:
    """
    What the daemon offers beyond that: nothing but signatures and documentation, which the web
    panel shows. The methods are never called.
    """

    def update_password(
        self, username: str, old_password: str, new_password: str, code: Text = None,
        revoke_sessions: bool = False,
    ):  # fmt: skip
        """
        Update the password of a user.

        :param username: Username.
        :param old_password: Current password.
        :param new_password: New password.
        :param code: One-time code or backup code, if 2FA is enabled for the user.
        :param revoke_sessions: If True then all sessions of the user end in the same step.
        :return: True if the password was successfully updated, false otherwise
        """

    def enable_otp(
        self, username: str, password: str, otp_secret: Text = None, code: Text = None,
        dry_run: bool = False,
    ):  # fmt: skip
        """
        Enable 2FA: first with ``dry_run``, then with the ``otp_secret`` proposed and its code.

        :param username: Username.
        :param password: Password of the user.
        :param otp_secret: The proposed secret or one of your own: base32, 128+ bits.
        :param code: A code of that secret.
        :param dry_run: If True then a secret is proposed and nothing is stored.
        :return: ``username``, ``otp_secret``, ``otp_uri``, ``qrcode`` and ``backup_codes``, which
            are shown this once. ``qrcode`` is None where the URI is too long for one.
        """

    def disable_otp(self, username: str, password: str, code: Text = None):
        """
        Disable 2FA for a user.

        :param username: Username.
        :param password: Password of the user.
        :param code: One-time code or backup code.
        :return: True.
        """

    def refresh_backup_codes(self, username: str, password: str, code: Text = None):
        """
        Make new backup codes for a user with 2FA. The old ones are void.

        :param username: Username.
        :param password: Password of the user.
        :param code: One-time code or backup code.
        :return: The ten new codes, each good once. They are shown this once.
        """

    def get_sessions(self, session_token: str):
        """
        Get the valid sessions of the user of a session, oldest first.

        :param session_token: Session token.
        :return: List of dictionaries with ``session_id``, ``created_at``, ``expires_at`` and
            ``current``.
        """

    def delete_sessions(
        self, username: str, password: str, code: Text = None, session_id: Text = None
    ):
        """
        End one or all sessions of a user.

        :param username: Username.
        :param password: Password of the user.
        :param code: One-time code or backup code, if 2FA is enabled for the user.
        :param session_id: One session, by its id in ``get_sessions`` (default: all).
        :return: True, or False if the user has no such session.
        """

    def create_api_token(
        self, username: str, password: str, code: Text = None, name: Text = None,
        expires_at: Optional[Union[str, float]] = None,
    ):  # fmt: skip
        """
        Create an API token, with which a program proves to be the user.

        :param username: Username.
        :param password: Password of the user.
        :param code: One-time code or backup code, if 2FA is enabled for the user.
        :param name: Name of the token (default: drawn).
        :param expires_at: ISO 8601 or epoch seconds (default: never).
        :return: Dictionary with ``id``, ``name``, ``expires_at`` and, shown this once, ``token``.
        """

    def authenticate_api_token(self, token: str):
        """
        Authenticate an API token and return the associated user.

        :param token: API token.
        :return: Dictionary with ``user_id``, ``username`` and ``created_at``.
        """

    def get_api_tokens(self, session_token: str):
        """
        Get the API tokens of the user of a session.

        :param session_token: Session token.
        :return: List of dictionaries with ``id``, ``name``, ``created_at`` and ``expires_at``.
        """

    def delete_api_token(self, session_token: str, id: Union[int, str]):
        """
        Delete an API token of the user of a session.

        :param session_token: Session token.
        :param id: Id of the token in ``get_api_tokens``.
        :return: True, or False if the user has no such token.
        """


EXTENSIONS = {name: f for name, f in vars(Extensions).items() if inspect.isfunction(f)}


class Unanswered(Exception):
    """Why there is no reply, in words for the caller: above all whether anything was done."""


class Settings:
    """The section ``user:`` and the environment, checked; raises ValueError."""

    KEYS = ('forward', 'queue', 'reply_prefix', 'timeout', 'retry_after', 'token', 'redis')

    def __init__(self) -> None:
        from platypush.config import Config
        from platypush.utils import get_redis_conf

        # Null is not set. "logging" is a setting of every Platypush plugin.
        section = (Config.get('user') or {}).items()
        given = {k: v for k, v in section if k != 'logging' and v is not None}
        for key in self.KEYS:
            variable = f'PLATYPUSH_USERD_{key.upper()}' + ('__URL' if key == 'redis' else '')
            # As for the daemon, an empty one is not set.
            if os.environ.get(variable):
                given[key] = os.environ[variable]
        unknown = ', '.join(str(key) for key in given if key not in self.KEYS)
        if unknown:
            raise ValueError(f'there is no setting {unknown}')
        self.forward = {'true': True, 'false': False}.get(str(given.get('forward', True)).lower())
        if self.forward is None:
            raise ValueError('forward must be true or false')
        self.queue = str(given.get('queue') or 'platypush/user')
        own = Config.get('backend.redis')
        if self.queue == ((own or {}).get('queue') or 'platypush/backend/redis') and own is not None:
            raise ValueError('queue must not be that of backend.redis: requests would come back')
        self.reply_prefix = str(given.get('reply_prefix') or 'platypush/responses/')
        self.token = given.get('token')
        self.timeout = self._seconds(given, 'timeout', least=0.1)
        self.retry_after = self._seconds(given, 'retry_after', least=0)
        self.device_id = Config.get('device_id')
        self.server, self.redis = self._connect(given.get('redis') or get_redis_conf())

    def said(self) -> str:
        """For the log."""
        if not self.forward:
            return 'user.* actions are served by this node itself, as forward is false'
        where = f'queue {self.queue} on Redis {self.server}, timeout {self.timeout:g} s'
        return f'user.* actions are served by platypush-userd: {where}'

    @staticmethod
    def _seconds(given: Dict[str, Any], key: str, least: float) -> float:
        # Platypush's own clients wait for 60 seconds; by default the daemon runs nothing older.
        try:
            seconds = float(given.get(key, 5))
        except (TypeError, ValueError):
            seconds = -1
        if not least <= seconds <= 55:
            raise ValueError(f'{key} must be a number of seconds from {least} to 55')
        return seconds

    def _connect(self, server: Any) -> tuple:
        """Gives the address without its secrets, and a client with connections of its own."""
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        ours = {
            # redis-py repeats a command by itself after an error: the request would run twice.
            'retry': Retry(NoBackoff(), 0),
            'retry_on_timeout': False,
            'retry_on_error': [],
            'health_check_interval': 0,
            'socket_timeout': max(1.0, self.timeout),
            'socket_connect_timeout': min(2.0, self.timeout),
        }
        # Each caller has a connection of its own; redis-py's own limit is 100.
        most = {'max_connections': 4096}
        if not isinstance(server, (str, dict)):
            raise ValueError('redis must be a URL or a mapping')
        try:
            if isinstance(server, str):
                client = redis.Redis.from_url(server, **most, **ours)
            else:
                client = redis.Redis(**{**most, **server, **ours})
        except TypeError as error:
            raise ValueError(f'redis: {error}') from None
        except ValueError:
            # Its text may have a part of the password.
            raise ValueError('redis is no URL such as redis://user:pass%23@host:6379/0') from None
        used = client.connection_pool.connection_kwargs
        address = used.get('path') or f'{used.get("host", "localhost")}:{used.get("port", 6379)}'
        return f'{address}/{used.get("db") or 0}', client


class Breaker:
    """
    Once nobody took a request off the queue, callers fail at once instead of waiting one after the
    other; after a while one of them tries again. Only that nobody *took* it counts: a daemon with
    much to do takes everything, and answers late.
    """

    def __init__(self, pause: float, patience: float) -> None:
        self._pause = pause
        self._patience = patience
        self._lock = threading.Condition()
        self._waiting = 0
        self._silent = False
        self._answered_at = 0.0
        self._open_until: Optional[float] = None
        self._probe: Optional[float] = None

    def enter(self) -> float:
        """Lets a caller through and gives the time, or raises Unanswered."""
        now = time.monotonic()
        with self._lock:
            if self._open_until is not None:
                left = self._open_until - now
                if left > 0 or self._probe:
                    when = f'Next attempt in {left:.0f} s' if left > 0 else 'One is tried now'
                    text = 'Nobody took an earlier request to the user daemon, this was not sent'
                    raise Unanswered(f'{text}: {NOTHING}. {when}')
                self._probe = now
            # Each caller holds one of the node's few workers. Beyond some of them, wait for a sign
            # of life only, so that the node goes on with something else when there is none.
            answered = self._answered_at
            alive = self._lock.wait_for(
                lambda: self._waiting < WAITING or self._answered_at > answered,
                0 if self._silent else self._patience,
            )
            if not alive:
                self._silent = True
                self._probe = None if self._probe == now else self._probe
                text = f'{self._waiting} callers wait for the user daemon, this was not sent'
                raise Unanswered(f'{text}: {NOTHING}')
            self._waiting += 1
        return now

    def leave(self, entered: float, outcome: str) -> None:
        with self._lock:
            self._waiting -= 1
            self._lock.notify_all()
            is_probe = self._probe == entered
            if is_probe:
                self._probe = None
            if outcome == 'answered':
                self._answered_at = time.monotonic()
                self._open_until, self._silent = None, False
            elif outcome == 'taken' and is_probe:
                # What others had sent may have been taken before the daemon stopped.
                self._open_until = None
            elif outcome == 'not taken' and self._answered_at < entered:
                self._open_until = time.monotonic() + self._pause


class Forwarder:
    """Sends requests to the daemon and waits for their replies."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._settings: Union[Settings, Unanswered, None] = None
        self._breaker = Breaker(0, 0)

    def settings(self) -> Settings:
        """Read when they are first needed, as they are not there yet when scripts are loaded."""
        with self._lock:
            if self._settings is None:
                try:
                    self._settings = Settings()
                    patience = min(2.0, self._settings.timeout / 2)
                    self._breaker = Breaker(self._settings.retry_after, patience)
                    level = logging.INFO if self._settings.forward else logging.WARNING
                    log.log(level, self._settings.said())
                except Exception as error:
                    text = f'The settings of the user daemon cannot be used: {error}'
                    log.error(text)
                    self._settings = Unanswered(f'{text}. Nothing was done')
            if isinstance(self._settings, Unanswered):
                raise Unanswered(*self._settings.args)
            return self._settings

    def run(self, settings: Settings, action: str, args: Union[list, Dict[str, Any]]) -> dict:
        """Gives the ``response`` of the daemon's reply, or raises Unanswered."""
        request = {
            'type': 'request',
            'action': f'user.{action}',
            'args': args,
            'id': str(uuid.uuid4()),
            'origin': settings.device_id,
            '_timestamp': time.time(),
        }
        if settings.token is not None:
            request['token'] = str(settings.token)
        try:
            message = json.dumps(request, default=_iso)
        except Exception as error:
            raise Unanswered(f'The arguments cannot be sent ({error}): {NOTHING}') from None
        entered, outcome = self._breaker.enter(), 'error'
        try:
            replies = settings.reply_prefix + request['id']
            outcome, answer = self._exchange(settings, entered, message, replies)
        finally:
            self._breaker.leave(entered, outcome)
        if outcome != 'answered':
            raise Unanswered(answer)
        return _response(answer)

    def _exchange(self, settings: Settings, started: float, message: str, replies: str) -> tuple:
        """Gives what became of the message, and the reply or what to say about it."""
        from platypush.context import get_bus

        deadline = started + settings.timeout
        # Until it is sent, nothing can have been done.
        harmless: tuple = (Exception,)
        try:
            if get_bus().should_stop():
                return 'error', f'The node stops, this was not sent: {NOTHING}'
            # A connection for this call alone.
            with settings.redis.client() as connection:
                harmless = (redis.ResponseError,)
                connection.rpush(settings.queue, message)
                harmless, reply = (), None
                while not reply and time.monotonic() < deadline and not get_bus().should_stop():
                    wait = max(0.01, min(SLICE_SECONDS, deadline - time.monotonic()))
                    reply = connection.blpop(replies, wait)
                removed = not reply and connection.lrem(settings.queue, 1, message)
                if not reply and not removed:
                    # It may have come in between.
                    reply = connection.blpop(replies, 0.01)
        except Exception as error:
            known = isinstance(error, harmless)
            hangs = isinstance(error, redis.TimeoutError)
            # Taking it back would hang as well.
            if not known and not hangs:
                with contextlib.suppress(Exception):
                    known = bool(settings.redis.lrem(settings.queue, 1, message))
            text = f'Redis at {settings.server} failed ({error})'
            return 'not taken' if hangs else 'error', f'{text}: {NOTHING if known else NOT_KNOWN}'
        if reply:
            return 'answered', reply[1]
        waited = f'{time.monotonic() - started:.1f} s'
        if removed:
            text = f'Nobody took the request off {settings.queue} within {waited}, it was removed'
            return 'not taken', f'{text}: {NOTHING}. Does the user daemon run?'
        return 'taken', f'The user daemon took the request, no reply within {waited}: {NOT_KNOWN}'


def _response(reply: bytes) -> dict:
    """What the daemon has to say. Others may write to the list, too."""
    try:
        response = json.loads(reply)['response']
        errors = response['errors']
        if 'output' in response and isinstance(errors, list):
            return {**response, 'errors': [str(error) for error in errors]}
    except Exception:
        log.warning('What came back from the user daemon is no reply')
    raise Unanswered(f'What came back is no reply of the user daemon: {NOT_KNOWN}')


def _iso(value: Any) -> str:
    """PyYAML makes a date of an unquoted date."""
    if isinstance(value, datetime.date):
        return value.isoformat()
    raise TypeError(f'one is of the type {type(value).__name__}')


def _arguments(name: str, names: List[str], args: tuple, kwargs: dict) -> Union[list, dict]:
    """As the daemon gets them. What is missing, too many or unknown is the daemon's to say."""
    if len(args) > len(names):
        return list(args)
    given = dict(zip(names, args))
    for twice in given.keys() & kwargs.keys():
        raise Unanswered(f"user.{name}() got multiple values for argument '{twice}'")
    given.update(kwargs)
    for key, value in given.items():
        if type(value) is int and key not in NO_TEXT:
            given[key] = str(value)
        elif key in FLAGS and value in ('True', 'False'):
            given[key] = value == 'True'
    return given


def _action(name: str, builtin: Optional[Callable]) -> Callable:
    """
    What takes the place of an action. It does without Platypush's ``@action``, which shows
    arguments and results, passwords included, to everyone on /ws/monitor.
    """
    template = EXTENSIONS.get(name) or builtin.wrapped
    parameters = inspect.signature(template).parameters.values()
    names = [p.name for p in parameters if p.kind != p.VAR_KEYWORD][1:]

    @functools.wraps(template)
    def forward(self, /, *args, **kwargs):
        from platypush.message.response import Response

        try:
            settings = FORWARDER.settings()
            if not settings.forward and builtin:
                return builtin(self, *args, **kwargs)
            if not settings.forward:
                raise Unanswered(f'user.{name} is the user daemon\'s, and forward is false')
            response = FORWARDER.run(settings, name, _arguments(name, names, args, kwargs))
            output, errors = response['output'], response['errors']
        except Unanswered as error:
            return Response(errors=[str(error)])
        except Exception as error:
            # None may get out: Platypush would log it, and run the action again.
            text = f'{type(error).__name__} in user_daemon.py: {error}'
            return Response(errors=[f'{text}: {NOT_KNOWN}'])
        # Platypush itself has no output then, and makes this of it when it is asked for text.
        output = None if errors and output == {'success': False} else output
        return Response(output=output, errors=errors)

    forward.builtin = builtin
    # Where Platypush's documentation parser looks.
    forward.wrapped = template
    forward.__signature__ = inspect.signature(template)
    return forward


def _patch_user(module: Any) -> None:
    """In place, so that instances made before and after, and reloads, are all covered."""
    plugin = module.UserPlugin
    actions = {name: f for name, f in vars(plugin).items() if hasattr(f, 'wrapped')}
    # What this file does not know would be the node's own, beside what is the daemon's.
    missing = OF_PLATYPUSH - actions.keys()
    if missing:
        raise ImportError(f'user_daemon.py does not know this Platypush: no {sorted(missing)}')
    for name, f in {**EXTENSIONS, **actions}.items():
        builtin = getattr(f, 'builtin', f) if name in actions else None
        setattr(plugin, name, _action(name, builtin))

    def get(self):
        # Platypush finds out what is an action from the source of the class.
        return self.__dict__['registered_actions'] | EXTENSIONS.keys()

    def note(self, actions):
        self.__dict__['registered_actions'] = actions
        try:
            # Each new instance comes by here: the time to say in the log what is what.
            FORWARDER.settings()
        except Unanswered:
            pass

    plugin.registered_actions = property(get, note)


def _patch_inspect(module: Any) -> None:
    """The web panel's list of actions is a file of Platypush's: the daemon's come on top of it."""
    plugin = module.InspectPlugin
    builtin = getattr(plugin, 'get_all_plugins', None)
    if builtin is None:
        log.warning('The web panel of this Platypush cannot show the actions of the user daemon')
        return
    builtin = getattr(builtin, 'builtin', builtin)

    @functools.wraps(builtin)
    def get_all_plugins(self, *args, **kwargs):
        response = builtin(self, *args, **kwargs)
        try:
            from platypush.common.reflection._model import Action

            if FORWARDER.settings().forward:
                user = response.output['user']
                for name, template in EXTENSIONS.items():
                    action = Action.parse(template).to_dict()
                    user['actions'][name] = {'doc_url': user['doc_url'], **action}
        except Exception as error:
            log.warning('The actions of the user daemon cannot be listed: %s', error)
        return response

    get_all_plugins.builtin = builtin
    plugin.get_all_plugins = get_all_plugins


PATCHES = {
    'platypush.plugins.user': _patch_user,
    'platypush.plugins.inspect': _patch_inspect,
}


class Finder(importlib.abc.MetaPathFinder):
    """Lets the real import run and patches what it brings."""

    platypush_userd = True

    def find_spec(self, fullname, path=None, target=None):
        patch = PATCHES.get(fullname)
        spec = patch and importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec and spec.loader:
            exec_module = spec.loader.exec_module

            def exec_and_patch(module):
                exec_module(module)
                patch(module)

            spec.loader.exec_module = exec_and_patch
        return spec


def install() -> None:
    """Takes the place of an earlier copy of this file: Platypush may load a script repeatedly."""
    sys.meta_path[:] = [f for f in sys.meta_path if not hasattr(f, 'platypush_userd')]
    sys.meta_path.insert(0, Finder())
    for name in PATCHES.keys() & sys.modules.keys():
        PATCHES[name](sys.modules[name])


FORWARDER = Forwarder()
install()


@when(ApplicationStartedEvent)
def say_where_user_actions_go(event, **_):
    """One line in the node's log at its start."""
    with contextlib.suppress(Unanswered):
        FORWARDER.settings()
