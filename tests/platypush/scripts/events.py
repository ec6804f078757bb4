"""Script of the test nodes: records user events, from Python and from YAML hooks."""

import json

from platypush import Config, procedure, when
from platypush.message.event.custom import CustomEvent
from platypush.utils import get_redis


def record(by, event):
    get_redis().rpush(f'test/events/{Config.get("device_id")}/{by}', json.dumps(event))


@when(CustomEvent, subtype='user_event')
def on_user_event(event):
    record('python', event.args)


@procedure('saw_user_event')
def saw_user_event(kind, username):
    record('yaml', {'kind': kind, 'username': username})
