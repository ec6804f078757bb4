"""Tests calls on a node while the daemon or its Redis is stopped, frozen, slow or restarted."""

import json
import signal
import tempfile
import threading
import time
import unittest
import uuid
from pathlib import Path

import fleet as fleets
from fleet import Daemon, Direct, Fleet, RedisServer, in_threads, wait_for

TIMEOUT = 2
RETRY_AFTER = 2
# Tolerance on top of a time-out, for a busy machine.
SLACK = 2
# MAX_WAITING of user_daemon.py.
MAX_WAITING = 8
NO_EFFECT = 'nothing was done'
EFFECT_UNKNOWN = 'is not known'


def setUpModule():
    """
    Starts one node. The daemon's Redis is not the node's own, so that it can fail separately. The
    node logs in to it with exactly the rights of the docs.
    """
    global fleet, node, users
    fleet = Fleet()
    unittest.addModuleCleanup(fleet.close)
    users = fleet.add(RedisServer(Path(tempfile.mkdtemp(dir=fleet.folder))))
    give_rights(users)
    node = fleet.node(
        'node-f',
        config={
            'user': {
                'redis': f'redis://node:node-password@{fleets.HOST}:{users.port}/0',
                'timeout': TIMEOUT,
                'retry_after': RETRY_AFTER,
            }
        },
    ).wait_until_ready()


def give_rights(server):
    """Applies the ACL line of the docs."""
    lines = fleets.documentation().splitlines()
    (rights,) = (line for line in lines if line.startswith('ACL SETUSER node '))
    server.client.execute_command(*rights.split(' '))


class WithDaemon(unittest.TestCase):
    """Gives each test its own daemon and users."""

    settings = {}

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(dir=fleet.folder))
        # Also removes what a failed test left behind.
        users.client.flushall()
        self.daemon = Daemon(self.folder, users, **self.settings)
        self.addCleanup(self.daemon.kill)
        self.direct = Direct(users)
        self.direct.ok('create_user', username='admin', password='pw')
        self.admin = self.direct.ok('create_session', username='admin', password='pw')
        self.token = self.admin['session_token']
        self.wait_until_served()

    def call(self):
        """Makes a quick call. Returns output, errors and the time it took."""
        started = time.monotonic()
        output, errors = node.over_bus('user.authenticate_session', [self.token])
        return output, errors, time.monotonic() - started

    def wait_until_served(self):
        errors = []

        def works():
            errors.append(self.call()[1])
            return not errors[-1]

        try:
            wait_for(works, 'the daemon to reply again', timeout=30)
        except AssertionError as error:
            raise AssertionError(f'{error}: {errors[-1]}') from None

    def assert_responsive(self):
        """Asserts that the node still runs other actions without delay."""
        started = time.monotonic()
        self.assertEqual(node.over_bus('utils.sleep', {'seconds': 0})[1], [])
        self.assertLess(time.monotonic() - started, SLACK)

    def create(self, name):
        args = {'username': name, 'password': 'pw', 'session_token': self.token}
        return node.over_bus('user.create_user', args)

    def wait_until_idle(self):
        """Waits until the daemon is idle. Returns the names of all users."""

        def idle():
            in_flight = users.client.keys(f'{fleets.QUEUE}:processing:*')
            return not in_flight and not users.client.llen(fleets.QUEUE)

        wait_for(idle, 'the queue to be empty')
        return {user['username'] for user in self.direct.ok('get_users')}

    def under_load(self, disturb):
        """
        Creates users from twelve threads while `disturb` runs. Then compares every result with the
        users that exist.
        """
        results, stop = {}, threading.Event()

        def work(i):
            number = 0
            while not stop.is_set():
                number += 1
                name = f'{i}-{number}-{uuid.uuid4().hex[:6]}'
                results[name] = self.create(name)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(12)]
        for thread in threads:
            thread.start()
        try:
            wait_for(lambda: len(results) > 50, 'the load')
            disturb(results)
            before = sum(not errors for _, errors in list(results.values()))

            def continues():
                return sum(not errors for _, errors in list(results.values())) > before + 50

            wait_for(continues, 'further successful calls')
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        existing = self.wait_until_idle()
        for name, (user, errors) in results.items():
            if not errors:
                self.assertEqual(user['username'], name)
                self.assertIn(name, existing)
            elif NO_EFFECT in errors[0]:
                self.assertNotIn(name, existing, errors)
            else:
                self.assertIn(EFFECT_UNKNOWN, errors[0])
        return results


