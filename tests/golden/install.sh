#!/bin/sh
# Installs the providers' official SDKs, which read recorded answers for golden cases: into .venv. Does nothing when
# what is there is what is pinned. No test needs them.
#
# usage: tests/golden/install.sh
set -eu
cd "$(dirname "$0")"

if ! cmp -s requirements.txt .venv/installed; then
    rm -rf .venv
    python3 -m venv .venv || {
        echo "tests/golden: python3 cannot make environments; on Debian or Ubuntu: sudo apt-get install -y python3-venv" >&2
        exit 1
    }
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements.txt
    cp requirements.txt .venv/installed
fi
