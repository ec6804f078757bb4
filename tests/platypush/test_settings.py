"""Settings: the section ``user:`` of the node's configuration and the environment."""

import hashlib
import json
import unittest

import fleet as fleets
from fleet import Fleet, wait_for

LOG_IN = ['authenticate_user', {'username': 'x', 'password': 'y'}]


def outcome(config=None, env=None, calls=(LOG_IN,)):
    """What calls give on real Platypush with these settings, and its log."""
    done = fleets.in_process(
        'call',
        json.dumps(list(calls)),
        config={'user': config or {}, 'backend.redis': {'queue': 'platypush/backend/redis/own'}},
        env=env,
    )
    return done['told'], done['log']


class BadSettings(unittest.TestCase):
    def test_they_are_said_in_the_log_and_in_each_answer_and_nothing_is_done(self):
        for config, complaint in [
            ({'timeout': 'soon'}, 'timeout must be a number of seconds from 0.1 to 55'),
            ({'timeout': 56}, 'timeout must be a number of seconds from 0.1 to 55'),
            ({'timeout': 'nan'}, 'timeout must be a number of seconds from 0.1 to 55'),
            ({'retry_after': -1}, 'retry_after must be a number of seconds from 0 to 55'),
            ({'queu': 'x'}, 'there is no setting queu'),
            ({'forward': 'perhaps'}, 'forward must be true or false'),
            ({'redis': 5}, 'redis must be a URL or a mapping'),
            ({'redis': {'hosst': 'x'}}, "redis: Redis.__init__() got an unexpected keyword"),
            ({'redis': 'http://x'}, 'redis is no URL such as'),
            ({'redis': 'redis://:pass#word@host'}, 'redis is no URL such as'),
            ({'queue': 'platypush/backend/redis/own'}, 'queue must not be that of backend.redis'),
        ]:
            with self.subTest(config):
                told, log = outcome(config, calls=(LOG_IN, LOG_IN))
                for output, (error,), _ in told:
                    self.assertIsNone(output)
                    self.assertIn('The settings of the user daemon cannot be used', error)
                    self.assertIn(complaint, error)
                    self.assertIn('Nothing was done', error)
                self.assertEqual(log.count(complaint), 1, log)
                self.assertFalse('pass#' in log or "'pass'" in log, log)

    def test_the_environment_can_be_wrong_too(self):
        ((_, (error,), _),), _ = outcome(env={'PLATYPUSH_USERD_TIMEOUT': 'never'})
        self.assertIn('timeout must be a number', error)

    def test_variables_of_the_daemon_itself_are_none_of_ours(self):
        ((_, (error,), took),), _ = outcome(
            {'redis': {'host': fleets.HOST, 'port': 1}}, {'PLATYPUSH_USERD_WORKDIR': '/x'}
        )
        self.assertIn('nothing was done', error)
        # There is no Redis, and no repeating of what failed.
        self.assertLess(took, 0.5)


class SwitchedOff(unittest.TestCase):
    def test_then_the_node_serves_itself(self):
        for config, env in [
            ({'forward': False}, {}),
            ({}, {'PLATYPUSH_USERD_FORWARD': 'false'}),
        ]:
            with self.subTest(config=config, env=env):
                calls = (['get_users', {}], ['get_sessions', {'session_token': 'x'}])
                (users, (_, (error,), _)), log = outcome(config, env, calls)
                self.assertEqual(users[:2], [[], []])
                self.assertIn('forward is false', error)
                self.assertIn('user.* actions are served by this node itself', log)


class Server(unittest.TestCase):
    """Which queue, which Redis, which token."""

    @classmethod
    def setUpClass(cls):
        cls.fleet = Fleet()
        cls.addClassCleanup(cls.fleet.close)
        token_hash = hashlib.sha256(b'the token').hexdigest()
        cls.fleet.daemon(QUEUE='another/queue', REPLY_PREFIX='replies/', TOKEN_HASH=token_hash)
        cls.section = {
            'queue': 'another/queue',
            'reply_prefix': 'replies/',
            'token': 'the token',
            'redis': {'host': fleets.HOST, 'port': cls.fleet.server.port},
        }

    def test_all_of_the_section(self):
        (told,), log = outcome(self.section)
        self.assertEqual(told[:2], [False, []])
        self.assertNotIn('the token', log)

    def test_all_of_the_environment_which_wins(self):
        (told,), _ = outcome(
            {**self.section, 'queue': 'x', 'token': 'wrong', 'redis': 'redis://nowhere'},
            {
                'PLATYPUSH_USERD_QUEUE': 'another/queue',
                'PLATYPUSH_USERD_TOKEN': 'the token',
                'PLATYPUSH_USERD_REDIS__URL': self.fleet.server.url,
            },
        )
        self.assertEqual(told[:2], [False, []])

    def test_what_is_empty_or_null_is_not_set(self):
        empty = ('QUEUE', 'TOKEN', 'TIMEOUT', 'REDIS__URL', 'FORWARD')
        (told,), _ = outcome(
            {**self.section, 'timeout': None, 'retry_after': None},
            {f'PLATYPUSH_USERD_{name}': '' for name in empty},
        )
        self.assertEqual(told[:2], [False, []])

    def test_without_a_section_the_node_says_at_its_start_where_they_go(self):
        env = {'PLATYPUSH_USERD_QUEUE': 'another/queue', 'PLATYPUSH_USERD_TOKEN': 'the token'}
        node = self.fleet.node('node-s', env=env)
        where = 'queue another/queue on Redis'
        wait_for(lambda: where in node.log(), 'a line in the log')
        self.assertIn('user.* actions are served by platypush-userd', node.log())

    def test_a_wrong_token(self):
        (told,), _ = outcome({**self.section, 'token': 'wrong'})
        self.assertEqual(told[:2], [None, ['Unauthorized']])


if __name__ == '__main__':
    unittest.main()
