//! All ways of one packet.

use super::{
    BRANCHES, DEPTH, QUESTIONS, STEPS,
    evaluate::{Asker, Is, Traveller},
    outcome::{Assumed, Dnat, Outcome, Place, Undecidable, Verdict, Ways},
};
use crate::{
    model::{Action, Base, Expr, Hook, Jump, Ruleset, Step, Table, Text},
    packet::{Packet, State},
    value::{Truth, Value},
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Priorities at which the kernel runs all chains of type nat (`nf_nat_register_fn()`, net/netfilter/nf_nat_core.c): their own order them among
/// themselves only.
const NAT_DESTINATION: i64 = -100;
const NAT_SOURCE: i64 = 100;

/// A base chain that is met.
#[derive(Clone, Copy)]
struct Stop {
    table: usize,
    chain: usize,
    hook: Hook,
    base: Base,
}

/// One way, as far as it has been gone.
#[derive(Clone)]
struct Way {
    traveller: Traveller,
    /// The base chain that it is in or comes to next.
    stop: usize,
    is_inside: bool,
    /// Chain and next rule, innermost last.
    stack: Vec<(usize, usize)>,
    trail: Vec<(usize, usize)>,
    answers: Vec<(usize, usize)>,
    dnat: Option<Dnat>,
    snat: Option<Place>,
    /// A chain of type nat has set up the translation of the hook.
    nat_done: Option<Hook>,
}

/// As many chains of a way are told of: each of its branches carries them along.
const TRAIL: usize = 64;

impl Way {
    fn note(&mut self, chain: (usize, usize)) {
        if self.trail.len() < TRAIL {
            self.trail.push(chain);
        }
    }
}

pub(super) struct Run<'a> {
    ruleset: &'a Ruleset,
    stops: Vec<Stop>,
    open: Vec<Way>,
    ways: Ways,
    steps: usize,
    branches: usize,
}

impl<'a> Run<'a> {
    pub fn new(ruleset: &'a Ruleset, hooks: &[Hook], packet: &Packet) -> Self {
        let is_v6 = packet.destination.is_ipv6();
        let mut stops = Vec::new();
        for hook in hooks {
            let mut of_hook: Vec<Stop> = Vec::new();
            for (number, table) in ruleset.tables.iter().enumerate() {
                if !table.family.sees(is_v6) {
                    continue;
                }
                let bases = table.bases.iter().filter(|(_, base)| base.hook == *hook);
                of_hook.extend(bases.map(|(chain, base)| Stop {
                    table: number,
                    chain: *chain,
                    hook: *hook,
                    base: *base,
                }));
            }
            of_hook.sort_by_key(|stop| order(&stop.base));
            stops.extend(of_hook);
        }
        let traveller = Traveller {
            packet: packet.clone(),
            is_v6,
            hook: hooks.first().copied().unwrap_or(Hook::Prerouting),
            ct_mark: (packet.state == State::New).then_some(0),
            is_snat: false,
        };
        let way = Way {
            traveller,
            stop: 0,
            is_inside: false,
            stack: Vec::new(),
            trail: Vec::new(),
            answers: Vec::new(),
            dnat: None,
            snat: None,
            nat_done: None,
        };
        Self {
            ruleset,
            stops,
            open: vec![way],
            ways: Ways::default(),
            steps: 0,
            branches: 1,
        }
    }

    pub fn all(mut self) -> Result<Ways, Undecidable> {
        while let Some(way) = self.open.pop() {
            self.go(way)?;
        }
        Ok(self.ways)
    }

    /// Follows a way to its end, or until it branches and both branches are put back.
    fn go(&mut self, mut way: Way) -> Result<(), Undecidable> {
        loop {
            if !way.is_inside && !self.enter(&mut way)? {
                if way.stop >= self.stops.len() {
                    self.end(way, Verdict::Accepted);
                    return Ok(());
                }
                continue;
            }
            let stop = self.stops[way.stop];
            let table = &self.ruleset.tables[stop.table];
            let Some((chain, next)) = way.stack.last_mut() else {
                // Out of the base chain: its policy.
                if stop.base.drops {
                    let place = place(table, stop, stop.chain, None);
                    self.end(way, Verdict::Dropped(place));
                    return Ok(());
                }
                leave(&mut way);
                continue;
            };
            let chain = *chain;
            let destination = Value::address(way.traveller.packet.destination);
            let number = table.chains[chain].next(*next, way.traveller.is_v6, destination.number().unwrap_or_default());
            let Some(number) = number else {
                way.stack.pop();
                continue;
            };
            *next = number + 1;
            self.steps += 1;
            if self.steps > STEPS {
                return Err(limit(format!("more than {STEPS} rules are met")));
            }
            match self.rule(way, chain, number)? {
                Some(back) => way = back,
                None => return Ok(()),
            }
        }
    }

