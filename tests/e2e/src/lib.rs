//! The product from outside: real kubectl runs the plugin against a real cluster, and what it says is compared with what was done to
//! the cluster and with what others (kubectl, the audit log, `ip`, `nft`) say of it.

pub mod audit;
pub mod benches;
pub mod bundled;
pub mod capture;
pub mod capture_file;
pub mod capturing;
pub mod catalogue;
pub mod churn;
pub mod connect_proxy;
pub mod credential_plugin;
pub mod cutting_proxy;
pub mod doctor;
pub mod effect;
pub mod fault;
pub mod flood;
pub mod helpers;
pub mod lab;
pub mod ledger;
pub mod manifests;
pub mod matrix;
pub mod meter;
pub mod printed;
pub mod runner;
pub mod shop;
pub mod stream;
pub mod tcpdump;
pub mod terminal;
pub mod traffic;
pub mod tshark;
pub mod verify;
pub mod victim;
pub mod wireshark;
