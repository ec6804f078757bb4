"""Tests that user events fire the hooks of nodes, over the bus and over the list."""

import json
import unittest
import uuid

import fleet as fleets
from fleet import totp, wait_for

# The kinds of events, in the order in which EventsOfTheDaemon causes them.
KINDS = [
    'user_created',
    'session_created',
    'session_deleted',
    'login_failed',
    'api_token_created',
    'api_token_deleted',
    'otp_enabled',
    'backup_codes_refreshed',
    'otp_disabled',
    'password_updated',
    'user_deleted',
]


def seen(node, by, username):
    """Returns the events of a user that a node's hooks have recorded: see scripts/events.py."""
    recorded = node.redis.lrange(f'test/events/{node.name}/{by}', 0, -1)
    return [event for event in map(json.loads, recorded) if event['username'] == username]


class EventsOfTheTest(unittest.TestCase):
    """Events in the form of the daemon, sent by the test."""

    def test_every_kind_fires_yaml_and_python_hooks(self):
        fleet = fleets.shared()
        for node, channel in ((fleet.a, 'bus'), (fleet.b, 'list')):
            name = f'user-{uuid.uuid4().hex[:8]}'
            for kind in KINDS:
                args = {'kind': kind, 'username': name, 'user_id': 7, 'attempts': 1}
                node.fire('user_event', channel, **args)
            for by in ('yaml', 'python'):
                with self.subTest(channel=channel, by=by):
                    wait_for(lambda: len(seen(node, by, name)) == len(KINDS), 'the hooks')
                    kinds = {event['kind'] for event in seen(node, by, name)}
                    self.assertEqual(kinds, set(KINDS))
            for event in seen(node, 'python', name):
                self.assertEqual(event['subtype'], 'user_event')
                self.assertEqual(event['user_id'], 7)


class EventsOfTheDaemon(unittest.TestCase):
    """Events that the daemon sends, for every mutation of a user."""

    def test_every_kind_reaches_both_nodes(self):
        fleet = fleets.shared()
        name = f'user-{uuid.uuid4().hex[:8]}'
        admin = fleet.admin['session_token']
        credentials = {'username': name, 'password': 'pw'}

        def ok(action, **args):
            output, errors = fleet.a.execute(f'user.{action}', args)
            self.assertEqual(errors, [], action)
            return output

        user = ok('create_user', **credentials, session_token=admin)
        token = ok('create_session', **credentials)['session_token']
        ok('delete_session', session_token=token)
        self.assertIs(ok('authenticate_user', username=name, password='wrong'), False)
        api_token = ok('create_api_token', **credentials, name='a token')
        session = ok('create_session', **credentials)['session_token']
        ok('delete_api_token', session_token=session, id=api_token['id'])
        secret = ok('enable_otp', **credentials, dry_run=True)['otp_secret']
        enabled = ok('enable_otp', **credentials, otp_secret=secret, code=totp(secret))
        codes = enabled['backup_codes']
        codes = ok('refresh_backup_codes', **credentials, code=codes[0])
        ok('disable_otp', **credentials, code=codes[0])
        ok('update_password', username=name, old_password='pw', new_password='pw2')
        ok('delete_user', username=name, session_token=admin)

        for node in (fleet.a, fleet.b):
            for by in ('yaml', 'python'):
                with self.subTest(node=node.name, by=by):

                    def missing():
                        return set(KINDS) - {event['kind'] for event in seen(node, by, name)}

                    wait_for(lambda: not missing(), 'all kinds of events')
            events = {event['kind']: event for event in seen(node, 'python', name)}
            self.assertEqual(set(events), set(KINDS))
            self.assertEqual(events['user_created']['user_id'], user['user_id'])
            self.assertEqual(events['login_failed']['attempts'], 1)
            for secret in ('pw', 'pw2', 'wrong', token, session, api_token['token'], *codes):
                self.assertNotIn(json.dumps(secret), json.dumps(list(events.values())))


if __name__ == '__main__':
    unittest.main()
