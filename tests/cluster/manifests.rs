//! The manifests, held against what they promise and against each other.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::objects::{container, list, object, objects};

fn pod() -> &'static Value {
    &object("Deployment")["spec"]["template"]
}

#[test]
fn there_is_never_more_than_one_process_on_the_volume() {
    let spec = &object("Deployment")["spec"];

    assert_eq!((&spec["replicas"], &spec["strategy"]), (&json!(1), &json!({ "type": "Recreate" })));
    assert_eq!(object("PersistentVolumeClaim")["spec"]["accessModes"], json!(["ReadWriteOnce"]));
}

#[test]
fn the_pod_may_do_what_the_restricted_standard_allows_and_nothing_more() {
    let spec = &pod()["spec"];
    let (whole, one) = (&spec["securityContext"], &container()["securityContext"]);

    assert_eq!(whole["runAsNonRoot"], true);
    assert!(whole["runAsUser"].as_u64().unwrap() > 0 && whole["runAsGroup"].as_u64().unwrap() > 0);
    assert_eq!(whole["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(one["allowPrivilegeEscalation"], false);
    assert_eq!(one["readOnlyRootFilesystem"], true);
    assert_eq!(one["capabilities"], json!({ "drop": ["ALL"] }));
    assert_eq!(spec["automountServiceAccountToken"], false);
    for refused in ["hostNetwork", "hostPID", "hostIPC", "initContainers", "serviceAccountName"] {
        assert!(spec[refused].is_null(), "{refused}");
    }
    assert!(
        one["privileged"].is_null() && list(&container()["ports"]).all(|port| port["hostPort"].is_null())
    );
    let kinds = list(&spec["volumes"]).flat_map(|volume| volume.as_object().unwrap().keys());
    let kinds: BTreeSet<&str> = kinds.map(String::as_str).collect();
    assert_eq!(kinds, BTreeSet::from(["name", "persistentVolumeClaim", "secret"]));
    assert!(container()["resources"]["limits"]["memory"].is_string(), "memory is bounded");
}

#[test]
fn no_secret_lies_in_the_manifests() {
    for map in objects().iter().filter(|one| one["kind"] == "ConfigMap") {
        let files: Vec<&str> = map["data"].as_object().unwrap().keys().map(String::as_str).collect();
        assert!(files.iter().all(|name| name.ends_with(".json")), "{files:?}");
        assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    }
    assert!(objects().iter().all(|one| one["kind"] != "Secret"), "a Secret is made by who has it");
    for variable in list(&container()["env"]) {
        let name = variable["name"].as_str().unwrap();
        let secret =
            ["KEY", "PASSWORD", "SECRET", "TOKEN", "URL", "CONTENT"].iter().any(|word| name.contains(word));
        assert!(!secret, "{name} would stand in clear");
    }
    let text = objects().iter().map(Value::to_string).collect::<String>();
    assert!(!text.contains("sk-"), "something looks like a key");
}

/// Labels that select others are part of those that the others have.
fn selects(selector: &Value, labels: &Value) -> bool {
    selector
        .as_object()
        .is_some_and(|all| !all.is_empty() && all.iter().all(|(name, value)| labels[name] == *value))
}

#[test]
fn every_name_that_an_object_has_of_another_leads_to_it() {
    let (service, labels) = (object("Service"), &pod()["metadata"]["labels"]);
    let ports: Vec<&Value> = list(&container()["ports"]).collect();
    let port_of_pod = |name: &Value| ports.iter().any(|port| port["name"] == *name);
    let port_of_service = |name: &Value| {
        list(&service["spec"]["ports"]).any(|port| port["name"] == *name || port["port"] == *name)
    };

    assert!(selects(&object("Deployment")["spec"]["selector"]["matchLabels"], labels));
    assert!(selects(&service["spec"]["selector"], labels));
    assert!(list(&service["spec"]["ports"]).all(|port| port_of_pod(&port["targetPort"])));
    let policy = &object("NetworkPolicy")["spec"];
    assert!(selects(&policy["podSelector"]["matchLabels"], labels));
    let open: Vec<&Value> =
        list(&policy["ingress"]).flat_map(|rule| list(&rule["ports"])).map(|port| &port["port"]).collect();
    let listened: Vec<&Value> = ports.iter().map(|port| &port["containerPort"]).collect();
    assert_eq!(open, listened);

    let claim = &object("PersistentVolumeClaim")["metadata"]["name"];
    assert!(
        list(&pod()["spec"]["volumes"]).any(|volume| volume["persistentVolumeClaim"]["claimName"] == *claim)
    );
    let volumes: Vec<&Value> = list(&pod()["spec"]["volumes"]).map(|volume| &volume["name"]).collect();
    let mounted: Vec<&Value> = list(&container()["volumeMounts"]).map(|mount| &mount["name"]).collect();
    assert_eq!(volumes, mounted);

    let name = &service["metadata"]["name"];
    let behind = &object("Ingress")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"];
    assert!(behind["name"] == *name && port_of_service(&behind["port"]["name"]), "{behind}");
    let behind = &object("HTTPRoute")["spec"]["rules"][0]["backendRefs"][0];
    assert!(behind["name"] == *name && port_of_service(&behind["port"]), "{behind}");

    let monitor = &object("ServiceMonitor")["spec"];
    assert!(selects(&monitor["selector"]["matchLabels"], &service["metadata"]["labels"]));
    assert!(port_of_service(&monitor["endpoints"][0]["port"]));
    // The alerts know the job by this name.
    let job = &service["metadata"]["labels"][monitor["jobLabel"].as_str().unwrap()];
    assert_eq!(job, "uni-api");
    let spaces: BTreeSet<&str> =
        objects().iter().filter_map(|one| one["metadata"]["namespace"].as_str()).collect();
    assert_eq!(spaces, BTreeSet::from(["uni-api"]));
}

#[test]
fn metrics_are_for_the_namespace_of_prometheus_alone() {
    let rules = object("NetworkPolicy")["spec"]["ingress"].as_array().unwrap();
    let metrics =
        &list(&container()["ports"]).find(|port| port["name"] == "metrics").unwrap()["containerPort"];
    for rule in rules.iter().filter(|rule| list(&rule["ports"]).any(|port| port["port"] == *metrics)) {
        let from: Vec<&Value> = list(&rule["from"]).collect();

        let [Value::Object(peer)] = from[..] else { panic!("{rule}") };
        assert_eq!(peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], "monitoring");
    }
}

/// `1h`, `90s` and the like.
fn seconds(text: &str) -> u64 {
    let (number, unit) = text.split_at(text.len() - 1);
    number.parse::<u64>().unwrap()
        * match unit {
            "h" => 3600,
            "m" => 60,
            _ => 1,
        }
}

/// A whole request may take an hour; the largest body has 64 MiB.
#[test]
fn what_stands_before_it_keeps_neither_chunks_nor_long_answers_nor_large_bodies_back() {
    let notes = &object("Ingress")["metadata"]["annotations"];
    let note = |name: &str| {
        let value = &notes[format!("nginx.ingress.kubernetes.io/{name}")];
        value.as_str().unwrap_or_else(|| panic!("{name} in {notes}")).to_owned()
    };
    assert_eq!((note("proxy-buffering"), note("proxy-request-buffering")), ("off".into(), "off".into()));
    for timeout in ["proxy-read-timeout", "proxy-send-timeout"] {
        assert!(note(timeout).parse::<u64>().unwrap() >= 3600, "{timeout}");
    }
    let largest = uni_api::config::Environment::default().max_body_bytes;
    assert_eq!(note("proxy-body-size"), format!("{}m", largest >> 20));

    let timeouts = &object("HTTPRoute")["spec"]["rules"][0]["timeouts"];
    for name in ["request", "backendRequest"] {
        assert!(seconds(timeouts[name].as_str().unwrap()) >= 3600, "{name}");
    }
}
