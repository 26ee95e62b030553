"""Checks Kubernetes' objects: objects.py FILE... with a stream of YAML documents each.

Objects of Kubernetes itself are checked by its schemas, strictly, of the oldest and the newest version that there
are here; those of operators by their own (`../node/custom.js`). An object that none of them knows is an error.
The last line says how many there were.
"""

import json
import pathlib
import subprocess
import sys

import kubernetes_validate
import yaml

VERSIONS = kubernetes_validate.utils.all_versions()
CUSTOM = pathlib.Path(__file__).resolve().parent.parent / "node/custom.js"
OPERATORS = ("gateway.networking.k8s.io/", "monitoring.coreos.com/")


def complaints(one):
    """What is wrong with an object of Kubernetes itself."""
    for version in (VERSIONS[0], VERSIONS[-1]):
        try:
            kubernetes_validate.validate(one, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{version}: {'.'.join(map(str, error.path))}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield error.message


def main(files):
    objects = [one for file in files for one in yaml.safe_load_all(pathlib.Path(file).read_text()) if one]
    custom = [one for one in objects if one["apiVersion"].startswith(OPERATORS)]
    wrong = [
        f"{one['kind']} {one['metadata']['name']}: {what}" for one in objects if one not in custom for what in complaints(one)
    ]
    told = subprocess.run(["node", str(CUSTOM)], input=json.dumps(custom), text=True, capture_output=True, check=False)
    wrong += told.stdout.splitlines()
    if told.returncode:
        wrong.append(told.stderr.strip() or "node failed")
    print("\n".join([*wrong, f"{len(objects)} objects, {len(custom)} of operators, Kubernetes {VERSIONS[0]} and {VERSIONS[-1]}"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
