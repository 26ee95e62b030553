#!/bin/sh
# Installs the schemas by which manifests and dashboards are checked: Kubernetes' own into python/.venv, those of
# operators and of Grafana into node/node_modules. Does nothing when what is there is what is pinned.
#
# usage: tests/cluster/install.sh
set -eu
cd "$(dirname "$0")"

need() {
    command -v "$1" >/dev/null 2>&1 || {
        echo "tests/cluster: $1 is missing; on Debian or Ubuntu: sudo apt-get install -y python3 python3-venv nodejs npm" >&2
        exit 1
    }
}

need python3
if ! cmp -s python/requirements.txt python/.venv/installed; then
    rm -rf python/.venv
    python3 -m venv python/.venv || {
        echo "tests/cluster: python3 cannot make environments; on Debian or Ubuntu: sudo apt-get install -y python3-venv" >&2
        exit 1
    }
    python/.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement python/requirements.txt
    cp python/requirements.txt python/.venv/installed
fi

need node
need npm
# The schema of dashboards is made of types once, since that takes a compiler some seconds.
if ! cat node/package-lock.json node/types.ts | cmp -s - node/node_modules/.installed; then
    (cd node && npm ci --silent --no-audit --no-fund && node schema.js node_modules/.schema.json)
    cat node/package-lock.json node/types.ts >node/node_modules/.installed
fi
