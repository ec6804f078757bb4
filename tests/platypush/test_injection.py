"""
Tests that no text which Platypush would evaluate reaches the context of a hook or procedure.

A node evaluates ${…} in every text of such a context as Python, and decodes a text that is JSON.
Here the names of users and API tokens, and all texts of clients, are commands that create a file.
The node runs the hooks of the docs, the examples, and more deeply nested hooks. Each hook records
that it ran, and the file must not exist afterwards.
"""

import functools
import itertools
import json
import re
import shutil
import subprocess
import unittest
import uuid

import fleet as fleets
from fleet import HERE, ROOT, Fleet, daemon_binary, totp, wait_for

EVENT = 'platypush.message.event.custom.CustomEvent'
COMMAND = '{__import__("os").system("touch $INJECTED")}'
EVALUATED = '$' + COMMAND
# JSON with an escape, which a node decodes to $.
DECODED = json.dumps(EVALUATED).replace('$', '\\u0024', 1)
# Texts of an attacker. The first two are also user names in tests/data/store-hostile.
HOSTILE = [
    EVALUATED,
    DECODED,
    json.dumps(DECODED),
    json.dumps([EVALUATED]).replace('$', '\\u0024', 1),
    '$' + EVALUATED,
    '${' + EVALUATED + '}',
]
PASSWORD = 'pw'
ADMIN = {'executing_user': 'admin', 'executing_user_password': PASSWORD}
NODE = 'attic'


def documented_blocks(language):
    """Returns the code blocks of a language in the docs."""
    return re.findall(rf'```{language}\n(.*?)```', fleets.documentation(), re.DOTALL)


def event_kinds():
    """Returns the kinds of events, from the source of the daemon."""
    source = (ROOT / 'src' / 'events' / 'mod.rs').read_text()
    return dict(re.findall(r'^    (\w+) = "(\w+)" \{', source, re.MULTILINE)).values()


def actions():
    """Returns the names of all actions, from the daemon's help."""
    help_text = subprocess.run(
        [daemon_binary(), 'call', '--help'], capture_output=True, text=True, check=True
    ).stdout
    listed = help_text.split('Actions and their arguments', 1)[1]
    return set(re.findall(r'^  ([a-z_]+)\b', listed, re.MULTILINE))


def config(admin_token):
    """Returns the documented hook, the examples, and nested hooks that pass all texts on."""
    import yaml

    blocks = documented_blocks('yaml')
    documented = next(block for block in blocks if 'event.hook.UserDeleted' in block)
    fields = ['kind', 'username', 'by', 'requested_by', 'name_hash', 'reason', 'session_id',
              'token_name', 'happened_at']  # fmt: skip

    def deeper(text):
        return {'action': 'procedure.deeper', 'args': {'text': text}}

    field = "event.args.get('{}')"
    each = [deeper(f'${{{field.format(name)}}}') for name in fields]
    return {
        **yaml.safe_load(documented),
        'include': str(ROOT / 'examples' / 'manage_users.yaml'),
        'constants': {'user_admin_token': admin_token},
        'event.hook.hand_on': {
            'if': {'type': EVENT, 'subtype': 'user_event'},
            'then': [
                {'action': 'procedure.saw_user_event',
                 'args': {'kind': '${kind}', 'username': '${username}'}},
                *each,
                {'if ${True}': [*each, deeper('${kind}: ${username} by ${by}')]},
                {'action': 'procedure.handed_on', 'args': {'kind': '${kind}'}},
            ],
        },
        # Evaluates the text when it is called, and again in the inner block.
        'procedure.sync.deeper(text)': [
            {'if ${True}': [{'action': 'procedure.seen_text', 'args': {'text': '${text}'}}]},
        ],
        # Reads the call from Redis, so that the node does not evaluate the arguments.
        'procedure.sync.call(key)': [
            {'action': 'procedure.call_from_redis', 'args': {'key': '${key}'}},
            {'set': {'the_output': '${output}', 'the_errors': '${errors}'}},
            {'if ${True}': [deeper('${the_output}'), deeper('${the_errors}')]},
            {'action': 'procedure.texts_of', 'args': {'value': ['${the_output}', '${the_errors}']}},
            {'for text in ${output}': [deeper('${text}')]},
            {'action': 'procedure.report_call', 'args': {'key': '${key}'}},
        ],
    }  # fmt: skip


