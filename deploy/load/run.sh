#!/bin/sh
# Serves deploy/load/api.yaml and lets locust ask for it; `make load` calls it.
#
# USERS (100), RATE (10 more each second), DURATION (120 seconds); BINARY is the program, PORT where it serves (18000). The table is
# printed, and the exit code is 1 when a request failed.
set -eu
cd "$(dirname "$0")/../.."

folder=$(mktemp -d)
here=$PWD
locust=tests/deploy/.venv/bin/locust
[ -x "$locust" ] || locust=locust
command -v "$locust" >/dev/null || { echo "locust is missing: pip install locust" >&2; exit 1; }

port=${PORT:-18000}
cp deploy/load/api.yaml "$folder/"
(cd "$folder" && exec env -i PATH="$PATH" HOST=127.0.0.1 PORT="$port" METRICS_ADDR=off DISABLE_DATABASE=true RUST_LOG=error \
    "$(case $BINARY in /*) echo "$BINARY" ;; *) echo "$here/$BINARY" ;; esac)" 2>"$folder/log") &
gateway=$!
trap 'kill $gateway 2>/dev/null; rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM

"$locust" -f deploy/load/locustfile.py --host "http://127.0.0.1:$port" --headless --only-summary --exit-code-on-error 1 \
    -u "${USERS:-100}" -r "${RATE:-10}" -t "${DURATION:-120}s" --loglevel WARNING
