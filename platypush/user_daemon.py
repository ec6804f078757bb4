"""
Forwards the ``user.*`` actions of a Platypush node to platypush-userd.

Put this file into the node's ``scripts/`` folder. From then on the node sends every call of a
``user.*`` action over Redis to the daemon, whatever the route of the call. The node also offers the
actions that only the daemon has. The web login of the node still uses the node's own database.

Settings, all optional. The environment wins over the section in ``config.yaml``::

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

# Import no other module of Platypush here. Platypush loads scripts while it reads the
# configuration, and importing platypush.user or platypush.plugins now would read a second one, with
# another workdir.

log = logging.getLogger('platypush:plugin:user')

# What an error means for the caller.
NO_EFFECT = 'nothing was done, and it is safe to repeat'
EFFECT_UNKNOWN = 'whether the request takes effect is not known'

# Number of callers that may wait for replies before further callers wait for a reply to any of
# them. Platypush has 20 workers.
MAX_WAITING = 8

# Interval at which a waiting caller checks whether the node stops.
POLL_SECONDS = 0.5

# A "${variable}" in Platypush's YAML turns true into the text 'True'.
FLAGS = {'dry_run', 'return_details', 'revoke_sessions'}

# Arguments that are not text. Platypush decodes digits as an integer, so an integer in any other
# argument was text: a password, a code, a name.
NOT_TEXT = FLAGS | {'expires_at', 'id'}

# Actions of Platypush's own plugin. If one of them is missing, this file patches nothing.
PLATYPUSH_ACTIONS = {
    'create_user', 'authenticate_user', 'update_password', 'delete_user', 'create_session',
    'authenticate_session', 'delete_session', 'get_users', 'get_user_by_session',
}  # fmt: skip


Text = Optional[str]


class Extensions:
    """
    Signatures and documentation of the actions and parameters that only the daemon has. The web
    panel shows them. The methods are never called.
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


class ForwardError(Exception):
    """A call without a reply. The text for the caller says whether the call had an effect."""


class Settings:
    """Settings of the section ``user:`` and the environment. Raises ValueError if invalid."""

    KEYS = ('forward', 'queue', 'reply_prefix', 'timeout', 'retry_after', 'token', 'redis')

    def __init__(self) -> None:
        from platypush.config import Config
        from platypush.utils import get_redis_conf

        # Null means not set. "logging" is a setting of every Platypush plugin.
        section = (Config.get('user') or {}).items()
        given = {k: v for k, v in section if k != 'logging' and v is not None}
        for key in self.KEYS:
            variable = f'PLATYPUSH_USERD_{key.upper()}' + ('__URL' if key == 'redis' else '')
            # As in the daemon, an empty variable means not set.
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

    def summary(self) -> str:
        """Returns the log line at start."""
        if not self.forward:
            return 'user.* actions are served by this node itself, as forward is false'
        where = f'queue {self.queue} on Redis {self.server}, timeout {self.timeout:g} s'
        return f'user.* actions are served by platypush-userd: {where}'

    @staticmethod
    def _seconds(given: Dict[str, Any], key: str, least: float) -> float:
        # Below 60 s: Platypush's own clients wait for that long, and by default the daemon does not
        # run older requests.
        try:
            seconds = float(given.get(key, 5))
        except (TypeError, ValueError):
            seconds = -1
        if not least <= seconds <= 55:
            raise ValueError(f'{key} must be a number of seconds from {least} to 55')
        return seconds

    def _connect(self, server: Any) -> tuple:
        """Returns the address without secrets, and a Redis client with its own connections."""
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        options = {
            # By default redis-py repeats a command after an error: the request would run twice.
            'retry': Retry(NoBackoff(), 0),
            'retry_on_timeout': False,
            'retry_on_error': [],
            'health_check_interval': 0,
            'socket_timeout': max(1.0, self.timeout),
            'socket_connect_timeout': min(2.0, self.timeout),
        }
        # One connection for each caller. redis-py's default limit is 100.
        defaults = {'max_connections': 4096}
        if not isinstance(server, (str, dict)):
            raise ValueError('redis must be a URL or a mapping')
        try:
            if isinstance(server, str):
                client = redis.Redis.from_url(server, **defaults, **options)
            else:
                client = redis.Redis(**{**defaults, **server, **options})
        except TypeError as error:
            raise ValueError(f'redis: {error}') from None
        except ValueError:
            # The original text may contain a part of the password.
            raise ValueError('redis is no URL such as redis://user:pass%23@host:6379/0') from None
        used = client.connection_pool.connection_kwargs
        address = used.get('path') or f'{used.get("host", "localhost")}:{used.get("port", 6379)}'
        return f'{address}/{used.get("db") or 0}', client


