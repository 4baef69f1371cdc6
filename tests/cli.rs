//! The command line as users and scripts meet it: the real binary, without a cluster or with a fake one on loopback.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot be set up has failed"
)]

#[path = "cli/bad_input.rs"]
mod bad_input;
#[path = "cli/cni.rs"]
mod cni;
#[path = "cli/completion.rs"]
mod completion;
#[path = "cli/credentials.rs"]
mod credentials;
#[path = "cli/fake_api.rs"]
mod fake_api;
#[path = "cli/help.rs"]
mod help;
#[path = "cli/interrupt.rs"]
mod interrupt;
#[path = "cli/output.rs"]
mod output;
#[path = "cli/plugin.rs"]
mod plugin;
#[path = "cli/proxy.rs"]
mod proxy;
#[path = "cli/rbac.rs"]
mod rbac;
#[path = "cli/shop.rs"]
mod shop;
#[path = "cli/told_before.rs"]
mod told_before;
