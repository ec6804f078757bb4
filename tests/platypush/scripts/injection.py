"""Script of the node in test_injection.py: calls actions for the test and records the results."""

import json

from platypush import get_plugin, procedure
from platypush.utils import get_redis


@procedure('call_from_redis')
def call_from_redis(key):
    """Calls an action. Its response enters the context of the calling procedure."""
    job = json.loads(get_redis().get(key))
    response = getattr(get_plugin('user'), job['action'])(**job['args'])
    answer = {'output': response.output, 'errors': response.errors}
    get_redis().set(f'{key}/response', json.dumps(answer))
    return response


@procedure('report_call')
def report_call(key):
    get_redis().rpush(f'{key}/answer', get_redis().get(f'{key}/response'))


def texts(value):
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for item in value.items() for text in texts(list(item))]
    return [text for item in value for text in texts(item)] if isinstance(value, list) else []


@procedure('texts_of')
def texts_of(value):
    return texts(value)


@procedure('seen_text')
def seen_text(text=None):
    get_redis().incr('test/seen_texts')


@procedure('handed_on')
def handed_on(kind):
    get_redis().rpush('test/handed_on', kind)
