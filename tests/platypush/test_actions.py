"""Tests every action on every route of a real node: its result, and its effect in the daemon."""

import ast
import json
import re
import unittest
import uuid

import fleet as fleets
from calls import ARGUMENT_SETS, POSITIONS, ROUTES
from fleet import in_threads

USER_KEYS = {'user_id', 'username', 'created_at'}


class Case:
    """Test of one action over one route of node A, with its own users."""

    def __init__(self, test, route):
        self.test = test
        self.fleet = fleets.shared()
        self.route = ROUTES[route]
        self.name = f'{route}-{uuid.uuid4().hex[:8]}'
        self.token = self.fleet.admin['session_token']

    def call(self, action, **args):
        return self.route(self.fleet.a, action, args)

    def assert_output(self, expected, action, **args):
        self.test.assertEqual(self.call(action, **args), (expected, []))

    def assert_error(self, error, action, **args):
        self.test.assertEqual(self.call(action, **args), (None, [error]))

    def on_b(self, action, **args):
        """Returns the output of a call on the other node."""
        output, errors = self.fleet.b.execute(f'user.{action}', args)
        self.test.assertEqual(errors, [])
        return output

    def user(self):
        user = self.fleet.direct.ok(
            'create_user', username=self.name, password='first pw', session_token=self.token
        )
        return user

    def session(self):
        self.user()
        session = self.fleet.direct.ok('create_session', username=self.name, password='first pw')
        return session['session_token']

    def create_user(self):
        args = {'username': self.name, 'password': '0123 pw', 'session_token': self.token}
        user, errors = self.call('create_user', **args)
        self.test.assertEqual(errors, [])
        self.test.assertEqual(set(user), USER_KEYS)
        self.test.assertEqual(user['username'], self.name)
        self.test.assertIn(user, self.on_b('get_users'))
        self.test.assertIs(
            self.on_b('authenticate_user', username=self.name, password='0123 pw'), True
        )
        self.assert_error(f'The user {self.name} already exists', 'create_user', **args)

    def authenticate_user(self):
        self.user()
        self.assert_output(True, 'authenticate_user', username=self.name, password='first pw')
        self.assert_output(False, 'authenticate_user', username=self.name, password='other pw')
        self.assert_output(
            [False, 'invalid_credentials'],
            'authenticate_user',
            username=self.name,
            password='other pw',
            return_details=True,
        )

    def update_password(self):
        self.user()
        change = {'username': self.name, 'old_password': 'first pw', 'new_password': 'second pw'}
        self.assert_output(True, 'update_password', **change)
        self.assert_output(False, 'update_password', **change)
        self.test.assertIs(
            self.on_b('authenticate_user', username=self.name, password='second pw'), True
        )

    def delete_user(self):
        user = self.user()
        as_admin = {'executing_user': 'admin', 'executing_user_password': 'the first'}
        self.assert_output(True, 'delete_user', username=self.name, **as_admin)
        self.test.assertNotIn(user, self.on_b('get_users'))
        error = f'No such user: {self.name}'
        self.assert_error(error, 'delete_user', username=self.name, **as_admin)

    def create_session(self):
        user = self.user()
        session, errors = self.call('create_session', username=self.name, password='first pw')
        self.test.assertEqual(errors, [])
        self.test.assertEqual(set(session), USER_KEYS | {'session_token', 'expires_at'})
        self.test.assertIsNone(session['expires_at'])
        token = session['session_token']
        self.test.assertEqual(self.on_b('authenticate_session', session_token=token), user)
        self.assert_error(
            'Invalid credentials', 'create_session', username=self.name, password='other pw'
        )
        # A number that must stay a number.
        session, _ = self.call(
            'create_session', username=self.name, password='first pw', expires_at=1924992000
        )
        self.test.assertEqual(session['expires_at'], '2031-01-01T00:00:00.000000')

    def authenticate_session(self):
        token = self.session()
        user = self.on_b('authenticate_session', session_token=token)
        self.test.assertEqual(user['username'], self.name)
        self.assert_output(user, 'authenticate_session', session_token=token)
        self.assert_error('Invalid session token', 'authenticate_session', session_token='garbage')

    def delete_session(self):
        token = self.session()
        self.assert_output(True, 'delete_session', session_token=token)
        _, errors = self.fleet.b.execute('user.authenticate_session', {'session_token': token})
        self.test.assertEqual(errors, ['Invalid session token'])
        self.assert_output(False, 'delete_session', session_token=token)

    def get_users(self):
        user = self.user()
        users, errors = self.call('get_users')
        self.test.assertEqual(errors, [])
        self.test.assertIn(user, users)
        self.test.assertEqual(users, sorted(users, key=lambda user: user['user_id']))

    def get_user_by_session(self):
        token = self.session()
        user = self.on_b('authenticate_session', session_token=token)
        self.assert_output({**user, 'has_2fa': False}, 'get_user_by_session', session_token=token)
        self.assert_error(
            'No user associated with the specified session token',
            'get_user_by_session',
            session_token='garbage',
        )


