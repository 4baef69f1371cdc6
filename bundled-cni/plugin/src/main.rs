//! The process around [`netcheck_cni::run`].

use netcheck_cni::{Code, Failure, run};
use std::{
    env,
    io::{stderr, stdin, stdout},
    panic,
    process::ExitCode,
};

fn main() -> ExitCode {
    // A runtime reads stdout, whatever happens.
    panic::set_hook(Box::new(|panic| {
        let failure = Failure::new(Code::BUG, format!("a bug of this plugin, please report it: {panic}"));
        let json = failure.to_json("1.1.0");
        let _ = std::io::Write::write_all(&mut stdout(), json.to_string().as_bytes());
        // The release aborts on a panic, and a runtime would see that no plugin answered.
        std::process::exit(1);
    }));
    let is_success = run(|name| env::var_os(name), stdin().lock(), &mut stdout(), &mut stderr());
    ExitCode::from(u8::from(!is_success))
}
