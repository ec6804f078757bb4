"""What callers on a node get while the daemon, or its Redis, is stopped, frozen, slow or new."""

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
# What the machine may take on top of a time-out.
SLACK = 2
# How many callers the node lets wait without an answer: WAITING of the plugin.
WAITING = 8
NOTHING_DONE = 'nothing was done'
NOT_KNOWN = 'is not known'


def setUpModule():
    """
    One node. The users' Redis is not the node's own, so that it can fail alone, and the node logs
    in to it with no more rights than the README gives it.
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
    """Those of the README, literally."""
    lines = (fleets.ROOT / 'README.md').read_text().splitlines()
    (rights,) = (line for line in lines if line.startswith('ACL SETUSER node '))
    server.client.execute_command(*rights.split(' '))


class WithDaemon(unittest.TestCase):
    """Each test has a daemon and users of its own."""

    settings = {}

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(dir=fleet.folder))
        # Also what a test that failed has left.
        users.client.flushall()
        self.daemon = Daemon(self.folder, users, **self.settings)
        self.addCleanup(self.daemon.kill)
        self.direct = Direct(users)
        self.direct.ok('create_user', username='admin', password='pw')
        self.admin = self.direct.ok('create_session', username='admin', password='pw')
        self.token = self.admin['session_token']
        self.works_again()

    def ask(self):
        """A quick call, and how long it took."""
        started = time.monotonic()
        output, errors = node.over_bus('user.authenticate_session', [self.token])
        return output, errors, time.monotonic() - started

    def works_again(self):
        told = []

        def works():
            told.append(self.ask()[1])
            return not told[-1]

        try:
            wait_for(works, 'the daemon to be asked again', patience=30)
        except AssertionError as error:
            raise AssertionError(f'{error}: {told[-1]}') from None

    def assert_responsive(self):
        """Of the node, for everything that is not ours."""
        started = time.monotonic()
        self.assertEqual(node.over_bus('utils.sleep', {'seconds': 0})[1], [])
        self.assertLess(time.monotonic() - started, SLACK)

    def create(self, name):
        args = {'username': name, 'password': 'pw', 'session_token': self.token}
        return node.over_bus('user.create_user', args)

    def settle(self):
        """Waits until the daemon has nothing to do any more; gives the names of all users."""

        def idle():
            under_way = users.client.keys(f'{fleets.QUEUE}:processing:*')
            return not under_way and not users.client.llen(fleets.QUEUE)

        wait_for(idle, 'the queue to be empty')
        return {user['username'] for user in self.direct.ok('get_users')}

    def under_load(self, disturb):
        """
        Twelve threads create users while something happens to the daemon; then every answer must
        have told the truth.
        """
        told, stop = {}, threading.Event()

        def work(i):
            number = 0
            while not stop.is_set():
                number += 1
                name = f'{i}-{number}-{uuid.uuid4().hex[:6]}'
                told[name] = self.create(name)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(12)]
        for thread in threads:
            thread.start()
        try:
            wait_for(lambda: len(told) > 50, 'the load')
            disturb(told)
            before = sum(not errors for _, errors in list(told.values()))

            def goes_on():
                return sum(not errors for _, errors in list(told.values())) > before + 50

            wait_for(goes_on, 'the load to go on')
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        there = self.settle()
        for name, (user, errors) in told.items():
            if not errors:
                self.assertEqual(user['username'], name)
                self.assertIn(name, there)
            elif NOTHING_DONE in errors[0]:
                self.assertNotIn(name, there, errors)
            else:
                self.assertIn(NOT_KNOWN, errors[0])
        return told


class Faults(WithDaemon):
    def test_stopped_the_first_caller_waits_and_the_others_fail_at_once(self):
        self.daemon.stop()
        _, errors, took = self.ask()
        self.assertIn(NOTHING_DONE, errors[0])
        self.assertIn('Nobody took the request', errors[0])
        self.assertGreaterEqual(took, TIMEOUT)
        self.assertLess(took, TIMEOUT + SLACK)
        # The message has been taken back: the daemon would not run it later.
        self.assertEqual(users.client.llen(fleets.QUEUE), 0)
        for _ in range(3):
            _, errors, took = self.ask()
            self.assertIn('was not sent', errors[0])
            self.assertIn(NOTHING_DONE, errors[0])
            self.assertLess(took, TIMEOUT / 2)
        self.daemon.start()
        self.works_again()
        # From then on everybody gets through again, at once.
        for _, errors, _ in in_threads(30, lambda _: self.ask()):
            self.assertEqual(errors, [])

    def test_stopped_under_load_the_node_stays_responsive(self):
        self.daemon.stop()
        waiting = []

        def one(i):
            # Some wait, for the time-out of the first.
            if i < 10:
                waiting.append(i)
                return self.ask()
            wait_for(lambda: len(waiting) == 10, 'the others')
            return self.assert_responsive()

        results = in_threads(11, one)
        for _, errors, took in results[:10]:
            self.assertIn(NOTHING_DONE, errors[0])
            self.assertLess(took, TIMEOUT + SLACK)
        # Many more than the node has threads, and none of them waits.
        started = time.monotonic()
        for _, errors, _ in in_threads(100, lambda _: self.ask()):
            self.assertIn(NOTHING_DONE, errors[0])
        self.assertLess(time.monotonic() - started, 2 * TIMEOUT + SLACK)
        self.assertEqual(users.client.llen(fleets.QUEUE), 0)

    def test_frozen_callers_beyond_some_leave_their_workers_soon(self):
        self.daemon.send(signal.SIGSTOP)
        started = time.monotonic()
        # More than the node has workers for its bus.
        callers = [threading.Thread(target=self.ask) for _ in range(40)]
        for caller in callers:
            caller.start()
        # Redis may still give the daemon some that it had asked for.
        wait_for(lambda: users.client.llen(fleets.QUEUE) >= 3, 'callers')
        self.assertEqual(node.over_bus('utils.sleep', [0])[1], [])
        took = time.monotonic() - started
        self.daemon.send(signal.SIGCONT)
        for caller in callers:
            caller.join()
        self.settle()
        # Half of the time-out, and not all of it.
        self.assertLess(took, TIMEOUT)

    def test_after_a_while_one_caller_tries_and_the_others_do_not_wait_for_it(self):
        self.daemon.stop()
        _, errors, _ = self.ask()
        stopped = time.monotonic()

        def batch():
            results = in_threads(12, lambda _: self.ask())
            for _, errors, took in results:
                self.assertIn(NOTHING_DONE, errors[0])
                if 'was not sent' in errors[0]:
                    self.assertLess(took, TIMEOUT)
            return [took for _, errors, took in results if 'took the request' in errors[0]]

        tried = wait_for(batch, 'an attempt', patience=RETRY_AFTER + SLACK)
        self.assertEqual(len(tried), 1)
        self.assertGreaterEqual(time.monotonic() - tried[0] - stopped, RETRY_AFTER - 0.1)
        # Nor is one attempt the last.
        self.daemon.start()
        self.works_again()

    def test_killed_under_load_and_started_again(self):
        def disturb(told):
            self.daemon.kill()
            wait_for(lambda: any(errors for _, errors in list(told.values())), 'errors')
            self.daemon.start()

        told = self.under_load(disturb)
        self.assertTrue(any(errors for _, errors in told.values()))

    def test_stopped_under_load_and_started_again(self):
        def disturb(_):
            self.daemon.stop()
            self.daemon.start()

        self.under_load(disturb)

    def test_frozen_under_load_and_continued(self):
        def disturb(told):
            self.daemon.send(signal.SIGSTOP)
            wait_for(
                lambda: any(e and 'was not sent' in e[0] for _, e in list(told.values())),
                'callers that fail at once',
            )
            self.assert_responsive()
            self.daemon.send(signal.SIGCONT)

        told = self.under_load(disturb)
        errors = [errors[0] for _, errors in told.values() if errors]
        self.assertTrue(any(NOTHING_DONE in error for error in errors))

    def test_redis_down_is_said_quickly(self):
        users.stop()
        self.addCleanup(give_rights, users)
        self.addCleanup(users.start)
        _, errors, took = self.ask()
        self.assertRegex(errors[0], 'Redis at 127.0.0.1:[0-9]+/0 failed .*nothing was done')
        self.assertNotIn('node-password', errors[0])
        self.assertLess(took, 1)
        self.assert_responsive()

    def test_redis_frozen_hangs_nobody(self):
        users.send(signal.SIGSTOP)
        try:
            _, errors, took = self.ask()
            self.assertIn('Redis at', errors[0])
            self.assertLess(took, 2 * TIMEOUT + SLACK)
            _, errors, took = self.ask()
            self.assertIn(NOTHING_DONE, errors[0])
            self.assertLess(took, TIMEOUT / 2)
            self.assert_responsive()
        finally:
            users.send(signal.SIGCONT)
        self.works_again()

    def test_redis_that_is_restarted_is_found_again(self):
        users.stop()
        users.start()
        give_rights(users)
        self.works_again()

    def test_the_nodes_log_has_no_password_of_redis(self):
        log = node.log()
        where = f'queue platypush/user on Redis 127.0.0.1:{users.port}/0, timeout 2 s'
        self.assertIn(where, log)
        self.assertNotIn('node-password', log)


class Busy(WithDaemon):
    """A daemon with one thread for password hashes that take long."""

    settings = {'PASSWORD__THREADS': '1'}

    def slow_down(self):
        self.daemon.stop()
        self.daemon.settings.update(PASSWORD__MEMORY_KIB='65536', PASSWORD__ITERATIONS='24')
        self.daemon.start()
        self.works_again()

    def test_a_busy_daemon_is_not_taken_for_a_stopped_one(self):
        self.slow_down()
        done = threading.Event()

        def until_done(work):
            results = []
            while not done.is_set():
                results.append(work())
            return results

        # With the one that looks up, no more callers than the node lets wait without an answer.
        last = WAITING
        creating = threading.Semaphore(last - 2)

        def work(i):
            if i < 2:
                return until_done([self.ask, self.measure_pace][i])
            try:
                return self.create(f'busy-{i}')
            finally:
                # Of the last one that ends, none is left to acquire.
                if not creating.acquire(blocking=False):
                    done.set()

        look_ups, paces, *created = in_threads(last + 1, work)
        # Where node and daemon are so slow by themselves, no look-up can be answered in time.
        is_slow = max(paces) > TIMEOUT / 4
        late = [error for _, errors in created for error in errors]
        self.assertTrue(late, 'the daemon was not busy enough for this test')
        for error in late:
            self.assertIn('The user daemon took the request', error)
            self.assertIn(NOT_KNOWN, error)
        for _, errors, _ in look_ups:
            self.assertTrue(is_slow or not errors, errors)
        # What is not known takes effect.
        names = {name for name in self.settle() if name.startswith('busy-')}
        self.assertEqual(names, {f'busy-{i}' for i in range(2, last + 1)})

    def measure_pace(self):
        """How long the node and the daemon take for next to nothing, each by itself."""
        started = time.monotonic()
        node.over_bus('utils.sleep', [0])
        self.direct.ok('authenticate_session', session_token=self.token)
        return time.monotonic() - started


class Wire(unittest.TestCase):
    """What goes over Redis, seen from the other end of the queue: there is no daemon here."""

    def setUp(self):
        users.client.delete(fleets.QUEUE)
        # An earlier test may have left the node waiting before it tries again.
        wait_for(self.reaches_us, 'the node to try again')

    def reaches_us(self):
        asked = threading.Thread(target=node.over_bus, args=('user.get_users', {}))
        asked.start()
        request = self.take(patience=1)
        if request:
            self.reply(request, [])
        asked.join()
        return request

    def take(self, patience=fleets.PATIENCE):
        popped = users.client.blpop(fleets.QUEUE, patience)
        return popped and json.loads(popped[1])

    def reply(self, request, output):
        response = {'response': {'output': output, 'errors': []}}
        users.client.rpush(f'platypush/responses/{request["id"]}', json.dumps(response))

    def test_what_is_no_reply_is_said_to_be_none(self):
        for reply in ('garbage', '[]', '{}', '{"response": null}', b'\xff\xfe', '[' * 100_000,
                      '{"response": {"errors": []}}', '{"response": {"output": 1, "errors": "x"}}'):  # fmt: skip
            with self.subTest(reply[:50]):
                answers = []
                asked = threading.Thread(
                    target=lambda: answers.append(node.over_bus('user.get_users', {}))
                )
                asked.start()
                request = self.take()
                users.client.rpush(f'platypush/responses/{request["id"]}', reply)
                asked.join()
                ((output, (error,)),) = answers
                self.assertIsNone(output)
                self.assertIn('is no reply of the user daemon', error)
                self.assertIn(NOT_KNOWN, error)

    def sent(self, action, args):
        """The request that a call makes."""
        answers = []
        asked = threading.Thread(
            target=lambda: answers.append(node.over_bus(f'user.{action}', args))
        )
        asked.start()
        request = self.take()
        self.reply(request, 'done')
        asked.join()
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
                # Platypush had made a number of the password.
                'args': {'username': '007', 'password': '123456'},
                'origin': 'node-f',
            },
        )
        self.assertEqual(uuid.UUID(request['id']).version, 4)
        self.assertTrue(before <= request['_timestamp'] <= time.time())

    def test_what_was_never_text_stays_what_it_is(self):
        args = {'username': 'x', 'password': 'y', 'expires_at': 1924992000, 'code': 123456}
        self.assertEqual(
            self.sent('create_session', args)['args'], {**args, 'code': '123456'}
        )
        args = {'username': 'x', 'password': 'y', 'return_details': True}
        self.assertEqual(self.sent('authenticate_user', args)['args'], args)
        # As "${details}" comes out of YAML.
        text = {**args, 'return_details': 'True'}
        self.assertEqual(self.sent('authenticate_user', text)['args'], args)

    def test_positions_become_names_unless_there_are_too_many(self):
        self.assertEqual(
            self.sent('delete_user', ['x', 'y'])['args'], {'username': 'x', 'executing_user': 'y'}
        )
        self.assertEqual(self.sent('get_users', ['x'])['args'], ['x'])

    def test_one_request_that_is_left_lying_does_not_shut_out_the_others(self):
        told = {}

        def ask(key):
            told[key] = node.over_bus('user.get_users', {'key': key})

        threads = [threading.Thread(target=ask, args=(key,)) for key in ('first', 'second')]
        for thread in threads:
            thread.start()
        wait_for(lambda: users.client.llen(fleets.QUEUE) == 2, 'two requests')
        taken = self.take()
        self.reply(taken, 'done')
        for thread in threads:
            thread.join()
        left = 'second' if taken['args']['key'] == 'first' else 'first'
        self.assertIn('took the request', told[left][1][0])
        # The node goes on to ask, as it has heard of somebody.
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
        # A node itself, with nothing of ours, takes 55 seconds to end after this on 1.3.39.
        stopping.send(signal.SIGINT)
        done = 'action=user.get_users], response_time='
        wait_for(lambda: stopping.log().count(done) == 5, 'the callers to return', patience=5)
        self.assertEqual(own.server.client.llen('queue/of/env'), 0)


if __name__ == '__main__':
    unittest.main()