class EveryActionOnEveryRoute(unittest.TestCase):
    """One test for each pair of action and route, added below."""


def _add(action, route):
    def test(self):
        getattr(Case(self, route), action)()

    setattr(EveryActionOnEveryRoute, f'test_{action}_over_{route}', test)


for _action in POSITIONS:
    for _route in ROUTES:
        _add(_action, _route)


class Coverage(unittest.TestCase):
    def test_every_route_of_the_docs_and_every_action_of_platypush_has_cases(self):
        docs = ' '.join(fleets.documentation().split())
        listed = docs.partition('On every route: ')[2].partition('. ')[0]
        # The last route contains a comma.
        self.assertEqual(len(re.split(', (?!reload)', listed)), len(ROUTES), listed)
        source = fleets.platypush_source('plugins/user/__init__.py')
        (plugin,) = (n for n in ast.parse(source).body if isinstance(n, ast.ClassDef))
        actions = {
            method.name
            for method in plugin.body
            if isinstance(method, ast.FunctionDef)
            and any(getattr(d, 'id', '') == 'action' for d in method.decorator_list)
        }
        self.assertEqual(actions, set(POSITIONS))
        self.assertEqual(actions, set(ARGUMENT_SETS))
        for action in actions:
            for route in ROUTES:
                name = f'test_{action}_over_{route}'
                self.assertTrue(hasattr(EveryActionOnEveryRoute, name), name)


class Arguments(unittest.TestCase):
    def setUp(self):
        self.fleet = fleets.shared()
        self.name = f'user-{uuid.uuid4().hex[:8]}'
        self.token = self.fleet.admin['session_token']

    def create_user(self, password):
        return self.fleet.direct.ok(
            'create_user', username=self.name, password=password, session_token=self.token
        )

    def test_digits_decoded_as_a_number_are_sent_as_text(self):
        for route in ROUTES:
            with self.subTest(route):
                self.name = f'{int(uuid.uuid4().hex[:8], 16)}'
                user, errors = ROUTES[route](
                    self.fleet.a,
                    'create_user',
                    {'username': self.name, 'password': '123456', 'session_token': self.token},
                )
                self.assertEqual(errors, [])
                self.assertEqual(user['username'], self.name)
                output = self.fleet.direct.ok(
                    'authenticate_user', username=self.name, password='123456'
                )
                self.assertIs(output, True)

    def test_an_integer_is_sent_as_its_digits(self):
        self.create_user('123456')
        result = self.fleet.a.execute('user.authenticate_user', [self.name, 123456])
        self.assertEqual(result, (True, []))

    def test_other_values_for_text_get_an_error_that_names_the_argument(self):
        for value in ('1e5', 'true', 'null'):
            with self.subTest(value):
                args = {'username': self.name, 'password': value}
                # (A "${variable}" in YAML turns true into the text 'True'.)
                _, errors = ROUTES['execute'](self.fleet.a, 'authenticate_user', args)
                self.assertEqual(len(errors), 1)
                self.assertIn("'password' must be text, not", errors[0])

    def test_missing_unknown_and_too_many_arguments_get_the_errors_of_the_contract(self):
        a = self.fleet.a
        for args, error in [
            ({'username': 'x'}, "missing 1 required positional argument: 'password'"),
            (
                {'username': 'x', 'password': 'y', 'bogus': 1},
                "got an unexpected keyword argument 'bogus'",
            ),
            (list('12345'), 'takes from 2 to 4 positional arguments but 5 were given'),
        ]:
            with self.subTest(error):
                got = a.execute('user.authenticate_user', args)
                self.assertEqual(got, (None, [f'user.authenticate_user() {error}']))
        args = {'username': self.name, 'password': 'x', 'session_token': self.token, 'foo': 1}
        got = a.execute('user.create_user', args)
        self.assertEqual(got, (None, ["'foo' is an invalid keyword argument for User"]))

    def test_an_argument_by_position_and_by_name_is_rejected(self):
        got = self.fleet.a.through_script('mixed', 'user.create_user', {'name': self.name})
        self.assertEqual(got[1], ["user.create_user() got multiple values for argument 'username'"])

    def test_a_date_is_sent_as_iso_8601(self):
        self.create_user('pw')
        args = {'username': self.name, 'password': 'pw'}
        session, errors = self.fleet.a.through_script('with_date', 'user.create_session', args)
        self.assertEqual(errors, [])
        self.assertEqual(session['expires_at'], '2031-01-01T00:00:00.000000')

    def test_a_value_without_a_json_form_is_rejected(self):
        args = {'username': self.name}
        got = self.fleet.a.through_script('with_set', 'user.create_session', args)
        error = 'The arguments cannot be sent (one is of the type set)'
        no_effect = 'nothing was done, and it is safe to repeat'
        self.assertEqual(got, (None, [f'{error}: {no_effect}']))