class Faults(WithDaemon):
    def test_daemon_stopped_first_caller_waits_and_others_fail_at_once(self):
        self.daemon.stop()
        _, errors, took = self.call()
        self.assertIn(NO_EFFECT, errors[0])
        self.assertIn('Nobody took the request', errors[0])
        self.assertGreaterEqual(took, TIMEOUT)
        self.assertLess(took, TIMEOUT + SLACK)
        # The node has removed the message, so the daemon cannot run it later.
        self.assertEqual(users.client.llen(fleets.QUEUE), 0)
        for _ in range(3):
            _, errors, took = self.call()
            self.assertIn('was not sent', errors[0])
            self.assertIn(NO_EFFECT, errors[0])
            self.assertLess(took, TIMEOUT / 2)
        self.daemon.start()
        self.wait_until_served()
        # From then on all callers get replies at once.
        for _, errors, _ in in_threads(30, lambda _: self.call()):
            self.assertEqual(errors, [])

    def test_daemon_stopped_under_load_the_node_stays_responsive(self):
        self.daemon.stop()
        waiting = []

        def one(i):
            # These callers wait for the time-out.
            if i < 10:
                waiting.append(i)
                return self.call()
            wait_for(lambda: len(waiting) == 10, 'the others')
            return self.assert_responsive()

        results = in_threads(11, one)
        for _, errors, took in results[:10]:
            self.assertIn(NO_EFFECT, errors[0])
            self.assertLess(took, TIMEOUT + SLACK)
        # Far more callers than the node has threads: none of them may wait.
        started = time.monotonic()
        for _, errors, _ in in_threads(100, lambda _: self.call()):
            self.assertIn(NO_EFFECT, errors[0])
        self.assertLess(time.monotonic() - started, 2 * TIMEOUT + SLACK)
        self.assertEqual(users.client.llen(fleets.QUEUE), 0)

    def test_daemon_frozen_surplus_callers_release_their_workers_early(self):
        self.daemon.send(signal.SIGSTOP)
        started = time.monotonic()
        # More callers than the node has workers for its bus.
        callers = [threading.Thread(target=self.call) for _ in range(40)]
        for caller in callers:
            caller.start()
        # Redis may still deliver some requests to a blocking command of the frozen daemon.
        wait_for(lambda: users.client.llen(fleets.QUEUE) >= 3, 'callers')
        self.assertEqual(node.over_bus('utils.sleep', [0])[1], [])
        took = time.monotonic() - started
        self.daemon.send(signal.SIGCONT)
        for caller in callers:
            caller.join()
        self.wait_until_idle()
        # Surplus callers wait for half of the time-out only.
        self.assertLess(took, TIMEOUT)

    def test_after_the_pause_one_caller_probes_and_the_others_do_not_wait(self):
        self.daemon.stop()
        _, errors, _ = self.call()
        stopped = time.monotonic()

        def batch():
            results = in_threads(12, lambda _: self.call())
            for _, errors, took in results:
                self.assertIn(NO_EFFECT, errors[0])
                if 'was not sent' in errors[0]:
                    self.assertLess(took, TIMEOUT)
            return [took for _, errors, took in results if 'took the request' in errors[0]]

        tried = wait_for(batch, 'an attempt', timeout=RETRY_AFTER + SLACK)
        self.assertEqual(len(tried), 1)
        self.assertGreaterEqual(time.monotonic() - tried[0] - stopped, RETRY_AFTER - 0.1)
        # A failed probe is not the last one.
        self.daemon.start()
        self.wait_until_served()

    def test_daemon_killed_under_load_and_restarted(self):
        def disturb(results):
            self.daemon.kill()
            wait_for(lambda: any(errors for _, errors in list(results.values())), 'errors')
            self.daemon.start()

        results = self.under_load(disturb)
        self.assertTrue(any(errors for _, errors in results.values()))

    def test_daemon_stopped_under_load_and_restarted(self):
        def disturb(_):
            self.daemon.stop()
            self.daemon.start()

        self.under_load(disturb)

    def test_daemon_frozen_under_load_and_continued(self):
        def disturb(results):
            self.daemon.send(signal.SIGSTOP)
            wait_for(
                lambda: any(e and 'was not sent' in e[0] for _, e in list(results.values())),
                'callers that fail at once',
            )
            self.assert_responsive()
            self.daemon.send(signal.SIGCONT)

        results = self.under_load(disturb)
        errors = [errors[0] for _, errors in results.values() if errors]
        self.assertTrue(any(NO_EFFECT in error for error in errors))

    def test_redis_down_is_reported_quickly(self):
        users.stop()
        self.addCleanup(give_rights, users)
        self.addCleanup(users.start)
        _, errors, took = self.call()
        self.assertRegex(errors[0], 'Redis at 127.0.0.1:[0-9]+/0 failed .*nothing was done')
        self.assertNotIn('node-password', errors[0])
        self.assertLess(took, 1)
        self.assert_responsive()

    def test_redis_frozen_blocks_no_caller(self):
        users.send(signal.SIGSTOP)
        try:
            _, errors, took = self.call()
            self.assertIn('Redis at', errors[0])
            self.assertLess(took, 2 * TIMEOUT + SLACK)
            _, errors, took = self.call()
            self.assertIn(NO_EFFECT, errors[0])
            self.assertLess(took, TIMEOUT / 2)
            self.assert_responsive()
        finally:
            users.send(signal.SIGCONT)
        self.wait_until_served()

    def test_redis_restarted_is_used_again(self):
        users.stop()
        users.start()
        give_rights(users)
        self.wait_until_served()

    def test_the_nodes_log_has_no_password_of_redis(self):
        log = node.log()
        where = f'queue platypush/user on Redis 127.0.0.1:{users.port}/0, timeout 2 s'
        self.assertIn(where, log)
        self.assertNotIn('node-password', log)


