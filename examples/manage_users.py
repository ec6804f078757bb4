"""
Managing users from a Platypush node's scripts. Put this file into scripts/, beside user_daemon.py.

It takes the session token to act with from the constants of the configuration: manage_users.yaml
says how to make one. The hook needs a daemon that publishes events to this node (events.publish in
the daemon's configuration).
"""

import json
import logging

from platypush import Config, Variable, cron, procedure, run, when
from platypush.message.event.custom import CustomEvent

log = logging.getLogger('users')


def admin_token():
    return Config.get_constants()['user_admin_token']


@procedure('add_user')
def add_user(username, password):
    """
    Creates a user: procedure.add_user, as an action or by run('procedure.add_user', …).

    In Python, as Platypush writes the arguments of YAML procedures into its log.
    """
    # run() raises what the daemon answers as an error, "The user bob already exists" for example.
    return run(
        'user.create_user', username=username, password=password, session_token=admin_token()
    )


@when(CustomEvent, subtype='user_event', kind='user_created')
def remember_newest_user(event):
    """Whoever was created last, on whichever node, for a dashboard to show."""
    Variable('newest_user').set(event.username)
    log.info('Welcome, %s', event.username)


@cron('0 3 * * *')
def nightly_check():
    """Tells once a night who came and who went, and whether the token still works."""
    known = json.loads(Variable('known_users').get() or '[]')
    users = [user['username'] for user in run('user.get_users')]
    for username in sorted(set(users) - set(known)):
        log.info('New user: %s', username)
    for username in sorted(set(known) - set(users)):
        log.info('User gone: %s', username)
    Variable('known_users').set(json.dumps(users))

    # A session may have been ended by a password change, or have run out. One that nobody made
    # here is worth a look.
    try:
        sessions = run('user.get_sessions', session_token=admin_token())
    except RuntimeError as error:
        log.warning('user_admin_token does not work, it may have to be made anew: %s', error)
        return
    if len(sessions) > 1:
        log.warning('The user of user_admin_token has %d sessions', len(sessions))
