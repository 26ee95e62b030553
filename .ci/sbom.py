"""Prints what a release is made of, in CycloneDX's form (1.5): sbom.py

That is what Cargo.lock pins of what the program is built with; crates that tests alone use are not in it.
"""

import json
import subprocess

COMMAND = ["cargo", "metadata", "--locked", "--format-version", "1"]


def main():
    told = json.loads(subprocess.run(COMMAND, capture_output=True, check=True).stdout)
    packages = {package["id"]: package for package in told["packages"]}
    nodes = {node["id"]: node for node in told["resolve"]["nodes"]}
    root = told["resolve"]["root"]

    def needs(node):
        """What a crate is built with: what only its tests need has the kind `dev` alone."""
        return [dep["pkg"] for dep in node["deps"] if any(kind["kind"] != "dev" for kind in dep["dep_kinds"])]

    seen, waiting = {}, [root]
    while waiting:
        one = waiting.pop()
        if one not in seen:
            seen[one] = needs(nodes[one])
            waiting.extend(seen[one])

    def reference(one):
        return f"pkg:cargo/{packages[one]['name']}@{packages[one]['version']}"

    def component(one):
        package = packages[one]
        licence = package["license"]
        return {
            "type": "application" if one == root else "library",
            "bom-ref": reference(one),
            "name": package["name"],
            "version": package["version"],
            "purl": reference(one),
            **({"licenses": [{"expression": licence.replace("/", " OR ")}]} if licence else {}),
        }

    ordered = sorted(seen, key=reference)
    print(json.dumps({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(root)},
        "components": [component(one) for one in ordered if one != root],
        "dependencies": [
            {"ref": reference(one), "dependsOn": sorted({reference(need) for need in seen[one]})} for one in ordered
        ],
    }, indent=1))


main()