class Extensions(unittest.TestCase):
    """Actions and parameters that only the daemon has, called over a node."""

    def setUp(self):
        self.fleet = fleets.shared()
        self.name = f'user-{uuid.uuid4().hex[:8]}'
        self.fleet.direct.ok(
            'create_user',
            username=self.name,
            password='pw',
            session_token=self.fleet.admin['session_token'],
        )
        self.credentials = {'username': self.name, 'password': 'pw'}

    def ok(self, action, **args):
        output, errors = self.fleet.a.execute(f'user.{action}', args)
        self.assertEqual(errors, [])
        return output

    def test_every_action_of_the_daemon_exists(self):
        actions = {a['name'] for a in fleets.in_process('describe')['actions'].values()}
        docs = fleets.documentation()
        rows = [line for line in docs.splitlines() if line.startswith('| `user.')]
        documented = {row.split('`')[1].removeprefix('user.') for row in rows}
        self.assertLessEqual(documented, actions)

    def test_enabling_and_disabling_the_second_factor(self):
        proposed = self.ok('enable_otp', **self.credentials, dry_run=True)
        secret = proposed['otp_secret']
        code = fleets.totp(secret)
        enabled = self.ok('enable_otp', **self.credentials, otp_secret=secret, code=code)
        first, second, *_ = enabled['backup_codes']
        # By position and by name, over other routes.
        codes = self.fleet.a.over_bus('user.refresh_backup_codes', [self.name, 'pw', first])
        self.assertEqual(codes[1], [])
        stale = self.fleet.a.over_list('user.disable_otp', {**self.credentials, 'code': second})
        self.assertEqual(stale, (None, ['invalid_otp_code']))
        self.assertIs(self.ok('disable_otp', **self.credentials, code=codes[0][0]), True)

    def test_update_password_with_revoke_sessions_ends_all_sessions(self):
        token = self.ok('create_session', **self.credentials)['session_token']
        changed = self.fleet.a.through_script(
            'run',
            'user.update_password',
            {
                'username': self.name,
                'old_password': 'pw',
                'new_password': 'pw2',
                'revoke_sessions': True,
            },
        )
        self.assertEqual(changed, (True, []))
        _, errors = self.fleet.b.execute('user.authenticate_session', [token])
        self.assertEqual(errors, ['Invalid session token'])

    def test_sessions(self):
        token = self.ok('create_session', **self.credentials)['session_token']
        (session,) = self.ok('get_sessions', session_token=token)
        self.assertIs(session['current'], True)
        id_ = session['session_id']
        self.assertIs(self.ok('delete_sessions', **self.credentials, session_id=id_), True)
        self.assertIs(self.ok('delete_sessions', **self.credentials, session_id=id_), False)

    def test_api_tokens(self):
        created = self.ok('create_api_token', **self.credentials, name='a token')
        user = self.ok('authenticate_api_token', token=created['token'])
        self.assertEqual(user['username'], self.name)
        session = self.ok('create_session', **self.credentials)['session_token']
        (listed,) = self.ok('get_api_tokens', session_token=session)
        self.assertEqual(listed['id'], created['id'])
        args = {'session_token': session, 'id': created['id']}
        self.assertIs(self.ok('delete_api_token', **args), True)
        self.assertIs(self.ok('delete_api_token', **args), False)


