"""Tests that the forwarder leaks no password, code or token to a node's log or /ws/monitor."""

import contextlib
import threading
import time
import unittest
import uuid

import fleet as fleets
from calls import ROUTES
from fleet import wait_for


class Monitor:
    """Records everything that a web client sees on /ws/monitor."""

    def __init__(self, node):
        self.node = node
        self.seen = ''
        self.ws = node.socket('/ws/monitor')
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()
        self.mark()

    def listen(self):
        with contextlib.suppress(Exception):
            while True:
                self.seen += self.ws.recv() + '\n'

    def mark(self):
        """Waits until all earlier messages have arrived. The monitor keeps the order."""
        deadline = time.monotonic() + fleets.TIMEOUT
        while time.monotonic() < deadline:
            # Repeated, because the node drops messages until it has subscribed this client.
            mark = f'mark-{uuid.uuid4().hex}'
            self.node.execute('variable.mset', {mark: 1})
            with contextlib.suppress(AssertionError):
                return wait_for(lambda: mark in self.seen, 'the monitor', timeout=1)
        raise AssertionError('/ws/monitor shows nothing')


class Secrecy(unittest.TestCase):
    # Platypush itself logs each request over the node's own list and the arguments of YAML
    # procedures, and shows events with all arguments on the monitor. So these routes get their
    # secret from the node's own scripts, not from the message.
    WITH_OWN_SECRET = {'yaml_procedure', 'yaml_hook', 'when', 'cron', 'run', 'get_plugin', 'reload'}

    @classmethod
    def setUpClass(cls):
        cls.fleet = fleets.shared()
        cls.node = cls.fleet.a
        cls.monitor = Monitor(cls.node)
        cls.addClassCleanup(cls.monitor.ws.close)

    def test_calls_leave_no_secret_in_the_log_or_on_the_monitor(self):
        # A session of its own: other tests send theirs over the list, which Platypush logs.
        admin = self.fleet.direct.ok('create_session', username='admin', password='the first')
        admin = admin['session_token']
        secrets = [admin]
        for route in sorted(set(ROUTES) - self.WITH_OWN_SECRET - {'list'}):
            with self.subTest(route):
                name = f'{route}-{uuid.uuid4().hex[:8]}'
                first, second = (f'secret {uuid.uuid4().hex}' for _ in range(2))
                call = ROUTES[route]
                args = {'username': name, 'password': first, 'session_token': admin}
                self.assertEqual(call(self.node, 'create_user', args)[1], [])
                args = {'username': name, 'old_password': first, 'new_password': second}
                self.assertEqual(call(self.node, 'update_password', args), (True, []))
                args = {'username': name, 'password': second}
                session, errors = call(self.node, 'create_session', args)
                self.assertEqual(errors, [])
                token = session['session_token']
                call(self.node, 'get_user_by_session', {'session_token': token})
                # Error cases: a duplicate, a wrong password, a missing and an unknown argument.
                args = {'username': name, 'password': first, 'session_token': admin}
                self.assertNotEqual(call(self.node, 'create_user', args)[1], [])
                self.node.execute('user.create_session', {'username': name, 'password': first})
                self.node.execute('user.create_session', {'password': second})
                self.node.execute('user.create_session', {'password': second, 'bogus': first})
                args = {'username': name, 'password': {second: 1}}
                self.node.execute('user.create_session', args)
                secrets += [first, second, token]
        self.assert_not_leaked(secrets)

    def test_calls_from_yaml_and_python_leave_no_secret(self):
        """The secret is in the configuration and in scripts/routes.py."""
        for route in ('secret_yaml', 'secret_python'):
            with self.subTest(route):
                answers = f'test/{uuid.uuid4()}'
                self.node.fire(route, answers=answers)
                popped = self.node.redis.blpop(answers, fleets.TIMEOUT)
                self.assertEqual(fleets.result(popped), (False, []))
        self.assert_not_leaked(['a secret of scripts'])

    def test_a_call_over_the_nodes_list_is_only_logged_by_platypush(self):
        secret = f'secret {uuid.uuid4().hex}'
        args = {'username': 'nobody', 'password': secret}
        self.assertEqual(self.node.over_list('user.authenticate_user', args), (False, []))
        self.monitor.mark()
        self.assertNotIn(secret, self.monitor.seen)
        lines = [line for line in self.node.log().splitlines() if secret in line]
        self.assertEqual(len(lines), 1)
        self.assertIn('platypush:backend:redis|Received message', lines[0])

    def assert_not_leaked(self, secrets):
        self.monitor.mark()
        log = self.node.log()
        for secret in secrets:
            # assertFalse, because assertNotIn would print the whole log.
            self.assertFalse(secret in self.monitor.seen, f'{secret} on /ws/monitor')
            self.assertFalse(secret in log, f'{secret} in the log')


if __name__ == '__main__':
    unittest.main()
