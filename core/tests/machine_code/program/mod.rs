//! What a program's file says of its own functions: their names, calls and loops. The file, for Linux, may be for
//! x86-64 or for AArch64, whatever machine reads it.

mod aarch64;
mod instruction;
mod x86_64;

use instruction::{Flow, Way};
pub use instruction::{Instruction, Loop, Waste};
pub use object::Architecture;
use object::{
    Object, ObjectSection, ObjectSymbol, ObjectSymbolTable, RelocationTarget, SymbolKind,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A function, decoded.
pub struct Function {
    /// With its type arguments, where the symbol carries them.
    pub name: String,
    pub start: u64,
    pub code: Vec<Instruction>,
}

/// What stands at an address that calls go through.
#[derive(Clone, Debug)]
pub enum Slot {
    /// A function of this program.
    Here(u64),
    /// One of another library, by its name.
    There(String),
}

/// A program, read from its file.
pub struct Program {
    pub architecture: Architecture,
    /// By address.
    pub functions: BTreeMap<u64, Function>,
    /// What is called through an address in memory.
    pub slots: BTreeMap<u64, Slot>,
    /// What the compilers, rustc and those of the libraries linked, say of themselves.
    pub compilers: String,
}

/// The program in `file`.
pub fn read(file: &Path) -> Program {
    let bytes = std::fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let program =
        object::File::parse(&*bytes).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let architecture = program.architecture();
    let decode = match architecture {
        Architecture::X86_64 => x86_64::decode,
        Architecture::Aarch64 => aarch64::decode,
        other => panic!("{}: expected x86-64 or AArch64, got {other:?}", file.display()),
    };
    let mut functions = BTreeMap::new();
    for symbol in program.symbols().filter(|s| s.kind() == SymbolKind::Text && s.size() > 0) {
        let section = symbol.section_index().and_then(|i| program.section_by_index(i).ok());
        let (start, size) = (symbol.address(), symbol.size());
        let Some(Ok(Some(code))) = section.map(|s| s.data_range(start, size)) else { continue };
        let name = symbol.name().unwrap_or("");
        let name = format!("{:#}", rustc_demangle::demangle(name));
        functions.insert(start, Function { name, start, code: decode(start, code) });
    }
    stubs(&program, decode, &mut functions);
    let mut slots = BTreeMap::new();
    for (at, relocation) in program.dynamic_relocations().into_iter().flatten() {
        let slot = match relocation.target() {
            RelocationTarget::Symbol(index) => {
                let symbols = program.dynamic_symbol_table();
                let symbol = symbols.and_then(|symbols| symbols.symbol_by_index(index).ok());
                let name = symbol.as_ref().and_then(|symbol| symbol.name().ok());
                Slot::There(name.unwrap_or("?").to_owned())
            }
            _ => Slot::Here(relocation.addend() as u64),
        };
        slots.insert(at, slot);
    }
    let comment = program.section_by_name(".comment").and_then(|s| s.data().ok());
    let compilers = String::from_utf8_lossy(comment.unwrap_or_default()).into_owned();
    Program { architecture, functions, slots, compilers }
}

/// The linker's stubs, by way of which functions of other libraries are called: each jumps to what a slot holds.
fn stubs(
    program: &object::File<'_>,
    decode: fn(u64, &[u8]) -> Vec<Instruction>,
    functions: &mut BTreeMap<u64, Function>,
) {
    const SIZE: usize = 16;
    let sections = program.sections().filter(|s| s.name().is_ok_and(|n| n.starts_with(".plt")));
    for section in sections {
        let stubs = section.data().unwrap_or_default().chunks(SIZE);
        for (stub, start) in stubs.zip((section.address()..).step_by(SIZE)) {
            let name = format!("stub at {start:#x}");
            functions.insert(start, Function { name, start, code: decode(start, stub) });
        }
    }
}

impl Function {
    fn end(&self) -> u64 {
        self.code.last().map_or(self.start, |i| i.next)
    }

    /// Where it calls or jumps, within itself too.
    pub fn calls(&self) -> impl Iterator<Item = u64> + '_ {
        self.code.iter().filter_map(|i| match i.flow {
            Flow::Call(to) | Flow::Jump(to) | Flow::Branch(to) => Some(to),
            _ => None,
        })
    }

    /// What it calls, or jumps to outside itself, by way of memory; none for what cannot be seen.
    fn calls_through<'s>(&self, slots: &'s BTreeMap<u64, Slot>) -> Vec<Option<&'s Slot>> {
        // What is called more than once is looked up before, and kept in a register.
        let kept = self.code.iter().filter_map(|i| i.fills).filter_map(|at| slots.get(&at));
        let kept: Vec<_> = kept.map(Some).collect();
        let mut calls = Vec::new();
        for i in &self.code {
            match i.flow {
                Flow::CallBy(Way::Slot(at)) => calls.push(slots.get(&at)),
                Flow::CallBy(Way::Register) if !kept.is_empty() => calls.extend(&kept),
                Flow::CallBy(_) => calls.push(None),
                // Others lead to a case of a match.
                Flow::JumpBy(Way::Slot(at)) => calls.extend(slots.get(&at).map(Some)),
                _ => {}
            }
        }
        calls
    }

    /// The loops that hold no other.
    pub fn innermost_loops(&self) -> Vec<Loop<'_>> {
        // Label → the last jump back to it.
        let mut loops: BTreeMap<u64, u64> = BTreeMap::new();
        for i in &self.code {
            let (Flow::Jump(to) | Flow::Branch(to)) = i.flow else { continue };
            if (self.start..=i.at).contains(&to) && to < self.end() {
                loops.entry(to).and_modify(|last| *last = i.at.max(*last)).or_insert(i.at);
            }
        }
        let holds_another = |from: u64, to: u64| {
            loops.iter().any(|(&f, &t)| (f, t) != (from, to) && from <= f && t <= to)
        };
        loops
            .iter()
            .filter(|&(&from, &to)| !holds_another(from, to))
            .map(|(&from, &to)| {
                let at = |address| self.code.partition_point(|i| i.at < address);
                Loop(&self.code[at(from)..=at(to)])
            })
            .collect()
    }
}