    /// Comes to the next base chain; `false`: it is passed by, or there is none.
    fn enter(&mut self, way: &mut Way) -> Result<bool, Undecidable> {
        let Some(stop) = self.stops.get(way.stop).copied() else {
            return Ok(false);
        };
        way.traveller.hook = stop.hook;
        // Translations are decided by the first packet of a connection, and by the first chain that does.
        let is_new = way.traveller.packet.state == State::New;
        if stop.base.is_nat && (!is_new || way.nat_done == Some(stop.hook)) {
            way.stop += 1;
            return Ok(false);
        }
        way.is_inside = true;
        let table = &self.ruleset.tables[stop.table];
        if let Some(why) = &table.unknown {
            let mut without = way.clone();
            leave(&mut without);
            let question = self.ask(why, &table.title())?;
            without.answers.push((question, 0));
            way.answers.push((question, 1));
            self.branch(without)?;
        }
        way.stack.push((stop.chain, 0));
        way.note((stop.table, stop.chain));
        Ok(true)
    }

    fn ask(&mut self, why: &str, place: &str) -> Result<usize, Undecidable> {
        let question = Undecidable {
            expression: why.to_owned(),
            place: place.to_owned(),
        };
        if self.ways.questions.len() >= QUESTIONS {
            return Err(question);
        }
        self.ways.questions.push(question);
        Ok(self.ways.questions.len() - 1)
    }

    fn branch(&mut self, way: Way) -> Result<(), Undecidable> {
        self.branches += 1;
        if self.branches > BRANCHES {
            return Err(limit(format!("more than {BRANCHES} ways for one packet")));
        }
        self.open.push(way);
        Ok(())
    }

    fn end(&mut self, way: Way, verdict: Verdict) {
        let trail = way.trail.iter().map(|(table, chain)| {
            let table = &self.ruleset.tables[*table];
            format!("{} {}", table.title(), table.chains[*chain].name)
        });
        let outcome = Outcome {
            verdict,
            dnat: way.dnat,
            snat: way.snat,
            mark: way.traveller.packet.mark,
            trail: trail.collect(),
        };
        self.ways.ways.push(Assumed {
            outcome,
            answers: way.answers,
        });
    }

    /// Asks of the packet as it is now.
    fn asker<'b>(&'b self, way: &'b Way) -> Asker<'b> {
        Asker {
            traveller: &way.traveller,
            locals: &self.ruleset.locals,
        }
    }

    /// Carries out one rule. The way comes back unless it is over.
    fn rule(&mut self, mut way: Way, chain: usize, number: usize) -> Result<Option<Way>, Undecidable> {
        let ruleset = self.ruleset;
        let stop = self.stops[way.stop];
        let table = &ruleset.tables[stop.table];
        let rule = &table.chains[chain].rules[number];
        let mut matched = Truth::Yes;
        for step in &rule.steps {
            let action = match step {
                Step::If(condition) => {
                    matched = matched.and(self.asker(&way).condition(condition));
                    if matched == Truth::No {
                        return Ok(Some(way));
                    }
                    continue;
                }
                Step::Do(action) => action,
            };
            if matches!(action, Action::Go(Jump::Continue)) {
                continue;
            }
            match std::mem::replace(&mut matched, Truth::Yes) {
                Truth::Unknown(why) => {
                    let question = self.ask(&why, &where_is(table, chain))?;
                    let mut without = way.clone();
                    without.answers.push((question, 0));
                    way.answers.push((question, 1));
                    self.branch(without)?;
                }
                Truth::Chance => self.branch(way.clone())?,
                Truth::Yes | Truth::No => {}
            }
            let act = Act {
                stop,
                table,
                chain,
                number,
            };
            match self.act(way, action, &act)? {
                Some(back) => way = back,
                None => return Ok(None),
            }
            // Whatever else there is to do ends the rule.
            if !matches!(action, Action::SetMark(_) | Action::SetCtMark(_) | Action::Untrack) {
                return Ok(Some(way));
            }
        }
        Ok(Some(way))
    }

