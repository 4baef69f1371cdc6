//! Configurations that runtimes write, and those that nobody should.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn config(value: &Value) -> Result<Config, Failure> {
    Config::from_value(Version::NEWEST, value.clone())
}

#[test]
fn keys_of_others_are_left_alone() {
    let config = config(&json!({
        "cniVersion": "1.1.0", "name": "netcheck", "type": "netcheck-cni", "capabilities": {"ips": true}, "unknown": [1],
        "ipam": {}, "mtu": 0, "runtimeConfig": {"portMappings": []}
    }))
    .unwrap();
    assert_eq!(
        (config.ipam.clone(), config.mtu, config.role),
        (Ipam::Own, None, Role::Network)
    );
    assert_eq!(config.data_dir, PathBuf::from("/run/netcheck-cni"));
    assert_eq!(config.limit(1500), 1500);
}

#[test]
fn known_keys_are_understood() {
    let config = config(&json!({
        "name": "n", "type": "loopback", "ipam": {"type": "host-local"}, "mtu": 1400, "dataDir": "/tmp/x",
        "dns": {"nameservers": ["10.96.0.10"]}, "runtimeConfig": {"ips": ["10.244.1.9/24", "fd00::9"], "mac": "0a:00:00:00:00:09"},
        "cni.dev/valid-attachments": [{"containerID": "a", "ifname": "eth0"}], "cni.dev/attachments": null
    }))
    .unwrap();
    assert_eq!(config.ipam, Ipam::Delegate("host-local".to_owned()));
    assert_eq!((config.limit(1500), config.limit(1300)), (1400, 1300));
    let ips: [IpAddr; 2] = ["10.244.1.9".parse().unwrap(), "fd00::9".parse().unwrap()];
    assert_eq!(config.wanted_ips, ips);
    assert_eq!(config.wanted_mac.unwrap().to_string(), "0a:00:00:00:00:09");
    assert_eq!(config.valid.unwrap().len(), 1);
    assert_eq!(config.role, Role::Loopback);
    assert_eq!(config.dns.unwrap().nameservers, ["10.96.0.10"]);
}

#[test]
fn addresses_are_asked_for_in_two_places() {
    let ips = |runtime: Value, args: Value| {
        let value = json!({ "name": "n", "runtimeConfig": runtime, "args": args });
        config(&value).map(|config| config.wanted_ips)
    };
    let (one, other): (IpAddr, IpAddr) = ("10.244.1.9".parse().unwrap(), "10.244.1.8".parse().unwrap());
    let asked = json!({ "cni": { "ips": ["10.244.1.8/24"], "labels": [] }, "others": 5 });
    assert_eq!(ips(Value::Null, asked.clone()).unwrap(), [other]);
    assert_eq!(ips(json!({ "ips": [] }), asked.clone()).unwrap(), [other]);
    assert_eq!(ips(json!({ "ips": ["10.244.1.9"] }), asked).unwrap(), [one]);
    assert_eq!(ips(Value::Null, json!({ "cni": {} })).unwrap(), [] as [IpAddr; 0]);
    let failure = ips(Value::Null, json!({ "cni": { "ips": ["x"] } })).unwrap_err();
    assert_eq!(failure.code, Code::CONFIG);
    assert!(failure.to_string().contains("args.cni.ips"), "{failure}");
}

#[test]
fn wrong_shapes_have_their_code() {
    for (value, code) in [
        (json!({}), Code::CONFIG),
        (json!({"name": "a/b"}), Code::CONFIG),
        (json!({"name": "a", "mtu": "1500"}), Code::CONFIG),
        (json!({"name": "a", "mtu": -1}), Code::CONFIG),
        (json!({"name": "a", "mtu": 60}), Code::UNSUPPORTED),
        (json!({"name": "a", "dataDir": "relative"}), Code::CONFIG),
        (json!({"name": "a", "ipam": {"type": "../x"}}), Code::CONFIG),
        (json!({"name": "a", "ipam": "own"}), Code::CONFIG),
        (json!({"name": "a", "dns": 5}), Code::CONFIG),
        (json!({"name": "a", "runtimeConfig": {"ips": ["x"]}}), Code::CONFIG),
        (json!({"name": "a", "runtimeConfig": {"mac": "x"}}), Code::CONFIG),
        (
            json!({"name": "a", "runtimeConfig": {"mac": "01:00:5e:00:00:01"}}),
            Code::CONFIG,
        ),
        (json!({"name": "a", "cni.dev/valid-attachments": [1]}), Code::CONFIG),
    ] {
        assert_eq!(config(&value).unwrap_err().code, code, "{value}");
    }
    for (input, code) in [
        (&b""[..], Code::DECODE),
        (b"{", Code::DECODE),
        (b"\xff\xfe", Code::DECODE),
        (b"{\"name\": \"\xff\"}", Code::DECODE),
        (b"[]", Code::CONFIG),
        (b"{\"cniVersion\": 1}", Code::CONFIG),
        (&vec![b' '; LONGEST + 1], Code::DECODE),
        ("[".repeat(100_000).as_bytes(), Code::DECODE),
    ] {
        assert_eq!(read(input).unwrap_err().code, code);
    }
}

/// JSON that is near to a configuration, so that the shapes behind the syntax are reached as well.
fn near_config() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(vec!["1.0.0", "eth0", "10.0.0.1/32", "fe80::1", "0a:58:00:00:00:01"])
            .prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "cniVersion",
        "name",
        "type",
        "ipam",
        "mtu",
        "dns",
        "dataDir",
        "runtimeConfig",
        "args",
        "cni",
        "ips",
        "mac",
        "prevResult",
        "interfaces",
        "interface",
        "address",
        "gateway",
        "routes",
        "dst",
        "gw",
        "sandbox",
        "cni.dev/valid-attachments",
        "containerID",
        "ifname",
    ]);
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(input in prop::collection::vec(any::<u8>(), 0..512)) {
        if let Err(failure) = read(&input) {
            prop_assert!([Code::DECODE, Code::CONFIG].contains(&failure.code));
        }
    }

    #[test]
    fn any_json_is_read_or_refused(value in near_config()) {
        let text = value.to_string();
        if let Ok((value, _)) = read(text.as_bytes()) {
            match Config::from_value(Version::NEWEST, value) {
                Err(failure) => prop_assert!([Code::UNSUPPORTED, Code::CONFIG].contains(&failure.code)),
                Ok(config) => { let _ = config.previous(); }
            }
        }
    }
}
