"""Runs on the nodes of the tests: writes down events about users, from Python and from YAML."""

import json

from platypush import Config, procedure, when
from platypush.message.event.custom import CustomEvent
from platypush.utils import get_redis


def write_down(by, what):
    get_redis().rpush(f'test/events/{Config.get("device_id")}/{by}', json.dumps(what))


@when(CustomEvent, subtype='user_event')
def on_user_event(event):
    write_down('python', event.args)


@procedure('saw_user_event')
def saw_user_event(kind, username):
    write_down('yaml', {'kind': kind, 'username': username})