    /// `None`: the way is over, or was put back in several branches.
    fn act(&mut self, mut way: Way, action: &Action, act: &Act<'_>) -> Result<Option<Way>, Undecidable> {
        match action {
            Action::Go(jump) => return self.jump(way, jump, act),
            Action::Reject => {
                let place = act.place();
                self.end(way, Verdict::Rejected(place));
                return Ok(None);
            }
            Action::Dispatch(key, map) => {
                let mut jumps: Vec<(Option<&Jump>, Truth)> = Vec::new();
                match self.asker(&way).value(key) {
                    Is::This(value) => jumps.extend(map.get(&value).map(|(jump, truth)| (Some(jump), truth))),
                    Is::Each(values) => {
                        for value in values {
                            match map.get(&value) {
                                Some((jump, truth)) => jumps.push((Some(jump), truth)),
                                None => jumps.push((None, Truth::Yes)),
                            }
                        }
                    }
                    Is::Nothing => {}
                    Is::Unknown(why) => return self.any_of(&way, map.data(), &why, act).map(|()| None),
                }
                return self.dispatch(way, jumps, act);
            }
            Action::Dnat { address, port } => return self.dnat(way, address.as_ref(), port.as_ref(), act),
            Action::Redirect(port) => {
                let port = match port.as_ref().map(|port| self.asker(&way).value(port)) {
                    None => way.traveller.packet.destination_port,
                    Some(Is::This(value)) => value
                        .number()
                        .and_then(|port| u16::try_from(port).ok())
                        .unwrap_or_default(),
                    Some(_) => return Err(act.unknown("redirect")),
                };
                translate(&mut way, Dnat { to: None, port });
                leave(&mut way);
            }
            Action::Snat | Action::Masquerade => {
                way.snat = Some(act.place());
                way.traveller.is_snat = true;
                way.nat_done = Some(act.stop.hook);
                leave(&mut way);
            }
            Action::SetMark(value) => match self.asker(&way).value(value) {
                Is::This(value) => {
                    way.traveller.packet.mark = value
                        .number()
                        .and_then(|mark| u32::try_from(mark).ok())
                        .unwrap_or_default();
                }
                Is::Nothing => return Ok(Some(way)),
                Is::Each(_) | Is::Unknown(_) => return Err(act.unknown("a mark")),
            },
            Action::SetCtMark(value) => {
                way.traveller.ct_mark = match self.asker(&way).value(value) {
                    Is::This(value) => value.number().and_then(|mark| u32::try_from(mark).ok()),
                    _ => None,
                };
            }
            Action::Untrack => way.traveller.packet.state = State::Untracked,
            Action::Unknown(why) => return Err(act.unknown(why)),
        }
        Ok(Some(way))
    }

    fn jump(&mut self, mut way: Way, jump: &Jump, act: &Act<'_>) -> Result<Option<Way>, Undecidable> {
        match jump {
            Jump::Continue => {}
            Jump::Accept => leave(&mut way),
            Jump::Drop => {
                let place = act.place();
                self.end(way, Verdict::Dropped(place));
                return Ok(None);
            }
            Jump::Return => {
                way.stack.pop();
            }
            Jump::To(name) | Jump::Goto(name) => {
                let Some(chain) = act.table.by_name.get(&**name).copied() else {
                    return Err(act.unknown(name));
                };
                if matches!(jump, Jump::Goto(_)) {
                    way.stack.pop();
                }
                if way.stack.len() >= DEPTH {
                    return Err(act.unknown(&format!("more than {DEPTH} chains within each other")));
                }
                way.stack.push((chain, 0));
                way.note((act.stop.table, chain));
            }
        }
        Ok(Some(way))
    }

    /// Goes each of several ways; `None` among them: on with the rule.
    fn dispatch(
        &mut self,
        way: Way,
        jumps: Vec<(Option<&Jump>, Truth)>,
        act: &Act<'_>,
    ) -> Result<Option<Way>, Undecidable> {
        // A key without an entry: the rule does not match.
        let [(first, truth)] = jumps.as_slice() else {
            if jumps.is_empty() {
                return Ok(Some(way));
            }
            let mut gone: Vec<Option<&Jump>> = Vec::new();
            for (jump, truth) in jumps {
                if let Truth::Unknown(why) = truth {
                    return Err(act.unknown(&why));
                }
                // Many numbers may lead to one chain.
                if gone.contains(&jump) && gone.len() < 64 {
                    continue;
                }
                gone.push(jump);
                let branch = way.clone();
                let branch = match jump {
                    Some(jump) => self.jump(branch, jump, act)?,
                    None => Some(branch),
                };
                if let Some(branch) = branch {
                    self.branch(branch)?;
                }
            }
            return Ok(None);
        };
        match truth {
            Truth::Unknown(why) => Err(act.unknown(why)),
            Truth::Chance => {
                self.branch(way.clone())?;
                self.maybe_jump(way, *first, act)
            }
            Truth::Yes | Truth::No => self.maybe_jump(way, *first, act),
        }
    }

    fn maybe_jump(&mut self, way: Way, jump: Option<&Jump>, act: &Act<'_>) -> Result<Option<Way>, Undecidable> {
        match jump {
            Some(jump) => self.jump(way, jump, act),
            None => Ok(Some(way)),
        }
    }

