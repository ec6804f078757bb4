"""Tests the files in examples/ on real Platypush nodes."""

import unittest
import uuid

import fleet as fleets
from fleet import wait_for
from test_events import seen


class Examples(unittest.TestCase):
    def setUp(self):
        self.fleet = fleets.shared()
        self.name = f'user-{uuid.uuid4().hex[:8]}'

    def names(self):
        return {user['username'] for user in self.fleet.direct.ok('get_users')}

    def test_the_yaml_procedure_removes_a_user_everywhere(self):
        self.fleet.direct.ok(
            'create_user',
            username=self.name,
            password='pw',
            session_token=self.fleet.admin['session_token'],
        )
        remove = 'procedure.remove_user', {'username': self.name}
        self.assertEqual(self.fleet.a.execute(*remove), (True, []))
        self.assertNotIn(self.name, self.names())
        self.assertEqual(self.fleet.b.execute(*remove), (None, [f'No such user: {self.name}']))

    def test_the_python_procedure_adds_a_user_without_logging_the_password(self):
        password = f'secret {uuid.uuid4().hex}'
        args = {'username': self.name, 'password': password}
        user, errors = self.fleet.a.execute('procedure.add_user', args)
        self.assertEqual(errors, [])
        self.assertEqual(user['username'], self.name)
        self.assertIs(self.fleet.direct.ok('authenticate_user', **args), True)
        again = self.fleet.b.execute('procedure.add_user', args)
        self.assertEqual(again, (None, [f'The user {self.name} already exists']))
        for secret in (password, self.fleet.examples_session['session_token']):
            self.assertFalse(secret in self.fleet.a.log())

    def test_the_yaml_hook_warns_from_the_third_failed_login_on(self):
        for node, channel in ((self.fleet.a, 'bus'), (self.fleet.b, 'list')):
            with self.subTest(channel):
                warnings = [
                    f'{n} failed logins in a row under the name {self.name}' for n in (2, 3)
                ]
                args = {'kind': 'login_failed', 'username': self.name}
                node.fire('user_event', channel, **args, attempts=2)
                wait_for(lambda: seen(node, 'yaml', self.name), 'other hooks of the event')
                node.fire('user_event', channel, **args, attempts=3)
                wait_for(lambda: warnings[1] in node.log(), warnings[1])
                self.assertFalse(warnings[0] in node.log(), warnings[0])

    def test_the_python_hook_remembers_the_newest_user(self):
        for node, channel in ((self.fleet.a, 'bus'), (self.fleet.b, 'list')):
            with self.subTest(channel):
                node.fire('user_event', channel, kind='user_created', username=self.name)

                def newest():
                    return node.execute('variable.get', {'name': 'newest_user'})[0]

                wait_for(lambda: newest() == {'newest_user': self.name}, 'the variable')
                wait_for(lambda: f'Welcome, {self.name}' in node.log(), 'the welcome in the log')

    def test_the_cron_job_logs_new_and_deleted_users(self):
        # On node B the job runs each second.
        node = self.fleet.b
        args = {'username': self.name, 'session_token': self.fleet.admin['session_token']}
        self.fleet.direct.ok('create_user', password='pw', **args)
        wait_for(lambda: f'New user: {self.name}' in node.log(), 'the new user in the log')
        self.fleet.direct.ok('delete_user', **args)
        wait_for(lambda: f'User gone: {self.name}' in node.log(), 'the deleted user in the log')
        self.assertFalse('user_admin_token does not work' in node.log())

    def test_the_cron_job_warns_of_further_sessions_of_its_user(self):
        self.fleet.direct.ok('create_session', username='admin', password='the first')
        wait_for(
            lambda: 'The user of user_admin_token has' in self.fleet.b.log(), 'a warning in the log'
        )


if __name__ == '__main__':
    unittest.main()
