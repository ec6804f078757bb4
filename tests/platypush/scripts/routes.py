"""Script of the test nodes: calls user.* actions over every route that Python on a node has."""

import ast
import datetime
import json

from platypush import cron, get_plugin, procedure, run, when
from platypush.message.event.custom import CustomEvent
from platypush.utils import get_redis


def send_answer(answers, output, errors):
    get_redis().rpush(answers, json.dumps({'response': {'output': output, 'errors': errors}}))


def by_run(action, args):
    try:
        return run(action, **args), []
    except RuntimeError as error:
        return None, [str(error)]


def by_plugin(action, args, **how):
    response = getattr(get_plugin('user', **how), action.removeprefix('user.'))(**args)
    return response.output, response.errors


def mixed(action, args):
    """Passes the same argument by position and by name."""
    response = getattr(get_plugin('user'), 'create_user')(args['name'], 'pw', username='other')
    return response.output, response.errors


def with_date(action, args):
    """Passes a date, as PyYAML parses an unquoted one."""
    return by_run(action, {**args, 'expires_at': datetime.date(2031, 1, 1)})


def with_set(action, args):
    """Passes a value that JSON cannot express."""
    return by_plugin(action, {**args, 'password': {1, 2}})


CALLS = {
    'with_set': with_set,
    'mixed': mixed,
    'with_date': with_date,
    'when': by_run,
    'run': by_run,
    'get_plugin': by_plugin,
    'reload': lambda action, args: by_plugin(action, args, reload=True),
}


@when(CustomEvent, subtype='call')
def on_call(event):
    if event.route == 'when':
        send_answer(event.answers, *by_run(event.action, event.call_args))


@when(CustomEvent, subtype='call')
def on_other_call(event):
    if event.route != 'when':
        send_answer(event.answers, *CALLS[event.route](event.action, event.call_args))


@when(CustomEvent, subtype='secret_python')
def on_secret(event):
    args = {'username': 'nobody', 'password': 'a secret of scripts'}
    assert by_plugin('user.authenticate_user', args) == (False, [])
    assert by_plugin('user.authenticate_user', args, reload=True) == (False, [])
    send_answer(event.answers, *by_run('user.authenticate_user', args))


@cron('* * * * * *')
def each_second():
    client = get_redis()
    from platypush import Config

    while True:
        job = client.lpop(f'test/cron/{Config.get("device_id")}')
        if not job:
            return
        job = json.loads(job)
        send_answer(job['answers'], *by_run(job['action'], job['args']))


@procedure('report')
def report(answers, output, errors, **_):
    # "${output}" turns False into the text 'False'.
    if isinstance(output, str):
        output = ast.literal_eval(output)
    send_answer(answers, output, errors)