class Breaker:
    """
    Circuit breaker. It opens when the daemon did not take a request off the queue within the
    time-out. While it is open, callers fail at once; after a pause, one caller is let through as a
    probe. A late reply does not open it: a busy daemon takes every request, but replies late.
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
        """Admits a caller and returns the current time, or raises ForwardError."""
        now = time.monotonic()
        with self._lock:
            if self._open_until is not None:
                left = self._open_until - now
                if left > 0 or self._probe:
                    when = f'Next attempt in {left:.0f} s' if left > 0 else 'One is tried now'
                    text = 'Nobody took an earlier request to the user daemon, this was not sent'
                    raise ForwardError(f'{text}: {NO_EFFECT}. {when}')
                self._probe = now
            # Each caller occupies one of the node's 20 workers. Above the limit, wait until another
            # caller returns or gets a reply, so that other actions run while the daemon is down.
            answered = self._answered_at
            alive = self._lock.wait_for(
                lambda: self._waiting < MAX_WAITING or self._answered_at > answered,
                0 if self._silent else self._patience,
            )
            if not alive:
                self._silent = True
                self._probe = None if self._probe == now else self._probe
                text = f'{self._waiting} callers wait for the user daemon, this was not sent'
                raise ForwardError(f'{text}: {NO_EFFECT}')
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
                # Only the probe proves that the daemon runs. It may have taken other requests
                # before it stopped.
                self._open_until = None
            elif outcome == 'not taken' and self._answered_at < entered:
                self._open_until = time.monotonic() + self._pause


class Forwarder:
    """Sends requests to the daemon and waits for their replies."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._settings: Union[Settings, ForwardError, None] = None
        self._breaker = Breaker(0, 0)

    def settings(self) -> Settings:
        """Returns the settings, read on first use: scripts are loaded before they exist."""
        with self._lock:
            if self._settings is None:
                try:
                    self._settings = Settings()
                    patience = min(2.0, self._settings.timeout / 2)
                    self._breaker = Breaker(self._settings.retry_after, patience)
                    level = logging.INFO if self._settings.forward else logging.WARNING
                    log.log(level, self._settings.summary())
                except Exception as error:
                    text = f'The settings of the user daemon cannot be used: {error}'
                    log.error(text)
                    self._settings = ForwardError(f'{text}. Nothing was done')
            if isinstance(self._settings, ForwardError):
                raise ForwardError(*self._settings.args)
            return self._settings

    def run(self, settings: Settings, action: str, args: Union[list, Dict[str, Any]]) -> dict:
        """Returns the ``response`` of the daemon's reply, or raises ForwardError."""
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
            raise ForwardError(f'The arguments cannot be sent ({error}): {NO_EFFECT}') from None
        entered, outcome = self._breaker.enter(), 'error'
        try:
            replies = settings.reply_prefix + request['id']
            outcome, answer = self._exchange(settings, entered, message, replies)
        finally:
            self._breaker.leave(entered, outcome)
        if outcome != 'answered':
            raise ForwardError(answer)
        return _response(answer)

    def _exchange(self, settings: Settings, started: float, message: str, replies: str) -> tuple:
        """Returns the outcome of a message, and the reply or an error text."""
        from platypush.context import get_bus

        deadline = started + settings.timeout
        # Errors that prove that the message was not queued. Before the push: all of them.
        harmless: tuple = (Exception,)
        try:
            if get_bus().should_stop():
                return 'error', f'The node stops, this was not sent: {NO_EFFECT}'
            # A connection of its own, because BLPOP blocks it.
            with settings.redis.client() as connection:
                harmless = (redis.ResponseError,)
                connection.rpush(settings.queue, message)
                harmless, reply = (), None
                while not reply and time.monotonic() < deadline and not get_bus().should_stop():
                    wait = max(0.01, min(POLL_SECONDS, deadline - time.monotonic()))
                    reply = connection.blpop(replies, wait)
                removed = not reply and connection.lrem(settings.queue, 1, message)
                if not reply and not removed:
                    # The reply may have arrived between BLPOP and LREM.
                    reply = connection.blpop(replies, 0.01)
        except Exception as error:
            no_effect = isinstance(error, harmless)
            hangs = isinstance(error, redis.TimeoutError)
            # After a time-out, LREM would time out as well.
            if not no_effect and not hangs:
                with contextlib.suppress(Exception):
                    no_effect = bool(settings.redis.lrem(settings.queue, 1, message))
            effect = NO_EFFECT if no_effect else EFFECT_UNKNOWN
            text = f'Redis at {settings.server} failed ({error}): {effect}'
            return 'not taken' if hangs else 'error', text
        if reply:
            return 'answered', reply[1]
        waited = f'{time.monotonic() - started:.1f} s'
        if removed:
            text = f'Nobody took the request off {settings.queue} within {waited}, it was removed'
            return 'not taken', f'{text}: {NO_EFFECT}. Does the user daemon run?'
        text = f'The user daemon took the request, no reply within {waited}'
        return 'taken', f'{text}: {EFFECT_UNKNOWN}'


