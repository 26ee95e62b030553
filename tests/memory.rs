//! What a provider key costs while nothing happens to it. A test of its own, because it reads the
//! memory of its whole process.

#![cfg(target_os = "linux")]

use layers::policy::{ChannelName, Fingerprint};
use layers::ports::{Credential, Secret};
use uni_api::state::Runtime;
use uni_api::state::keys::KeySettings;

const KEYS: usize = 300_000;

/// Resident bytes of this process.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("the status of this process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its resident memory");
    let kib: usize = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number");
    kib << 10
}

fn fingerprint(at: usize) -> Fingerprint {
    Fingerprint::new(&format!("{at:016x}"))
}

/// Keys as providers give them out, fifty letters long.
fn secrets() -> Vec<Credential> {
    let key = |at| format!("sk-proj-0123456789abcdefghijklmnopqrstuvwxyz-{at:06}");
    (0..KEYS).map(|at| Secret::new(&key(at), fingerprint(at)).into()).collect()
}

/// Text and fingerprint included. An order of `smart_round_robin` adds eight bytes.
///
/// Promises: `keys-smart-large`.
#[test]
fn an_idle_key_of_a_large_pool_costs_less_than_two_hundred_bytes() {
    let runtime = Runtime::new(None);
    let settings = KeySettings::default();
    // What building a pool leaves over for a while is there for the second one, and does not count.
    let first = runtime.keys(&ChannelName::from("first"), settings, secrets());
    let before = resident();

    let pool = runtime.keys(&ChannelName::from("second"), settings, secrets());

    let each = resident().saturating_sub(before) / KEYS;
    assert_eq!((first.count(), pool.count()), (KEYS, KEYS));
    assert!(each < 200, "{each} bytes");
    assert!(each > 150, "{each} bytes are too few to be believed");
}