@functools.cache
def hostile_fleet():
    """Returns a node with all these hooks, and a daemon on a database with hostile names."""
    fleet = Fleet()
    workdir = fleet.folder / 'daemon.workdir'
    shutil.copytree(ROOT / 'tests' / 'data' / 'store-hostile', workdir)
    workdir.chmod(0o700)
    (workdir / 'secret.keys').chmod(0o600)
    publish = [f'platypush/bus/{NODE}', f'list:platypush/backend/redis/{NODE}']
    fleet.daemon(config={'events': {'publish': publish}}, THROTTLE__FAILURES='100')
    documented = fleet.folder / 'documented_hook.py'
    hook = next(block for block in documented_blocks('python') if 'def on_login_failed' in block)
    documented.write_text(hook)
    scripts = [documented, HERE / 'scripts' / 'events.py', HERE / 'scripts' / 'injection.py']
    scripts += (ROOT / 'examples').glob('*.py')
    fleet.marker = fleet.folder / 'injected'
    admin = fleet.direct.ok('create_session', username='admin', password=PASSWORD)
    fleet.attic = fleet.node(
        NODE,
        scripts=scripts,
        config=config(admin['session_token']),
        env={'INJECTED': str(fleet.marker), 'PYTHONUNBUFFERED': '1'},
        # Runs the nightly job each second.
        change={'manage_users.py': ("'0 3 * * *'", "'* * * * * *'")},
    )
    fleet.attic.wait_until_ready()
    probe(fleet)
    return fleet


def probe(fleet):
    """Checks that the node evaluates such a text if it gets one, so that the tests are valid."""
    redis = fleet.server.client
    for number, hostile in enumerate([EVALUATED, DECODED], 1):
        fleet.attic.fire('user_event', kind='probe', username=hostile)
        wait_for(fleet.marker.exists, f'the node to run {hostile}')
        # Waits until all hooks of the event have ended.
        for key in ('handed_on', f'events/{NODE}/yaml', f'events/{NODE}/python'):
            wait_for(lambda key=key: redis.llen(f'test/{key}') == number, key)
        fleet.marker.unlink()


def tearDownModule():
    if hostile_fleet.cache_info().currsize:
        hostile_fleet().close()