class Busy(WithDaemon):
    """Tests with a daemon that has one hashing thread and slow password hashes."""

    settings = {'PASSWORD__THREADS': '1'}

    def slow_down(self):
        self.daemon.stop()
        self.daemon.settings.update(PASSWORD__MEMORY_KIB='65536', PASSWORD__ITERATIONS='24')
        self.daemon.start()
        self.wait_until_served()

    def test_a_busy_daemon_is_not_treated_as_stopped(self):
        self.slow_down()
        done = threading.Event()

        def until_done(work):
            results = []
            while not done.is_set():
                results.append(work())
            return results

        # Together with the look-ups, no more callers than the node lets wait.
        last = MAX_WAITING
        creating = threading.Semaphore(last - 2)

        def work(i):
            if i < 2:
                return until_done([self.call, self.measure_pace][i])
            try:
                return self.create(f'busy-{i}')
            finally:
                # The last caller finds the semaphore at 0.
                if not creating.acquire(blocking=False):
                    done.set()

        look_ups, paces, *created = in_threads(last + 1, work)
        # On a machine this slow, even an idle daemon may not reply to a look-up in time.
        is_slow = max(paces) > TIMEOUT / 4
        late = [error for _, errors in created for error in errors]
        self.assertTrue(late, 'the daemon was not busy enough for this test')
        for error in late:
            self.assertIn('The user daemon took the request', error)
            self.assertIn(EFFECT_UNKNOWN, error)
        for _, errors, _ in look_ups:
            self.assertTrue(is_slow or not errors, errors)
        # Each request whose effect was unknown has taken effect.
        names = {name for name in self.wait_until_idle() if name.startswith('busy-')}
        self.assertEqual(names, {f'busy-{i}' for i in range(2, last + 1)})

    def measure_pace(self):
        """Returns the time of a trivial call to the node and one to the daemon."""
        started = time.monotonic()
        node.over_bus('utils.sleep', [0])
        self.direct.ok('authenticate_session', session_token=self.token)
        return time.monotonic() - started