    /// The key is not known: any entry may be meant, or none.
    fn any_of<'j>(
        &mut self,
        way: &Way,
        jumps: impl Iterator<Item = &'j Jump>,
        why: &str,
        act: &Act<'_>,
    ) -> Result<(), Undecidable> {
        let question = self.ask(why, &where_is(act.table, act.chain))?;
        let mut none = way.clone();
        none.answers.push((question, 0));
        self.branch(none)?;
        let mut gone: Vec<&Jump> = Vec::new();
        for jump in jumps {
            if gone.contains(&jump) {
                continue;
            }
            if gone.len() >= 64 {
                return Err(act.unknown(why));
            }
            gone.push(jump);
            let mut branch = way.clone();
            branch.answers.push((question, gone.len()));
            if let Some(branch) = self.jump(branch, jump, act)? {
                self.branch(branch)?;
            }
        }
        Ok(())
    }

    fn dnat(
        &mut self,
        way: Way,
        address: Option<&Expr>,
        port: Option<&Expr>,
        act: &Act<'_>,
    ) -> Result<Option<Way>, Undecidable> {
        let asker = self.asker(&way);
        let is_v6 = way.traveller.is_v6;
        let port = match port.map(|port| asker.value(port)) {
            None => None,
            Some(Is::This(value)) => value.number(),
            Some(_) => return Err(act.unknown("the port of dnat")),
        };
        let addresses = match address.map(|address| asker.value(address)) {
            None => vec![Value::address(way.traveller.packet.destination)],
            Some(Is::This(value)) => vec![value],
            Some(Is::Each(values)) => values,
            // A map without an entry for it.
            Some(Is::Nothing) => return Ok(Some(way)),
            Some(Is::Unknown(why)) => return Err(act.unknown(&why)),
        };
        let mut targets = Vec::with_capacity(addresses.len());
        for value in addresses {
            let (address, own_port) = match &value {
                Value::Tuple(parts) => match parts.as_slice() {
                    [address, port] => (address.ip(is_v6), port.number()),
                    _ => (None, None),
                },
                value => (value.ip(is_v6), None),
            };
            let port = port.or(own_port).and_then(|port| u16::try_from(port).ok());
            targets.push(Dnat {
                to: Some(address.ok_or_else(|| act.unknown("the address of dnat"))?),
                port: port.unwrap_or(way.traveller.packet.destination_port),
            });
        }
        let mut last = None;
        for target in targets {
            let mut branch = way.clone();
            translate(&mut branch, target);
            branch.nat_done = Some(act.stop.hook);
            leave(&mut branch);
            if let Some(before) = last.replace(branch) {
                self.branch(before)?;
            }
        }
        Ok(last)
    }
}

/// Where a rule stands that is carried out.
struct Act<'a> {
    stop: Stop,
    table: &'a Table,
    chain: usize,
    number: usize,
}

impl Act<'_> {
    fn place(&self) -> Place {
        place(self.table, self.stop, self.chain, Some(self.number))
    }

    fn unknown(&self, why: &str) -> Undecidable {
        Undecidable {
            expression: why.to_owned(),
            place: where_is(self.table, self.chain),
        }
    }
}

fn where_is(table: &Table, chain: usize) -> String {
    format!("{} {}", table.title(), table.chains[chain].name)
}

fn limit(expression: String) -> Undecidable {
    Undecidable {
        expression,
        place: String::new(),
    }
}

fn order(base: &Base) -> (i64, i64) {
    if !base.is_nat {
        return (base.priority, 0);
    }
    let at = match base.hook {
        Hook::Input | Hook::Postrouting => NAT_SOURCE,
        Hook::Prerouting | Hook::Output | Hook::Forward => NAT_DESTINATION,
    };
    (at, base.priority)
}

fn place(table: &Table, stop: Stop, chain: usize, number: Option<usize>) -> Place {
    let rule = number.map(|number| match &table.chains[chain].rules[number].text {
        Text::Line(line) => line.to_string(),
        Text::Json(expr) => crate::nft::words(expr),
    });
    Place {
        table: table.title(),
        flavour: table.flavour,
        chain: table.chains[chain].name.clone(),
        base: table.chains[stop.chain].name.clone(),
        rule,
    }
}

fn translate(way: &mut Way, dnat: Dnat) {
    let packet = &mut way.traveller.packet;
    packet.destination = dnat.to.unwrap_or(if way.traveller.is_v6 {
        IpAddr::V6(Ipv6Addr::LOCALHOST)
    } else {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    });
    packet.destination_port = dnat.port;
    packet.is_dnat = true;
    way.dnat = Some(dnat);
    way.nat_done = Some(way.traveller.hook);
}

/// Out of the base chain, and on to the next one.
fn leave(way: &mut Way) {
    way.stack.clear();
    way.is_inside = false;
    way.stop += 1;
}
