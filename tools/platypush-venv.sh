#!/usr/bin/env bash
# Creates a virtual environment with the real Platypush: tools/platypush-venv.sh DIR (then DIR/bin/python,
# DIR/bin/platypush). Keeps an existing one. The tests need no system packages: libmagic and libzbar, which Platypush loads to
# serve files or read QR codes, are not installed.
set -euo pipefail

version=1.3.39
# The Python version of the tests.
python_version=3.11

if [ $# -ne 1 ] || [ -z "$1" ]; then
    echo "usage: tools/platypush-venv.sh DIR" >&2
    exit 2
fi
dir=$1

say() {
    echo "platypush-venv: $*" >&2
}

# pip installs Platypush last, so if it is installed, its dependencies are too.
if "$dir/bin/python" -c "from importlib.metadata import version; assert version('platypush') == '$version'" 2>/dev/null; then
    say "Platypush $version is already installed in $dir"
    exit 0
fi
if [ -e "$dir" ] && [ ! -e "$dir/pyvenv.cfg" ] && [ -n "$(ls -A "$dir")" ]; then
    say "$dir is not a virtual environment and not empty: nothing was changed"
    exit 1
fi

"$(dirname "$0")/need.sh" python3
python=''
for candidate in "python$python_version" python3; do
    if "$candidate" -c "import sys; assert '%d.%d' % sys.version_info[:2] == '$python_version'" 2>/dev/null; then
        python=$(command -v "$candidate")
        break
    fi
done
if [ -z "$python" ]; then
    say "Platypush $version is run with Python $python_version, but python$python_version is not on PATH and python3 is $(python3 --version)." \
        "Debian 12 has it; elsewhere install it (for example: pyenv install $python_version) and put it on PATH"
    exit 1
fi

say "installing Platypush $version into $dir with $python (a minute)"
# Debian's python3 lacks ensurepip, which venv needs to install pip.
if "$python" -c 'import ensurepip' 2>/dev/null; then
    "$python" -m venv "$dir"
else
    "$(dirname "$0")/need.sh" virtualenv
    virtualenv --quiet --python "$python" "$dir"
fi
"$dir/bin/python" -m pip install --quiet --disable-pip-version-check --no-input "platypush==$version" >&2
