"""
Real Platypush without its node: reads a configuration, which loads the scripts, and does one thing.

in_process.py CONFIG WHAT [JSON]; what it found is one line of JSON on stdout.
"""

import inspect
import json
import os
import sys
import time

_, config_file, what, *more = sys.argv
result = os.fdopen(os.dup(1), 'w')
# Platypush prints to stdout, and so do its migrations.
os.dup2(2, 1)

from platypush.config import Config  # noqa: E402

if what == 'late':
    # Not by the configuration's scripts, but after the plugin is there.
    Config.init(config_file)
    from platypush.context import get_plugin

    made_before = get_plugin('user')
    sys.path.insert(0, more[0])
    import user_daemon

    made_after = get_plugin('user', reload=True)
    told = {
        'before_and_after': all(
            'enable_otp' in plugin.registered_actions
            and type(plugin).get_users.builtin is not None
            and hasattr(plugin, 'enable_otp')
            for plugin in (made_before, made_after)
        )
    }
else:
    Config.init(config_file)

if what == 'loaded_modules':
    told = {
        'modules': [
            name
            for name in sys.modules
            if name.startswith(('platypush.plugins.user', 'platypush.plugins.inspect'))
            or name.startswith('platypush.user')
        ]
    }
elif what == 'describe':
    from platypush.context import get_plugin

    plugin = get_plugin('user')
    told = {'actions': {}}
    for name in sorted(plugin.registered_actions):
        method = getattr(type(plugin), name)
        told['actions'][name] = {
            'name': method.__name__,
            'signature': str(inspect.signature(getattr(method, 'wrapped', method))),
            'called_as': str(inspect.signature(method)),
            'arguments': inspect.getfullargspec(method.wrapped).args[1:],
            'doc': inspect.getdoc(method),
        }
elif what == 'unknown_platypush':
    # One whose actions are made in another way: user_daemon.py finds none of them.
    import types

    plugin = type('UserPlugin', (), {'get_users': lambda self: []})
    try:
        sys.modules['user_daemon']._patch_user(types.SimpleNamespace(UserPlugin=plugin))
        told = {'refused': False}
    except ImportError as error:
        told = {'refused': 'does not know this Platypush' in str(error)}
    # A panel without its list is no reason to have no plugin.
    sys.modules['user_daemon']._patch_inspect(
        types.SimpleNamespace(InspectPlugin=type('InspectPlugin', (), {}))
    )
elif what == 'install_again':
    import importlib

    from platypush.context import get_plugin

    get_plugin('user')
    # As Platypush has it while it loads scripts.
    sys.path.insert(0, Config.get('scripts_dir'))
    ours = sys.modules['user_daemon']
    ours.install()
    importlib.reload(ours)
    # As a script that says "from scripts import user_daemon" does.
    importlib.import_module('scripts.user_daemon')
    import platypush.plugins.user as module

    def builtin():
        return [getattr(module.UserPlugin, name).builtin for name in json.loads(more[0])]

    found = builtin()
    importlib.reload(module)
    found += builtin()
    told = {
        'finders': sum(hasattr(finder, 'platypush_userd') for finder in sys.meta_path),
        'all_builtin': not any(hasattr(f, 'builtin') for f in found),
    }
elif what == 'call':
    from platypush.context import get_plugin

    plugin = get_plugin('user')
    told = []
    for action, args in json.loads(more[0]):
        started = time.monotonic()
        response = plugin.run(action, **args)
        errors = [str(error) for error in response.errors]
        told.append([response.output, errors, time.monotonic() - started])

print(json.dumps(told), file=result, flush=True)
os._exit(0)
