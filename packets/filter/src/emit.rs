//! Conditions to instructions, from the end to the beginning: all jumps go forward, so every target is there before who jumps.

use std::collections::HashMap;

use crate::ast::Size;
use crate::condition::{Base, Condition, Jump, Value};
use crate::error::Problem;
use crate::program::{Instruction, MAX_INSTRUCTIONS, SCRATCH_WORDS, code};
use crate::run::Operation;

/// The program that accepts `snap_length` bytes of packets under the condition and rejects all others.
pub(crate) fn emit(condition: &Condition, snap_length: u32) -> Result<Vec<Instruction>, Problem> {
    let mut emitter = Emitter {
        reversed: Vec::new(),
        long_jumps: HashMap::new(),
    };
    let reject = emitter.push(Instruction::plain(code::RET_K, 0));
    let accept = emitter.push(Instruction::plain(code::RET_K, snap_length));
    let start = emitter.condition(condition, accept, reject, None)?;
    emitter.reversed.truncate(start);
    if start == accept {
        // Nothing is tested, so nothing rejects.
        emitter.reversed.remove(0);
    }
    emitter.reversed.reverse();
    emitter.check_length()?;
    Ok(emitter.reversed)
}

/// A place in the program: how many instructions there are from it to the end.
type Place = usize;

struct Emitter {
    /// The program so far, last instruction first.
    reversed: Vec<Instruction>,
    /// The newest long jump to each target that needed one, to be shared.
    long_jumps: HashMap<Place, Place>,
}

impl Emitter {
    fn push(&mut self, instruction: Instruction) -> Place {
        self.reversed.push(instruction);
        self.reversed.len()
    }

    /// Writes the test of a condition that goes on at `yes` or `no`. `loaded` is what the accumulator holds on entry.
    fn condition(
        &mut self,
        condition: &Condition,
        yes: Place,
        no: Place,
        loaded: Option<&Value>,
    ) -> Result<Place, Problem> {
        // Where nothing depends on it nothing is read: what libpcap's optimiser does, which matters for cut packets.
        if yes == no {
            return Ok(yes);
        }
        match condition {
            Condition::Always => Ok(yes),
            Condition::Never => Ok(no),
            Condition::Not(inner) => self.condition(inner, no, yes, loaded),
            Condition::And(parts) => self.chain(parts, loaded, |next| (next, no), yes),
            Condition::Or(parts) => self.chain(parts, loaded, |next| (yes, next), no),
            Condition::If(parts) => {
                let [choice, then, otherwise] = &**parts;
                let otherwise = self.condition(otherwise, yes, no, None)?;
                let then = self.condition(then, yes, no, None)?;
                self.condition(choice, then, otherwise, loaded)
            }
            Condition::Compare { value, how, with } => {
                self.compare(value, *how, with, (yes, no), loaded == Some(value))
            }
        }
    }

    /// Parts tested one after the other; `targets` says where each goes, given where the next begins.
    fn chain(
        &mut self,
        parts: &[Condition],
        loaded: Option<&Value>,
        targets: impl Fn(Place) -> (Place, Place),
        end: Place,
    ) -> Result<Place, Problem> {
        let mut next = end;
        for (index, part) in parts.iter().enumerate().rev() {
            // A comparison leaves its value in the accumulator for the one after it.
            let before = match index.checked_sub(1) {
                Some(before) => parts.get(before).and_then(left_loaded),
                None => loaded,
            };
            let (yes, no) = targets(next);
            next = self.condition(part, yes, no, before)?;
        }
        Ok(next)
    }

    fn compare(
        &mut self,
        value: &Value,
        how: Jump,
        with: &Value,
        targets: (Place, Place),
        loaded: bool,
    ) -> Result<Place, Problem> {
        let mut straight = Straight::default();
        let code = match how {
            Jump::Equal => code::JEQ,
            Jump::Greater => code::JGT,
            Jump::GreaterOrEqual => code::JGE,
        };
        let instruction = match with {
            Value::Constant(k) => {
                if !loaded {
                    straight.accumulate(value, 0)?;
                }
                Instruction::plain(code, *k)
            }
            with => {
                straight.operand(value, with, 0)?;
                Instruction::plain(code | code::X, 0)
            }
        };
        self.jump(instruction, targets);
        self.reversed.extend(straight.code.into_iter().rev());
        self.check_length()?;
        Ok(self.reversed.len())
    }

    /// A comparison's jump. Distances beyond its eight bits go over a long jump.
    fn jump(&mut self, instruction: Instruction, (yes, no): (Place, Place)) {
        // A long jump for one target moves the other one further away: room for it is kept.
        let no = self.within_reach(no, usize::from(u8::MAX) - 1);
        let yes = self.within_reach(yes, usize::from(u8::MAX));
        let short = |target| u8::try_from(self.distance(target)).unwrap_or(u8::MAX);
        let (jt, jf) = (short(yes), short(no));
        self.push(Instruction { jt, jf, ..instruction });
    }

    /// How many instructions the next one would skip to get to a place.
    fn distance(&self, target: Place) -> usize {
        self.reversed.len().saturating_sub(target)
    }

