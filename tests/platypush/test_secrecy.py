"""That no password, code or token gets into a node's log or onto /ws/monitor because of us."""

import contextlib
import threading
import time
import unittest
import uuid

import fleet as fleets
from calls import ROUTES
from fleet import wait_for


class Monitor:
    """Everything that a web client sees on /ws/monitor."""

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
        """Waits until what was said until now has come: it keeps the order."""
        deadline = time.monotonic() + fleets.PATIENCE
        while time.monotonic() < deadline:
            # Not before the node has subscribed for us does anything come.
            mark = f'mark-{uuid.uuid4().hex}'
            self.node.execute('variable.mset', {mark: 1})
            with contextlib.suppress(AssertionError):
                return wait_for(lambda: mark in self.seen, 'the monitor', patience=1)
        raise AssertionError('/ws/monitor shows nothing')


class Secrecy(unittest.TestCase):
    # What Platypush itself shows: a request over the node's own list stands in the log whole, the
    # arguments of a YAML procedure too, and an event with all it carries is shown on the monitor.
    # So these get their secret from where they are, not from the message.
    BY_THEMSELVES = {'yaml_procedure', 'yaml_hook', 'when', 'cron', 'run', 'get_plugin', 'reload'}

    @classmethod
    def setUpClass(cls):
        cls.fleet = fleets.shared()
        cls.node = cls.fleet.a
        cls.monitor = Monitor(cls.node)
        cls.addClassCleanup(cls.monitor.ws.close)

    def test_calls_leave_no_secret_in_the_log_or_on_the_monitor(self):
        # Another one than other tests send over the list.
        admin = self.fleet.direct.ok('create_session', username='admin', password='the first')
        admin = admin['session_token']
        secrets = [admin]
        for route in sorted(set(ROUTES) - self.BY_THEMSELVES - {'list'}):
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
                # Errors too: a duplicate, a wrong password, a missing and an unknown argument.
                args = {'username': name, 'password': first, 'session_token': admin}
                self.assertNotEqual(call(self.node, 'create_user', args)[1], [])
                self.node.execute('user.create_session', {'username': name, 'password': first})
                self.node.execute('user.create_session', {'password': second})
                self.node.execute('user.create_session', {'password': second, 'bogus': first})
                args = {'username': name, 'password': {second: 1}}
                self.node.execute('user.create_session', args)
                secrets += [first, second, token]
        self.nowhere(secrets)

    def test_calls_from_yaml_and_python_leave_none_either(self):
        """The node's scripts have a secret of their own there: see scripts/routes.py."""
        for route in ('secret_yaml', 'secret_python'):
            with self.subTest(route):
                answers = f'test/{uuid.uuid4()}'
                self.node.fire(route, answers=answers)
                popped = self.node.redis.blpop(answers, fleets.PATIENCE)
                self.assertEqual(fleets.result(popped), (False, []))
        self.nowhere(['a secret of scripts'])

    def test_what_the_nodes_own_list_shows_is_platypushs_and_no_more(self):
        secret = f'secret {uuid.uuid4().hex}'
        args = {'username': 'nobody', 'password': secret}
        self.assertEqual(self.node.over_list('user.authenticate_user', args), (False, []))
        self.monitor.mark()
        self.assertNotIn(secret, self.monitor.seen)
        lines = [line for line in self.node.log().splitlines() if secret in line]
        self.assertEqual(len(lines), 1)
        self.assertIn('platypush:backend:redis|Received message', lines[0])

    def nowhere(self, secrets):
        self.monitor.mark()
        log = self.node.log()
        for secret in secrets:
            # Without the text in the message: it is long.
            self.assertFalse(secret in self.monitor.seen, f'{secret} on /ws/monitor')
            self.assertFalse(secret in log, f'{secret} in the log')


if __name__ == '__main__':
    unittest.main()