class Documentation(unittest.TestCase):
    """Signatures and documentation that Platypush derives from the forwarder's methods."""

    def test_signatures_and_docstrings_are_platypushs_own(self):
        plain = fleets.in_process('describe', forwarder=False)['actions']
        served = fleets.in_process('describe')['actions']
        self.assertEqual(set(plain), set(POSITIONS))
        for action in POSITIONS:
            with self.subTest(action):
                if action != 'update_password':
                    self.assertEqual(served[action], plain[action])
        more = served['update_password']
        self.assertEqual(
            more['signature'],
            '(self, username: str, old_password: str, new_password: str, '
            'code: Optional[str] = None, revoke_sessions: bool = False)',
        )
        for line in filter(None, plain['update_password']['doc'].splitlines()):
            self.assertIn(line.strip(), more['doc'])

    def test_the_panel_lists_all_actions_with_their_arguments(self):
        fleet = fleets.shared()
        plugins, errors = fleet.a.execute('inspect.get_all_plugins')
        self.assertEqual(errors, [])
        file = fleets.panel_file()['items']['plugins']
        # The entries of other plugins do not change.
        self.assertEqual({k: v for k, v in plugins.items() if k != 'user'},
                         {k: v for k, v in file.items() if k != 'user'})
        actions = plugins['user']['actions']
        for action, entry in file['user']['actions'].items():
            if action != 'update_password':
                self.assertEqual(actions[action], entry)
        described = fleets.in_process('describe')['actions']
        self.assertEqual(set(actions), set(described))
        for action in set(actions) - set(file['user']['actions']) | {'update_password'}:
            with self.subTest(action):
                entry = actions[action]
                self.assertTrue(entry['doc'].strip())
                self.assertTrue(entry['returns']['doc'].strip())
                self.assertEqual(list(entry['args']), described[action]['arguments'])
                for argument in entry['args'].values():
                    self.assertTrue(argument['doc'], argument)

    def test_the_log_names_the_queue_and_the_redis(self):
        fleet = fleets.shared()
        self.assertIn(
            f'user.* actions are served by platypush-userd: queue platypush/user on Redis '
            f'127.0.0.1:{fleet.server.port}/0, timeout 5 s',
            fleet.a.log(),
        )


class Loading(unittest.TestCase):
    """Platypush loads scripts more than once, and in more than one process."""

    def test_installing_twice_and_reloading_patch_only_once(self):
        result = fleets.in_process('install_again', json.dumps(list(POSITIONS)))
        self.assertEqual(result['finders'], 1)
        self.assertTrue(result['all_builtin'], result)

    def test_loading_the_script_does_not_import_the_user_plugin(self):
        self.assertEqual(fleets.in_process('loaded_modules')['modules'], [])

    def test_an_unknown_platypush_is_not_patched_at_all(self):
        self.assertTrue(fleets.in_process('unknown_platypush')['refused'])

    def test_a_plugin_imported_earlier_is_patched(self):
        result = fleets.in_process('late')
        self.assertTrue(result['before_and_after'], result)


class Threads(unittest.TestCase):
    def test_concurrent_calls_get_their_own_replies(self):
        fleet = fleets.shared()
        admin = fleet.admin['session_token']

        def work(i):
            name = f'thread-{i}-{uuid.uuid4().hex[:6]}'
            args = {'username': name, 'password': f'pw {i}', 'session_token': admin}
            user, errors = fleet.a.over_bus('user.create_user', args)
            assert not errors and user['username'] == name, (user, errors)
            session, errors = fleet.a.over_bus('user.create_session', [name, f'pw {i}'])
            assert not errors, errors
            found = [
                fleet.a.over_bus('user.authenticate_session', [session['session_token']])
                for _ in range(5)
            ]
            assert found == [(user, [])] * 5, found
            return user['user_id']

        ids = in_threads(50, work)
        self.assertEqual(len(set(ids)), 50)


if __name__ == '__main__':
    unittest.main()