    /// A place at most so far away that leads to the target: itself, or a long jump. No instruction falls into one, since before
    /// it, there is a comparison that goes elsewhere.
    fn within_reach(&mut self, target: Place, reach: usize) -> Place {
        if self.distance(target) <= reach {
            return target;
        }
        if let Some(place) = self
            .long_jumps
            .get(&target)
            .filter(|place| self.distance(**place) <= reach)
        {
            return *place;
        }
        let k = u32::try_from(self.distance(target)).unwrap_or(u32::MAX);
        let place = self.push(Instruction::plain(code::JA, k));
        self.long_jumps.insert(target, place);
        place
    }

    /// Stops early when there is no way to keep the program short enough, so that none grows without end.
    fn check_length(&self) -> Result<(), Problem> {
        if self.reversed.len() > MAX_INSTRUCTIONS {
            Err(Problem::ProgramTooLong)
        } else {
            Ok(())
        }
    }
}

/// What is in the accumulator after a condition, whichever way it went.
fn left_loaded(condition: &Condition) -> Option<&Value> {
    match condition {
        Condition::Compare {
            value,
            with: Value::Constant(_),
            ..
        } => Some(value),
        Condition::Not(inner) => left_loaded(inner),
        _ => None,
    }
}

/// Code without jumps, in order.
#[derive(Default)]
struct Straight {
    code: Vec<Instruction>,
}

impl Straight {
    fn push(&mut self, code: u16, k: u32) {
        self.code.push(Instruction::plain(code, k));
    }

    /// Puts a value into the accumulator; scratch words from `slot` on are free.
    fn accumulate(&mut self, value: &Value, slot: u32) -> Result<(), Problem> {
        match value {
            Value::Constant(value) => self.push(code::LD_IMM, *value),
            Value::Length => self.push(code::LD_LEN, 0),
            Value::Metadata(k) => self.push(code::LD_W_ABS, *k),
            Value::Negated(inner) => {
                self.accumulate(inner, slot)?;
                self.push(code::NEG, 0);
            }
            Value::Combined(operation, left, right) => self.combine(*operation, left, right, slot)?,
            Value::Bytes { size, base, index } => self.bytes(*size, *base, index, slot)?,
        }
        Ok(())
    }

    fn combine(&mut self, operation: Operation, left: &Value, right: &Value, slot: u32) -> Result<(), Problem> {
        let code = code::ALU | operation as u16;
        // The parser has calculated what is constant, and refused divisors and distances the kernel's checker would.
        if let Value::Constant(k) = right {
            self.accumulate(left, slot)?;
            self.push(code, *k);
            return Ok(());
        }
        if !matches!(operation, Operation::ShiftLeft | Operation::ShiftRight) {
            self.operand(left, right, slot)?;
            self.push(code | code::X, 0);
            return Ok(());
        }
        // The kernel shifts by the low five bits of X, libpcap shifts everything out: multiply by whether it is below 32.
        self.accumulate(right, slot)?;
        self.store(slot)?;
        self.push(code::ALU | Operation::ShiftRight as u16, 5);
        self.push(code::ALU | Operation::Subtract as u16, 1);
        self.push(code::ALU | Operation::ShiftRight as u16, 31);
        self.store(slot + 1)?;
        self.push(code::LD_MEM, slot);
        self.push(code::ALU | Operation::And as u16, 31);
        self.store(slot)?;
        self.accumulate(left, slot + 2)?;
        self.push(code::LDX_MEM, slot);
        self.push(code | code::X, 0);
        self.push(code::LDX_MEM, slot + 1);
        self.push(code::ALU | Operation::Multiply as u16 | code::X, 0);
        Ok(())
    }

    /// Puts one value into the accumulator and another into X.
    fn operand(&mut self, accumulator: &Value, x: &Value, slot: u32) -> Result<(), Problem> {
        self.accumulate(x, slot)?;
        self.store(slot)?;
        self.accumulate(accumulator, slot + 1)?;
        self.push(code::LDX_MEM, slot);
        Ok(())
    }

    fn store(&mut self, slot: u32) -> Result<(), Problem> {
        if slot >= SCRATCH_WORDS {
            return Err(Problem::TooComplex);
        }
        self.push(code::ST, slot);
        Ok(())
    }

    fn bytes(&mut self, size: Size, base: Base, index: &Value, slot: u32) -> Result<(), Problem> {
        let (absolute, indexed) = match size {
            Size::Byte => (code::LD_B_ABS, code::LD_B_IND),
            Size::Half => (code::LD_H_ABS, code::LD_H_IND),
            Size::Word => (code::LD_W_ABS, code::LD_W_IND),
        };
        match (base, index) {
            (Base::Start(start), Value::Constant(index)) => {
                // Negative offsets would reach what the kernel keeps beside the bytes: they are beyond every packet instead.
                self.push(absolute, start.wrapping_add(*index).min(i32::MAX.unsigned_abs()));
            }
            (Base::Start(start), index) => {
                self.accumulate(index, slot)?;
                self.push(code::TAX, 0);
                self.push(indexed, start);
            }
            (Base::Ipv4Payload(header), Value::Constant(index)) => {
                self.push(code::LDX_MSH, header);
                self.push(indexed, header.wrapping_add(*index));
            }
            (Base::Ipv4Payload(header), index) => {
                self.accumulate(index, slot)?;
                self.push(code::LDX_MSH, header);
                self.push(code::ALU | Operation::Add as u16 | code::X, 0);
                self.push(code::TAX, 0);
                self.push(indexed, header);
            }
        }
        Ok(())
    }
}
