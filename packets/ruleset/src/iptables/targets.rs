//! What iptables' rules do.

use super::{Reader, matches::hex};
use crate::{
    model::{Action, Bits, Expr, Jump, Step},
    value::Value,
};
use std::net::IpAddr;

/// Targets that change nothing that is looked at here.
const HARMLESS: [&str; 19] = [
    "AUDIT",
    "CHECKSUM",
    "CLASSIFY",
    "CONNSECMARK",
    "DSCP",
    "ECN",
    "HL",
    "IDLETIMER",
    "LED",
    "LOG",
    "NFLOG",
    "RATEEST",
    "SECMARK",
    "SET",
    "TCPMSS",
    "TCPOPTSTRIP",
    "TOS",
    "TRACE",
    "TTL",
];

/// Reads the target and its options, to the rule's end.
pub(super) fn read(reader: &mut Reader<'_>, is_goto: bool, steps: &mut Vec<Step>) {
    let name = reader.take();
    let from = reader.at.min(reader.words.len());
    let options = Options(&reader.words[from..]);
    reader.at = reader.words.len();
    let action = if is_goto {
        Action::Go(Jump::Goto(name.into()))
    } else if HARMLESS.contains(&name) {
        return;
    } else {
        let known = action(name, &options, reader.is_v6);
        known.unwrap_or_else(|| Action::Unknown(format!("-j {name} {}", options.0.join(" ")).trim().to_owned()))
    };
    steps.push(Step::Do(action));
}

/// A target's options.
struct Options<'a>(&'a [String]);

impl Options<'_> {
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|word| word == name)
    }

    fn value(&self, name: &str) -> Option<&str> {
        let at = self.0.iter().position(|word| word == name)?;
        self.0.get(at + 1).map(String::as_str)
    }
}

fn action(name: &str, options: &Options<'_>, is_v6: bool) -> Option<Action> {
    Some(match name {
        "ACCEPT" => Action::Go(Jump::Accept),
        "DROP" => Action::Go(Jump::Drop),
        "RETURN" => Action::Go(Jump::Return),
        "REJECT" => Action::Reject,
        "MASQUERADE" => Action::Masquerade,
        "SNAT" => Action::Snat,
        "DNAT" => {
            let (address, port) = place(options.value("--to-destination")?, is_v6)?;
            Action::Dnat { address, port }
        }
        "REDIRECT" => Action::Redirect(match options.value("--to-ports") {
            Some(port) => Some(value(u128::from(port.parse::<u16>().ok()?))),
            None => None,
        }),
        "MARK" => Action::SetMark(mark(Expr::Mark, options)?),
        "CONNMARK" if options.has("--save-mark") => Action::SetCtMark(copied(Expr::CtMark, Expr::Mark, options)?),
        "CONNMARK" if options.has("--restore-mark") => Action::SetMark(copied(Expr::Mark, Expr::CtMark, options)?),
        "CONNMARK" => Action::SetCtMark(mark(Expr::CtMark, options)?),
        "NOTRACK" => Action::Untrack,
        "CT" if options.has("--notrack") => Action::Untrack,
        // A zone or a helper.
        "CT" => Action::Go(Jump::Continue),
        "QUEUE" | "NFQUEUE" | "TPROXY" | "NETMAP" | "SYNPROXY" | "CLUSTERIP" | "TEE" | "DNPT" | "SNPT" => return None,
        chain => Action::Go(Jump::To(chain.into())),
    })
}

/// `10.0.0.1`, `10.0.0.1:80`, `:80`, `[fd00::1]:80`; `None`: a range, or nothing that is known.
fn place(text: &str, is_v6: bool) -> Option<(Option<Expr>, Option<Expr>)> {
    let (ip, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (ip, rest) = rest.split_once(']')?;
            (ip, rest.strip_prefix(':'))
        }
        None if is_v6 => (text, None),
        None => match text.split_once(':') {
            Some((ip, port)) => (ip, Some(port)),
            None => (text, None),
        },
    };
    let value = |number| Expr::Value(Value::Number(number));
    let address = if ip.is_empty() {
        None
    } else {
        Some(value(Value::address(ip.parse::<IpAddr>().ok()?).number()?))
    };
    let port = match port {
        None => None,
        Some(port) => Some(value(u128::from(port.parse::<u16>().ok()?))),
    };
    Some((address, port))
}

fn bits(kind: Bits, left: Expr, right: Expr) -> Expr {
    Expr::Bits(kind, Box::new(left), Box::new(right))
}

fn value(number: u128) -> Expr {
    Expr::Value(Value::Number(number))
}

/// Every form that there is; iptables-save prints them all as `--set-xmark`.
fn mark(old: Expr, options: &Options<'_>) -> Option<Expr> {
    const ALL: u128 = 0xffff_ffff;
    let parts = |text: &str| match text.split_once('/') {
        Some((value, mask)) => Some((hex(value)?, hex(mask)?)),
        None => Some((hex(text)?, ALL)),
    };
    if let Some(text) = options.value("--set-xmark") {
        let (set, mask) = parts(text)?;
        return Some(bits(Bits::Xor, bits(Bits::And, old, value(ALL & !mask)), value(set)));
    }
    if let Some(text) = options.value("--set-mark") {
        let (set, mask) = parts(text)?;
        return Some(bits(
            Bits::Or,
            bits(Bits::And, old, value(ALL & !(mask | set))),
            value(set),
        ));
    }
    None
}

/// `--nfmask`, `--ctmask` or both as `--mask`: only whole marks, or one mask for both, are known.
fn copied(to: Expr, from: Expr, options: &Options<'_>) -> Option<Expr> {
    const ALL: u128 = 0xffff_ffff;
    let mask = |name| match options.value(name).or_else(|| options.value("--mask")) {
        Some(text) => hex(text),
        None => Some(ALL),
    };
    let (nf, ct) = (mask("--nfmask")?, mask("--ctmask")?);
    if nf != ct {
        return None;
    }
    let kept = bits(Bits::And, to, value(ALL & !nf));
    Some(bits(Bits::Or, kept, bits(Bits::And, from, value(nf))))
}
