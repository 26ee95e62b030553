//! The objects that the manifests render to.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::OnceLock;

use serde::Deserialize as _;
use serde_json::Value;

use crate::{read, root, run};

/// The parts of `deploy/kubernetes`, each a folder that can be applied alone.
pub(crate) const PARTS: [&str; 7] =
    ["base", "network-policy", "ingress", "http-route", "service-monitor", "prometheus-rule", "dashboards"];

/// What `kubectl kustomize` makes of a folder of `deploy/kubernetes`.
pub(crate) fn rendered(part: &str) -> String {
    let folder = format!("deploy/kubernetes/{part}");
    let output =
        std::process::Command::new("kubectl").args(["kustomize", &folder]).current_dir(root()).output();
    let output = output.expect("kubectl can be started; install it with: make deps-test");
    assert!(output.status.success(), "{folder}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The documents of a YAML text.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    let read = |document| Value::deserialize(document).unwrap_or_else(|error| panic!("{error}: {text}"));
    serde_yaml::Deserializer::from_str(text).map(read).filter(|value| !value.is_null()).collect()
}

/// All objects of all parts together.
pub(crate) fn objects() -> &'static [Value] {
    static OBJECTS: OnceLock<Vec<Value>> = OnceLock::new();
    OBJECTS.get_or_init(|| documents(&rendered("everything")))
}

/// The only object of a kind.
pub(crate) fn object(kind: &str) -> &'static Value {
    let found: Vec<&Value> = objects().iter().filter(|one| one["kind"] == kind).collect();
    let [one] = found[..] else { panic!("{} objects are a {kind}", found.len()) };
    one
}

/// The container of the pod.
pub(crate) fn container() -> &'static Value {
    let containers = object("Deployment")["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    let [one] = &containers[..] else { panic!("one container") };
    one
}

/// A list of a JSON value; empty where there is none.
pub(crate) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// What the schemas say of objects in this YAML.
fn schemas(name: &str, text: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join(name);
    std::fs::write(&file, text).unwrap();
    crate::installed("node/node_modules/.installed");
    let python = crate::installed("python/.venv/bin/python");
    run(python, &["tests/cluster/python/objects.py", file.to_str().unwrap()])
}

#[test]
fn every_object_passes_the_schemas_of_the_oldest_and_the_newest_kubernetes_and_of_the_operators() {
    let texts: Vec<String> =
        PARTS.iter().map(|part| rendered(part)).chain([rendered("everything")]).collect();

    let (valid, printed) = schemas("objects.yaml", &texts.join("\n---\n"));

    assert!(valid, "{printed}");
    // Each part, and once more all together.
    let count = 2 * objects().len();
    assert!(printed.contains(&format!("{count} objects, 6 of operators")), "{printed}");
}

#[test]
fn an_object_that_no_schema_knows_or_that_has_an_unknown_field_is_an_error() {
    let deployment = read("deploy/kubernetes/base/deployment.yaml");
    let route = read("deploy/kubernetes/http-route/http-route.yaml");
    let monitor = read("deploy/kubernetes/service-monitor/service-monitor.yaml");
    let broken = [
        (deployment.replace("apps/v1", "apps/v9"), "Couldn't find schema for kind Deployment"),
        (deployment.replace("replicas: 1", "replica: 1"), "'replica' was unexpected"),
        (deployment.replace("periodSeconds: 10", "periodSeconds: often"), "is not of type 'integer'"),
        (deployment.replace("apps/v1", "example.com/v1"), "Couldn't find schema"),
        (route.replace("kind: HTTPRoute", "kind: HTTPRoad"), "no schema for gateway.networking.k8s.io/v1"),
        (route.replace("timeouts:", "timeout:"), "must NOT have additional properties"),
        (route.replace("1h", "an hour"), "must match pattern"),
        (monitor.replace("endpoints:", "endpoint:"), "must have required property 'endpoints'"),
    ];
    // Each with a name of its own, so that they can be told apart.
    let named = |(n, (text, _)): (usize, &(String, &str))| {
        text.replacen("name: uni-api", &format!("name: no-{n}"), 1)
    };
    let texts: Vec<String> = broken.iter().enumerate().map(named).collect();

    let (valid, printed) = schemas("broken.yaml", &texts.join("\n---\n"));

    assert!(!valid);
    for (n, (_, told)) in broken.iter().enumerate() {
        let found = printed.lines().any(|line| line.contains(&format!(" no-{n}: ")) && line.contains(told));
        assert!(found, "no-{n}: {told}: {printed}");
    }
}

#[test]
fn every_file_of_the_manifests_is_part_of_what_was_checked() {
    let mut used = BTreeSet::new();
    let folder = root().join("deploy/kubernetes");
    for part in PARTS.into_iter().chain(["everything"]) {
        let kustomization = folder.join(part).join("kustomization.yaml");
        let [one] = &documents(&std::fs::read_to_string(&kustomization).unwrap())[..] else {
            panic!("{part}")
        };
        used.insert(kustomization);
        used.extend(list(&one["resources"]).map(|name| folder.join(part).join(name.as_str().unwrap())));
    }
    let all = documents(&read("deploy/kubernetes/everything/kustomization.yaml"));
    let together: Vec<&str> =
        list(&all[0]["bases"]).filter_map(|base| base.as_str()?.strip_prefix("../")).collect();

    assert_eq!(together, PARTS);
    assert_eq!(crate::files("deploy/kubernetes"), used.into_iter().collect::<Vec<_>>());
}

/// What kubectl 1.20 reads: a folder is a base, and files alone are resources.
#[test]
fn the_kustomizations_keep_to_what_the_oldest_kubectl_reads_too() {
    let known = [
        "apiVersion",
        "kind",
        "namespace",
        "resources",
        "bases",
        "images",
        "generatorOptions",
        "configMapGenerator",
    ];
    let mut files = crate::files("deploy/kubernetes");
    files.extend(crate::files("grafana"));
    files.retain(|file| file.ends_with("kustomization.yaml"));
    assert!(files.len() > PARTS.len());

    for file in files {
        let [one] = &documents(&std::fs::read_to_string(&file).unwrap())[..] else {
            panic!("{}", file.display())
        };
        for field in one.as_object().unwrap().keys() {
            assert!(known.contains(&field.as_str()), "{}: {field}", file.display());
        }
        for resource in list(&one["resources"]) {
            let path = file.parent().unwrap().join(resource.as_str().unwrap());
            assert!(path.is_file(), "{}: {resource} is a file", file.display());
        }
        for generator in list(&one["configMapGenerator"]) {
            let fields: Vec<&str> = generator.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(fields, ["name", "files"], "{}", file.display());
        }
    }
}

#[test]
fn what_kubectl_keeps_of_an_object_fits_into_an_annotation() {
    for object in objects() {
        let length = object.to_string().len();

        assert!(
            length < 256 * 1024 * 9 / 10,
            "{} {}: {length} bytes",
            object["kind"],
            object["metadata"]["name"]
        );
    }
}
