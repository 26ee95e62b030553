#!/bin/sh
# Installs locust, which loads the program, and makes the base image that images are tested on,
# localhost/uni-api-debian, out of Debian's packages. Does nothing when both are there. What buildah stores lies in the folder that is given, which also gets its storage.conf.
#
# usage: tests/deploy/install.sh [FOLDER]
set -eu
cd "$(dirname "$0")/../.."

pins=tests/deploy/requirements.txt
venv=tests/deploy/.venv
if ! cmp -s $pins $venv/installed; then
    rm -rf $venv
    python3 -m venv $venv
    $venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement $pins
    cp $pins $venv/installed
fi

folder=${1:-${CARGO_TARGET_DIR:-target}/deploy}
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

sudo=
[ "$(id -u)" = 0 ] || sudo="sudo -n"
export CONTAINERS_STORAGE_CONF="$folder/storage.conf"

run() {
    $sudo env "CONTAINERS_STORAGE_CONF=$CONTAINERS_STORAGE_CONF" "$@"
}

storage() {
    printf '[storage]\ndriver = "%s"\ngraphroot = "%s/storage"\nrunroot = "%s/run"\n' "$1" "$folder" "$folder" \
        >"$CONTAINERS_STORAGE_CONF"
}

# A folder that was moved knows its old place.
if ! grep -qs "\"$folder/storage\"" "$CONTAINERS_STORAGE_CONF"; then
    # Layers are stacked where the file system can, and copied where it cannot.
    storage overlay
    run buildah from --name probe scratch >/dev/null 2>&1 && run buildah mount probe >/dev/null 2>&1 || {
        $sudo rm -rf "$folder/storage" "$folder/run"
        storage vfs
        run buildah from --name probe scratch >/dev/null
    }
    run buildah rm probe >/dev/null
fi

run buildah inspect --type image localhost/uni-api-debian >/dev/null 2>&1 && exit 0
echo "Making the base image of the tests out of Debian's packages; this takes a minute or two."
root=$folder/root
$sudo rm -rf "$root"
$sudo debootstrap --variant=minbase bookworm "$root" "$mirror" >"$folder/debootstrap.log" 2>&1 || {
    tail -5 "$folder/debootstrap.log" >&2
    exit 1
}
# As in the slim images of Debian: neither manuals nor translations nor lists of packages.
$sudo find "$root/var/lib/apt/lists" "$root/var/cache/apt" "$root/var/log" "$root/usr/share/man" \
    "$root/usr/share/doc" "$root/usr/share/locale" "$root/usr/share/info" -mindepth 1 -delete
container=$(run buildah from scratch)
run buildah add --quiet "$container" "$root" / >/dev/null
run buildah config --cmd bash "$container"
run buildah commit --quiet "$container" localhost/uni-api-debian >/dev/null
run buildah rm "$container" >/dev/null
$sudo rm -rf "$root"
