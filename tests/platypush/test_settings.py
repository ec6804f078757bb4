"""Tests the settings: the section ``user:`` of the node's configuration and the environment."""

import hashlib
import json
import unittest

import fleet as fleets
from fleet import Fleet, wait_for

LOG_IN = ['authenticate_user', {'username': 'x', 'password': 'y'}]


def run_calls(config=None, env=None, calls=(LOG_IN,)):
    """Runs calls on real Platypush with these settings. Returns their results and the log."""
    done = fleets.in_process(
        'call',
        json.dumps(list(calls)),
        config={'user': config or {}, 'backend.redis': {'queue': 'platypush/backend/redis/own'}},
        env=env,
    )
    return done['results'], done['log']


class BadSettings(unittest.TestCase):
    def test_each_call_and_the_log_name_the_error_and_nothing_is_sent(self):
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
                results, log = run_calls(config, calls=(LOG_IN, LOG_IN))
                for output, (error,), _ in results:
                    self.assertIsNone(output)
                    self.assertIn('The settings of the user daemon cannot be used', error)
                    self.assertIn(complaint, error)
                    self.assertIn('Nothing was done', error)
                self.assertEqual(log.count(complaint), 1, log)
                self.assertFalse('pass#' in log or "'pass'" in log, log)

    def test_an_invalid_variable_of_the_environment(self):
        ((_, (error,), _),), _ = run_calls(env={'PLATYPUSH_USERD_TIMEOUT': 'never'})
        self.assertIn('timeout must be a number', error)

    def test_variables_of_the_daemon_are_ignored(self):
        ((_, (error,), took),), _ = run_calls(
            {'redis': {'host': fleets.HOST, 'port': 1}}, {'PLATYPUSH_USERD_WORKDIR': '/x'}
        )
        self.assertIn('nothing was done', error)
        # Nothing listens on that port, and redis-py must not retry.
        self.assertLess(took, 0.5)


class SwitchedOff(unittest.TestCase):
    def test_the_node_uses_its_own_plugin(self):
        for config, env in [
            ({'forward': False}, {}),
            ({}, {'PLATYPUSH_USERD_FORWARD': 'false'}),
        ]:
            with self.subTest(config=config, env=env):
                calls = (['get_users', {}], ['get_sessions', {'session_token': 'x'}])
                (users, (_, (error,), _)), log = run_calls(config, env, calls)
                self.assertEqual(users[:2], [[], []])
                self.assertIn('forward is false', error)
                self.assertIn('user.* actions are served by this node itself', log)


class Server(unittest.TestCase):
    """Settings that name the queue, the Redis and the token."""

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

    def test_all_settings_of_the_section(self):
        (result,), log = run_calls(self.section)
        self.assertEqual(result[:2], [False, []])
        self.assertNotIn('the token', log)

    def test_the_environment_wins_over_the_section(self):
        (result,), _ = run_calls(
            {**self.section, 'queue': 'x', 'token': 'wrong', 'redis': 'redis://nowhere'},
            {
                'PLATYPUSH_USERD_QUEUE': 'another/queue',
                'PLATYPUSH_USERD_TOKEN': 'the token',
                'PLATYPUSH_USERD_REDIS__URL': self.fleet.server.url,
            },
        )
        self.assertEqual(result[:2], [False, []])

    def test_an_empty_or_null_setting_has_its_default(self):
        empty = ('QUEUE', 'TOKEN', 'TIMEOUT', 'REDIS__URL', 'FORWARD')
        (result,), _ = run_calls(
            {**self.section, 'timeout': None, 'retry_after': None},
            {f'PLATYPUSH_USERD_{name}': '' for name in empty},
        )
        self.assertEqual(result[:2], [False, []])

    def test_without_a_section_the_node_logs_the_queue_at_start(self):
        env = {'PLATYPUSH_USERD_QUEUE': 'another/queue', 'PLATYPUSH_USERD_TOKEN': 'the token'}
        node = self.fleet.node('node-s', env=env)
        where = 'queue another/queue on Redis'
        wait_for(lambda: where in node.log(), 'a line in the log')
        self.assertIn('user.* actions are served by platypush-userd', node.log())

    def test_a_wrong_token(self):
        (result,), _ = run_calls({**self.section, 'token': 'wrong'})
        self.assertEqual(result[:2], [None, ['Unauthorized']])


if __name__ == '__main__':
    unittest.main()
