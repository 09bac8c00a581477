//! Programs in words.

use super::code::{Action, Code, Instruction, Place};
use core::fmt;

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (block, number) in self.numbers.iter().enumerate() {
            writeln!(f, "  b{block} = {number}")?;
        }
        for (at, phase) in self.phases.iter().enumerate() {
            if at > 0 {
                writeln!(f, "  over the whole row, then")?;
            }
            for Instruction { action, operands: [a, b, c], to } in
                phase.row.iter().chain(&phase.units)
            {
                match action {
                    Action::Load(place) => writeln!(f, "  b{to} = {place}")?,
                    Action::Store(place) => writeln!(f, "  {place} = b{a}")?,
                    Action::Unary(of) => writeln!(f, "  b{to} = {of:?}(b{a})")?,
                    Action::Binary(of) => writeln!(f, "  b{to} = {of:?}(b{a}, b{b})")?,
                    Action::Where => writeln!(f, "  b{to} = b{b} where b{a} else b{c}")?,
                    Action::MulAdd => writeln!(f, "  b{to} = b{a} * b{b} + b{c}")?,
                    Action::NegMulAdd => writeln!(f, "  b{to} = b{c} - b{a} * b{b}")?,
                    Action::Sum(mean) => writeln!(f, "  sum {mean} += b{a}")?,
                    Action::Mean(mean) => writeln!(f, "  b{to} = mean {mean}")?,
                    Action::Spread => writeln!(f, "  b{to} everywhere")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Plane(n) => write!(f, "row[{n}]"),
            Place::Kept(n) => write!(f, "kept[{n}]"),
            Place::State(n) => write!(f, "state[{n}]"),
            Place::Before(n) => write!(f, "before[{n}]"),
            Place::Parameter(n) => write!(f, "p[{n}]"),
            Place::Spare(n) => write!(f, "spare[{n}]"),
        }
    }
}
