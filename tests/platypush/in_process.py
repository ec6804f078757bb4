"""
Runs one check with real Platypush in this process: reads a configuration, which loads the scripts.

Usage: in_process.py CONFIG CHECK [JSON]. The result is one line of JSON on stdout.
"""

import inspect
import json
import os
import sys
import time

_, config_file, check, *more = sys.argv
result = os.fdopen(os.dup(1), 'w')
# Platypush prints to stdout, and so do its migrations.
os.dup2(2, 1)

from platypush.config import Config  # noqa: E402

if check == 'late':
    # Loads user_daemon.py after the plugin, not as a script of the configuration.
    Config.init(config_file)
    from platypush.context import get_plugin

    earlier = get_plugin('user')
    sys.path.insert(0, more[0])
    import user_daemon

    later = get_plugin('user', reload=True)
    result_data = {
        'before_and_after': all(
            'enable_otp' in plugin.registered_actions
            and type(plugin).get_users.builtin is not None
            and hasattr(plugin, 'enable_otp')
            for plugin in (earlier, later)
        )
    }
else:
    Config.init(config_file)

if check == 'loaded_modules':
    result_data = {
        'modules': [
            name
            for name in sys.modules
            if name.startswith(('platypush.plugins.user', 'platypush.plugins.inspect'))
            or name.startswith('platypush.user')
        ]
    }
elif check == 'describe':
    from platypush.context import get_plugin

    plugin = get_plugin('user')
    result_data = {'actions': {}}
    for name in sorted(plugin.registered_actions):
        method = getattr(type(plugin), name)
        result_data['actions'][name] = {
            'name': method.__name__,
            'signature': str(inspect.signature(getattr(method, 'wrapped', method))),
            'called_as': str(inspect.signature(method)),
            'arguments': inspect.getfullargspec(method.wrapped).args[1:],
            'doc': inspect.getdoc(method),
        }
elif check == 'unknown_platypush':
    # A plugin whose actions lack `wrapped`, so that user_daemon.py finds none of them.
    import types

    plugin = type('UserPlugin', (), {'get_users': lambda self: []})
    try:
        sys.modules['user_daemon']._patch_user(types.SimpleNamespace(UserPlugin=plugin))
        result_data = {'refused': False}
    except ImportError as error:
        result_data = {'refused': 'does not know this Platypush' in str(error)}
    # A missing list of the web panel must not raise.
    sys.modules['user_daemon']._patch_inspect(
        types.SimpleNamespace(InspectPlugin=type('InspectPlugin', (), {}))
    )
elif check == 'install_again':
    import importlib

    from platypush.context import get_plugin

    get_plugin('user')
    # Platypush adds the folder to the path while it loads scripts.
    sys.path.insert(0, Config.get('scripts_dir'))
    script = sys.modules['user_daemon']
    script.install()
    importlib.reload(script)
    # The import of a script with "from scripts import user_daemon".
    importlib.import_module('scripts.user_daemon')
    import platypush.plugins.user as module

    def builtin():
        return [getattr(module.UserPlugin, name).builtin for name in json.loads(more[0])]

    found = builtin()
    importlib.reload(module)
    found += builtin()
    result_data = {
        'finders': sum(hasattr(finder, 'platypush_userd') for finder in sys.meta_path),
        'all_builtin': not any(hasattr(f, 'builtin') for f in found),
    }
elif check == 'call':
    from platypush.context import get_plugin

    plugin = get_plugin('user')
    result_data = []
    for action, args in json.loads(more[0]):
        started = time.monotonic()
        response = plugin.run(action, **args)
        errors = [str(error) for error in response.errors]
        result_data.append([response.output, errors, time.monotonic() - started])

print(json.dumps(result_data), file=result, flush=True)
os._exit(0)