def _response(reply: bytes) -> dict:
    """Returns the response in a reply. Raises ForwardError if the reply is not the daemon's."""
    try:
        response = json.loads(reply)['response']
        errors = response['errors']
        if 'output' in response and isinstance(errors, list):
            return {**response, 'errors': [str(error) for error in errors]}
    except Exception:
        log.warning('The reply list contains a message that is not a reply of the user daemon')
    raise ForwardError(f'What came back is no reply of the user daemon: {EFFECT_UNKNOWN}')


def _iso(value: Any) -> str:
    """Formats a date as ISO 8601. PyYAML parses an unquoted date as a date."""
    if isinstance(value, datetime.date):
        return value.isoformat()
    raise TypeError(f'one is of the type {type(value).__name__}')


def _arguments(name: str, names: List[str], args: tuple, kwargs: dict) -> Union[list, dict]:
    """Returns the arguments to send. The daemon rejects missing, surplus and unknown arguments."""
    if len(args) > len(names):
        return list(args)
    given = dict(zip(names, args))
    for twice in given.keys() & kwargs.keys():
        raise ForwardError(f"user.{name}() got multiple values for argument '{twice}'")
    given.update(kwargs)
    for key, value in given.items():
        if type(value) is int and key not in NOT_TEXT:
            given[key] = str(value)
        elif key in FLAGS and value in ('True', 'False'):
            given[key] = value == 'True'
    return given


def _action(name: str, builtin: Optional[Callable]) -> Callable:
    """
    Returns the replacement of an action. It does not use Platypush's ``@action``, which shows
    arguments and results, including passwords, to every client of /ws/monitor.
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
                raise ForwardError(f'user.{name} is the user daemon\'s, and forward is false')
            response = FORWARDER.run(settings, name, _arguments(name, names, args, kwargs))
            output, errors = response['output'], response['errors']
        except ForwardError as error:
            return Response(errors=[str(error)])
        except Exception as error:
            # No exception may escape: Platypush would log it, and run the action again.
            text = f'{type(error).__name__} in user_daemon.py: {error}'
            return Response(errors=[f'{text}: {EFFECT_UNKNOWN}'])
        # Platypush's own plugin has no output after an error, so drop the daemon's.
        output = None if errors and output == {'success': False} else output
        return Response(output=output, errors=errors)

    forward.builtin = builtin
    # Read by Platypush's documentation parser.
    forward.wrapped = template
    forward.__signature__ = inspect.signature(template)
    return forward


def _patch_user(module: Any) -> None:
    """Patches the class in place, which covers existing and new instances and reloads."""
    plugin = module.UserPlugin
    actions = {name: f for name, f in vars(plugin).items() if hasattr(f, 'wrapped')}
    # An action that is made differently would stay unpatched and use the node's own database.
    missing = PLATYPUSH_ACTIONS - actions.keys()
    if missing:
        raise ImportError(f'user_daemon.py does not know this Platypush: no {sorted(missing)}')
    for name, f in {**EXTENSIONS, **actions}.items():
        builtin = getattr(f, 'builtin', f) if name in actions else None
        setattr(plugin, name, _action(name, builtin))

    def get_actions(self):
        # Platypush reads the list of actions from the source of the class, which lacks these.
        return self.__dict__['registered_actions'] | EXTENSIONS.keys()

    def set_actions(self, actions):
        self.__dict__['registered_actions'] = actions
        try:
            # Runs for each new instance, and so logs the settings early.
            FORWARDER.settings()
        except ForwardError:
            pass

    plugin.registered_actions = property(get_actions, set_actions)


def _patch_inspect(module: Any) -> None:
    """Adds the daemon's actions to the web panel's list, which is a file of Platypush."""
    plugin = module.InspectPlugin
    builtin = getattr(plugin, 'get_all_plugins', None)
    if builtin is None:
        log.warning('The web panel of this Platypush cannot list the actions of the user daemon')
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
            log.warning('Cannot list the actions of the user daemon: %s', error)
        return response

    get_all_plugins.builtin = builtin
    plugin.get_all_plugins = get_all_plugins


PATCHES = {
    'platypush.plugins.user': _patch_user,
    'platypush.plugins.inspect': _patch_inspect,
}


class Finder(importlib.abc.MetaPathFinder):
    """Import hook: runs the real import, then patches the module."""

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
    """Installs the hook and removes that of an earlier copy: Platypush may load a script again."""
    sys.meta_path[:] = [f for f in sys.meta_path if not hasattr(f, 'platypush_userd')]
    sys.meta_path.insert(0, Finder())
    for name in PATCHES.keys() & sys.modules.keys():
        PATCHES[name](sys.modules[name])


FORWARDER = Forwarder()
install()


@when(ApplicationStartedEvent)
def log_settings_at_start(event, **_):
    """Logs one line with the settings when the node has started."""
    with contextlib.suppress(ForwardError):
        FORWARDER.settings()