/// What can be reached from a function.
#[derive(Debug, Default)]
pub struct Reach {
    /// Functions of the program, by name.
    pub own: BTreeSet<String>,
    /// Those of other libraries, and "?" for what cannot be seen: (caller, callee).
    pub others: BTreeSet<(String, String)>,
}

/// What can be reached from the functions that `is_start`, by name, not going on from those that `is_end`.
pub fn reach(
    functions: &BTreeMap<u64, Function>,
    slots: &BTreeMap<u64, Slot>,
    is_start: impl Fn(&str) -> bool,
    is_end: impl Fn(&str) -> bool,
) -> Reach {
    let mut next: Vec<u64> =
        functions.values().filter(|f| is_start(&f.name)).map(|f| f.start).collect();
    let (mut seen, mut reach) = (BTreeSet::new(), Reach::default());
    while let Some(at) = next.pop() {
        // A jump may lead into the middle of a function, and a slot hold the address of data.
        let Some((_, f)) = functions.range(..=at).next_back() else { continue };
        if at >= f.end() || !seen.insert(f.start) {
            continue;
        }
        reach.own.insert(f.name.clone());
        if is_end(&f.name) {
            continue;
        }
        next.extend(f.calls());
        for slot in f.calls_through(slots) {
            let other = match slot {
                Some(Slot::Here(at)) => {
                    next.push(*at);
                    continue;
                }
                Some(Slot::There(name)) => name,
                None => "?",
            };
            reach.others.insert((f.name.clone(), other.to_owned()));
        }
    }
    reach
}

/// Whether a function is one that panics, or writes what a panic says: what it reaches does not matter.
pub fn is_end(name: &str) -> bool {
    is_panic(name) || name.contains("core::fmt::")
}

/// Whether a function is where a check ends that fails: it panics.
pub fn is_panic(name: &str) -> bool {
    ["panicking::", "_fail", "out_of_bounds", "rust_panic"].iter().any(|part| name.contains(part))
}

/// Functions of other libraries that neither allocate, nor lock, nor wait: they copy, and go on unwinding.
pub const HARMLESS: [&str; 6] = ["memcpy", "memmove", "memset", "memcmp", "bcmp", "_Unwind_Resume"];
