#!/bin/sh
# Installs the SDKs that the tests run: Python into python/.venv, Node into node/node_modules; and the command lines of
# agents, into agents/node_modules and codex/node_modules. Does nothing when what is there is what is pinned.
#
# usage: tests/sdk/install.sh
set -eu
cd "$(dirname "$0")"

need() {
    command -v "$1" >/dev/null 2>&1 || {
        echo "tests/sdk: $1 is missing; on Debian or Ubuntu: sudo apt-get install -y python3 python3-venv nodejs npm" >&2
        exit 1
    }
}

need python3
if ! cmp -s python/requirements.txt python/.venv/installed; then
    rm -rf python/.venv
    python3 -m venv python/.venv || {
        echo "tests/sdk: python3 cannot make environments; on Debian or Ubuntu: sudo apt-get install -y python3-venv" >&2
        exit 1
    }
    python/.venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement python/requirements.txt
    cp python/requirements.txt python/.venv/installed
fi

need node
need npm
for folder in node agents codex; do
    if ! cmp -s $folder/package-lock.json $folder/node_modules/.installed; then
        (cd $folder && npm ci --silent --no-audit --no-fund)
        cp $folder/package-lock.json $folder/node_modules/.installed
    fi
done