class Wire(unittest.TestCase):
    """Tests the messages in Redis. The test takes the place of the daemon."""

    def setUp(self):
        users.client.delete(fleets.QUEUE)
        # An earlier test may have opened the circuit breaker of the node.
        wait_for(self.receives_request, 'the node to send again')

    def receives_request(self):
        caller = threading.Thread(target=node.over_bus, args=('user.get_users', {}))
        caller.start()
        request = self.take(timeout=1)
        if request:
            self.reply(request, [])
        caller.join()
        return request

    def take(self, timeout=fleets.TIMEOUT):
        popped = users.client.blpop(fleets.QUEUE, timeout)
        return popped and json.loads(popped[1])

    def reply(self, request, output):
        response = {'response': {'output': output, 'errors': []}}
        users.client.rpush(f'platypush/responses/{request["id"]}', json.dumps(response))

    def test_an_invalid_reply_is_reported(self):
        for reply in ('garbage', '[]', '{}', '{"response": null}', b'\xff\xfe', '[' * 100_000,
                      '{"response": {"errors": []}}', '{"response": {"output": 1, "errors": "x"}}'):  # fmt: skip
            with self.subTest(reply[:50]):
                answers = []
                caller = threading.Thread(
                    target=lambda: answers.append(node.over_bus('user.get_users', {}))
                )
                caller.start()
                request = self.take()
                users.client.rpush(f'platypush/responses/{request["id"]}', reply)
                caller.join()
                ((output, (error,)),) = answers
                self.assertIsNone(output)
                self.assertIn('is no reply of the user daemon', error)
                self.assertIn(EFFECT_UNKNOWN, error)

    def sent(self, action, args):
        """Returns the request that a call sends."""
        answers = []
        caller = threading.Thread(
            target=lambda: answers.append(node.over_bus(f'user.{action}', args))
        )
        caller.start()
        request = self.take()
        self.reply(request, 'done')
        caller.join()
        self.assertEqual(answers, [('done', [])])
        return request

    def test_a_request(self):
        before = time.time()
        request = self.sent('create_session', {'username': '007', 'password': '123456'})
        self.assertEqual(
            {k: v for k, v in request.items() if k not in ('id', '_timestamp')},
            {
                'type': 'request',
                'action': 'user.create_session',
                # Platypush decodes the password as a number.
                'args': {'username': '007', 'password': '123456'},
                'origin': 'node-f',
            },
        )
        self.assertEqual(uuid.UUID(request['id']).version, 4)
        self.assertTrue(before <= request['_timestamp'] <= time.time())

    def test_arguments_that_are_not_text_keep_their_type(self):
        args = {'username': 'x', 'password': 'y', 'expires_at': 1924992000, 'code': 123456}
        self.assertEqual(
            self.sent('create_session', args)['args'], {**args, 'code': '123456'}
        )
        args = {'username': 'x', 'password': 'y', 'return_details': True}
        self.assertEqual(self.sent('authenticate_user', args)['args'], args)
        # The value of "${details}" in YAML.
        text = {**args, 'return_details': 'True'}
        self.assertEqual(self.sent('authenticate_user', text)['args'], args)

    def test_positions_become_names_unless_there_are_too_many(self):
        self.assertEqual(
            self.sent('delete_user', ['x', 'y'])['args'], {'username': 'x', 'executing_user': 'y'}
        )
        self.assertEqual(self.sent('get_users', ['x'])['args'], ['x'])

    def test_one_request_that_is_not_taken_does_not_open_the_circuit_breaker(self):
        results = {}

        def call(key):
            results[key] = node.over_bus('user.get_users', {'key': key})

        threads = [threading.Thread(target=call, args=(key,)) for key in ('first', 'second')]
        for thread in threads:
            thread.start()
        wait_for(lambda: users.client.llen(fleets.QUEUE) == 2, 'two requests')
        taken = self.take()
        self.reply(taken, 'done')
        for thread in threads:
            thread.join()
        left = 'second' if taken['args']['key'] == 'first' else 'first'
        self.assertIn('took the request', results[left][1][0])
        # The other reply keeps the circuit breaker closed.
        self.sent('get_users', {})


class Stopping(unittest.TestCase):
    def test_the_node_stops_while_callers_wait_and_the_environment_wins(self):
        own = Fleet()
        self.addCleanup(own.close)
        stopping = own.node(
            'node-s',
            config={'user': {'timeout': 1, 'queue': 'another'}},
            env={'PLATYPUSH_USERD_TIMEOUT': '50', 'PLATYPUSH_USERD_QUEUE': 'queue/of/env'},
        ).wait_until_ready()
        for _ in range(5):
            request = stopping.request('user.get_users', {}, id=str(uuid.uuid4()))
            own.server.client.publish(stopping.bus, json.dumps(request))
        wait_for(lambda: own.server.client.llen('queue/of/env') == 5, 'five waiting callers')
        self.assertIn('queue queue/of/env on Redis', stopping.log())
        # (Platypush 1.3.39 itself, without the forwarder, takes 55 seconds to end after SIGINT.)
        stopping.send(signal.SIGINT)
        done = 'action=user.get_users], response_time='
        wait_for(lambda: stopping.log().count(done) == 5, 'the callers to return', timeout=5)
        self.assertEqual(own.server.client.llen('queue/of/env'), 0)


if __name__ == '__main__':
    unittest.main()