class Injection(unittest.TestCase):
    def setUp(self):
        self.fleet = hostile_fleet()
        self.redis = self.fleet.server.client

    def assert_nothing_ran(self):
        self.assertFalse(self.fleet.marker.exists(), 'the node has evaluated text of a client')

    def push(self, action, args, **envelope):
        """Sends a request to the daemon directly, as an attacker does."""
        message = {'action': action, 'args': args, 'id': str(uuid.uuid4()), **envelope}
        self.redis.rpush(fleets.QUEUE, json.dumps(message))
        return fleets.result(
            self.redis.blpop(f'platypush/responses/{message["id"]}', fleets.TIMEOUT)
        )

    def in_procedure(self, action, args):
        """Calls an action from a procedure of the node, which passes on the result."""
        key = f'test/injection/{uuid.uuid4()}'
        self.redis.set(key, json.dumps({'action': action, 'args': args}))
        self.fleet.attic.execute('procedure.call', {'key': key})
        popped = self.redis.blpop(f'{key}/answer', fleets.TIMEOUT)
        self.assertIsNotNone(popped, f'{action} {args}: the procedure did not end')
        answer = json.loads(popped[1])
        return answer['output'], answer['errors']

    def seen(self, by):
        return [json.loads(e) for e in self.redis.lrange(f'test/events/{NODE}/{by}', 0, -1)]

    def call_every_action(self, name, ok):
        """Calls every action, as a user of that name and on that user."""
        credentials = {'username': name, 'password': PASSWORD}
        by = {'executing_user': name, 'executing_user_password': PASSWORD}
        new = f'user-{uuid.uuid4().hex[:8]}'
        ok('create_user', username=new, password=PASSWORD, **by)
        ok('delete_user', username=new, **by)
        ok('authenticate_user', **credentials, return_details=True)
        session = ok('create_session', **credentials)['session_token']
        ok('get_users')
        ok('authenticate_session', session_token=session)
        ok('get_user_by_session', session_token=session)
        ok('get_sessions', session_token=session)
        for token in ok('get_api_tokens', session_token=session):
            ok('delete_api_token', session_token=session, id=token['id'])
        token = ok('create_api_token', **credentials)['token']
        ok('authenticate_api_token', token=token)
        secret = ok('enable_otp', **credentials, dry_run=True)['otp_secret']
        enabled = ok('enable_otp', **credentials, otp_secret=secret, code=totp(secret))
        codes = enabled['backup_codes']
        codes = ok('refresh_backup_codes', **credentials, code=codes[0])
        ok('disable_otp', **credentials, code=codes[0])
        for _ in range(3):
            wrong = {**credentials, 'password': 'wrong'}
            output, errors = self.push('user.authenticate_user', wrong, origin=EVALUATED)
            self.assertEqual((output, errors), (False, []))
        ok('delete_session', session_token=session)
        ok('delete_sessions', **credentials)
        ok('update_password', username=name, old_password=PASSWORD, new_password='pw2')
        ok('delete_user', username=name, **ADMIN)

    def test_outputs_and_events_of_hostile_names(self):
        for name in (EVALUATED, DECODED):
            done = set()

            def ok(action, **args):
                done.add(action)
                output, errors = self.in_procedure(action, args)
                self.assertEqual(errors, [], action)
                return output

            self.call_every_action(name, ok)
            self.assertEqual(done, actions(), 'every action has a case here')
        kinds = set(event_kinds())
        for by in ('yaml', 'python'):
            wait_for(
                lambda by=by: {e['kind'] for e in self.seen(by)} >= kinds, f'all kinds, {by}'
            )
        # This record is the last step of the most deeply nested hook.
        wait_for(
            lambda: {kind.decode() for kind in self.redis.lrange('test/handed_on', 0, -1)} >= kinds,
            'the hook that passes all texts on',
        )
        log = self.fleet.attic.log
        # Log lines of the hooks in the docs and in the examples.
        wait_for(lambda: '3 failed logins as ' in log(), 'the Python hook of the docs')
        wait_for(lambda: ' was deleted by ' in log(), 'the YAML hook of the docs')
        wait_for(lambda: 'failed logins in a row under the name' in log(), 'the YAML example')
        wait_for(lambda: 'Welcome, ' in log(), 'the Python example')
        wait_for(lambda: 'New user: $ {' in log(), 'the cron job of the examples')
        self.assert_nothing_ran()

    def test_errors_of_every_action(self):
        known = 'username', 'password', 'session_token', 'token', 'id', 'expires_at', 'code'
        for action, hostile in itertools.product(sorted(actions()), HOSTILE):
            cases = [{hostile: hostile}, {**dict.fromkeys(known, hostile)}]
            if action in ('create_session', 'create_api_token'):
                date = {'username': 'admin', 'password': PASSWORD, 'expires_at': hostile}
                cases.append(date)
            if action in ('create_user', 'delete_user'):
                cases.append({'username': hostile, 'password': PASSWORD, **ADMIN})
            if action == 'create_api_token':
                cases.append({'username': 'admin', 'password': PASSWORD, 'name': hostile})
            for args in cases:
                if action == 'delete_user' and args.get('username') in (EVALUATED, DECODED):
                    continue
                _, errors = self.in_procedure(action, args)
                self.assertIsInstance(errors, list)
        self.assert_nothing_ran()

    def test_hostile_text_in_the_envelope(self):
        failed = len([e for e in self.seen('python') if e['kind'] == 'login_failed'])
        for hostile in HOSTILE:
            envelope = {'origin': hostile, 'target': hostile, 'token': hostile}
            for action in (hostile, f'user.{hostile}', f'{hostile}.{hostile}'):
                self.push(action, {hostile: hostile}, **envelope)
            for name in ('admin', hostile):
                args = {'username': name, 'password': hostile}
                self.push('user.create_session', args, **envelope)

        def all_reported():
            events = [e for e in self.seen('python') if e['kind'] == 'login_failed']
            # Each event arrives twice: over the bus and over the list.
            return len(events) >= failed + 4 * len(HOSTILE)

        wait_for(all_reported, 'all failed logins')
        self.assert_nothing_ran()

    @classmethod
    def tearDownClass(cls):
        # A hook may still have run when a test checked the file; now the node has ended.
        fleet = hostile_fleet()
        fleet.attic.stop()
        if fleet.marker.exists():
            raise AssertionError('the node has evaluated text of a client')


class Sources(unittest.TestCase):
    def test_kinds_and_actions_are_found(self):
        self.assertGreater(len(event_kinds()), 5)
        self.assertGreater(len(actions()), 5)


if __name__ == '__main__':
    unittest.main()
