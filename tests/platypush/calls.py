"""The routes by which a call reaches a node, and the configuration for some of them."""


# Parameters in the order of the signatures, for the positional route.
POSITIONS = {
    'create_user': 'username password executing_user executing_user_password session_token',
    'authenticate_user': 'username password code return_details',
    'update_password': 'username old_password new_password code revoke_sessions',
    'delete_user': 'username executing_user executing_user_password session_token',
    'create_session': 'username password code expires_at',
    'authenticate_session': 'session_token',
    'delete_session': 'session_token',
    'get_users': '',
    'get_user_by_session': 'session_token',
}

# Argument names of the cases. YAML needs one procedure and one hook for each set.
ARGUMENT_SETS = {
    'create_user': ['username password session_token'],
    'authenticate_user': ['username password', 'username password return_details'],
    'update_password': ['username old_password new_password'],
    'delete_user': ['username executing_user executing_user_password'],
    'create_session': ['username password', 'username password expires_at'],
    'authenticate_session': ['session_token'],
    'delete_session': ['session_token'],
    'get_users': [''],
    'get_user_by_session': ['session_token'],
}


def yaml_name(action, args):
    return '-'.join([action, *sorted(args)])


def yaml_config():
    """Returns a procedure and a hook for each set of arguments."""
    event = 'platypush.message.event.custom.CustomEvent'
    # With a secret in the configuration instead of the message: see test_secrecy.py.
    config = {
        'event.hook.user_events': {
            'if': {'type': event, 'subtype': 'user_event'},
            'then': [
                {
                    'action': 'procedure.saw_user_event',
                    'args': {'kind': '${kind}', 'username': '${username}'},
                }
            ],
        },
        'event.hook.secret_yaml': {
            'if': {'type': event, 'subtype': 'secret_yaml'},
            'then': [{'action': 'procedure.secret_procedure'}],
        },
        'procedure.sync.secret_procedure': [
            {
                'action': 'user.authenticate_user',
                'args': {'username': 'nobody', 'password': '${"a secret of scripts"}'},
            },
            {
                'action': 'procedure.report',
                'args': {n: f'${{{n}}}' for n in ('answers', 'output', 'errors')},
            },
        ],
    }
    for action, sets in ARGUMENT_SETS.items():
        for names in map(str.split, sets):
            call = {'action': f'user.{action}', 'args': {n: f'${{{n}}}' for n in names}}
            name = yaml_name(action, names)
            config[f'procedure.sync.{name}'] = [call]
            answer = {n: f'${{{n}}}' for n in ('answers', 'output', 'errors')}
            config[f'event.hook.{name}'] = {
                'if': {
                    'type': event,
                    'subtype': f'call {name}',
                },
                'then': [call, {'action': 'procedure.report', 'args': answer}],
            }
    return config


def positional(node, action, args):
    names = POSITIONS[action].split()
    last = max((names.index(name) for name in args), default=-1)
    return node.execute(f'user.{action}', [args.get(name) for name in names[: last + 1]])


def by_script(route):
    return lambda node, action, args: node.through_script(route, f'user.{action}', args)


ROUTES = {
    'execute': lambda node, action, args: node.execute(f'user.{action}', args),
    'bus': lambda node, action, args: node.over_bus(f'user.{action}', args),
    'list': lambda node, action, args: node.over_list(f'user.{action}', args),
    'positional': positional,
    'yaml_procedure': lambda node, action, args: node.execute(
        f'procedure.{yaml_name(action, args)}', args
    ),
    'yaml_hook': lambda node, action, args: node.through_script(
        'yaml_hook', yaml_name(action, args), args
    ),
    'when': by_script('when'),
    'cron': by_script('cron'),
    'run': by_script('run'),
    'get_plugin': by_script('get_plugin'),
    'websocket': lambda node, action, args: node.over_websocket(f'user.{action}', args),
    'reload': by_script('reload'),
}
