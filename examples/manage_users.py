"""
Manages users from the scripts of a Platypush node. Put this file into scripts/, beside
user_daemon.py.

It reads its session token from the constants of the configuration; manage_users.yaml shows how to
create the token. The hook needs a daemon that publishes events to this node (events.publish in
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

    It is a Python procedure because Platypush logs the arguments of YAML procedures.
    """
    # run() raises the errors of the daemon's reply, for example "The user bob already exists".
    return run(
        'user.create_user', username=username, password=password, session_token=admin_token()
    )


@when(CustomEvent, subtype='user_event', kind='user_created')
def remember_newest_user(event):
    """Stores the name of the newest user in a variable, for example for a dashboard."""
    Variable('newest_user').set(event.username)
    log.info('Welcome, %s', event.username)


@cron('0 3 * * *')
def nightly_check():
    """Logs new and deleted users once a night, and checks that the token still works."""
    known = json.loads(Variable('known_users').get() or '[]')
    users = [user['username'] for user in run('user.get_users')]
    for username in sorted(set(users) - set(known)):
        log.info('New user: %s', username)
    for username in sorted(set(known) - set(users)):
        log.info('User gone: %s', username)
    Variable('known_users').set(json.dumps(users))

    # A password change or an expiry may have ended the session. Further sessions of this user may
    # come from an attacker.
    try:
        sessions = run('user.get_sessions', session_token=admin_token())
    except RuntimeError as error:
        log.warning('user_admin_token does not work, it may have to be made anew: %s', error)
        return
    if len(sessions) > 1:
        log.warning('The user of user_admin_token has %d sessions', len(sessions))
