"""Builds the program for a target and puts it into the folder of a release: archive.py TRIPLE [BINARY]

Two files: the program alone, uni-api-SYSTEM-MACHINE-VERSION, and a .tar.gz of it with its licences and examples. A BINARY that is
there already is not built. For another processor of Linux the cross compiler of Debian is used where it is installed.
What is packed depends on the files alone: the same ones make the same bytes.
"""

import gzip
import io
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
# In the order in which the triple names them.
SYSTEMS = {"unknown-linux-gnu": "linux", "apple-darwin": "macos", "unknown-freebsd": "freebsd"}
BESIDE = ["README.md", "LICENSE-MIT", "LICENSE-APACHE", "api.yaml.example", "deploy/systemd/uni-api.service",
          "deploy/systemd/uni-api.sysusers"]


def version():
    """The version that Cargo.toml gives."""
    lines = (ROOT / "Cargo.toml").read_text().splitlines()
    return next(line.split('"')[1] for line in lines if line.startswith("version = "))


def name(triple):
    """What the program of this target is called."""
    machine, _, system = triple.partition("-")
    if system not in SYSTEMS:
        sys.exit(f"{triple}: releases are for {', '.join(SYSTEMS)}")
    # Apple's own word for its processors.
    machine = "arm64" if (machine, system) == ("aarch64", "apple-darwin") else machine
    return f"uni-api-{SYSTEMS[system]}-{machine}-{version()}"


def build(triple):
    """Compiles the program; gives where it is."""
    environment = dict(os.environ)
    host = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    if f"host: {triple}" not in host and triple.endswith("linux-gnu"):
        compiler = triple.replace("-unknown", "") + "-gcc"
        if not shutil.which(compiler):
            sys.exit(f"{compiler} is missing; on Debian or Ubuntu: sudo apt-get install -y gcc-{triple.replace('-unknown', '')}")
        environment[f"CARGO_TARGET_{triple.upper().replace('-', '_')}_LINKER"] = compiler
        print(f"Cross-compiling with {compiler}: what comes out is not run here.")
    subprocess.run(["cargo", "build", "--locked", "--release", "--bin", "uni-api", "--target", triple], cwd=ROOT,
                   env=environment, check=True)
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / triple / "release" / "uni-api"


def pack(program, called, folder):
    """Writes the program and its archive."""
    folder.mkdir(parents=True, exist_ok=True)
    alone = folder / called
    shutil.copyfile(program, alone)
    alone.chmod(0o755)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in [program, *(ROOT / file for file in BESIDE)]:
            inside = "uni-api" if path == program else path.name
            entry = tarfile.TarInfo(f"{called}/{inside}")
            entry.size = path.stat().st_size
            entry.mode = 0o755 if path == program else 0o644
            with open(path, "rb") as file:
                archive.addfile(entry, file)
    with open(folder / f"{called}.tar.gz", "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as zipped:
        zipped.write(packed.getvalue())


def main():
    triple, *given = sys.argv[1:]
    called = name(triple)
    program = pathlib.Path(given[0]) if given and given[0] else build(triple)
    folder = pathlib.Path(os.environ.get("DIST") or ROOT / "dist")
    pack(program, called, folder)
    print(f"Packed {folder / called} and its .tar.gz.")


main()
