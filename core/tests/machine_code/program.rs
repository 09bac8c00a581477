//! What a program's file says of its own functions: their names, calls and loops. x86-64 Linux only.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};
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
    /// Whether rbp holds the frame: else it is a register like any other.
    framed: bool,
}

/// An innermost loop: its instructions stand between a label and the last jump back to it.
pub struct Loop<'f> {
    pub code: &'f [Instruction],
    framed: bool,
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
    let mut functions = BTreeMap::new();
    for symbol in program.symbols().filter(|s| s.kind() == SymbolKind::Text && s.size() > 0) {
        let section = symbol.section_index().and_then(|i| program.section_by_index(i).ok());
        let (start, size) = (symbol.address(), symbol.size());
        let Some(Ok(Some(code))) = section.map(|s| s.data_range(start, size)) else { continue };
        let name = symbol.name().unwrap_or("");
        let name = format!("{:#}", rustc_demangle::demangle(name));
        functions.insert(start, Function::decode(name, start, code));
    }
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
    Program { functions, slots, compilers }
}

impl Function {
    fn decode(name: String, start: u64, bytes: &[u8]) -> Self {
        let code: Vec<_> =
            Decoder::with_ip(64, bytes, start, DecoderOptions::NONE).into_iter().collect();
        let framed = code.iter().take(16).any(|i| {
            i.mnemonic() == Mnemonic::Mov
                && i.op0_register() == Register::RBP
                && i.op1_register() == Register::RSP
        });
        Self { name, start, code, framed }
    }

    /// Where it calls or jumps, outside itself.
    pub fn calls(&self) -> impl Iterator<Item = u64> + '_ {
        self.code.iter().filter(|i| i.op0_kind() == OpKind::NearBranch64).map(|i| i.near_branch64())
    }

    /// What it calls, or jumps to outside itself, by way of memory; none for what cannot be seen.
    fn calls_through<'s>(&self, slots: &'s BTreeMap<u64, Slot>) -> Vec<Option<&'s Slot>> {
        let slot = |i: &Instruction| {
            let address = i.is_ip_rel_memory_operand().then(|| i.ip_rel_memory_address());
            address.and_then(|address| slots.get(&address))
        };
        // What is called more than once is looked up before, and kept in a register.
        let kept = self.code.iter().filter(|i| i.mnemonic() == Mnemonic::Mov).filter_map(slot);
        let kept: Vec<_> = kept.map(Some).collect();
        let mut calls = Vec::new();
        for i in &self.code {
            match i.flow_control() {
                FlowControl::IndirectCall if i.op0_kind() == OpKind::Register => {
                    if kept.is_empty() { calls.push(None) } else { calls.extend(&kept) }
                }
                FlowControl::IndirectCall => calls.push(slot(i)),
                // Others lead to a case of a match.
                FlowControl::IndirectBranch => calls.extend(slot(i).map(Some)),
                _ => {}
            }
        }
        calls
    }

    /// The loops that hold no other.
    pub fn innermost_loops(&self) -> Vec<Loop<'_>> {
        let end = self.code.last().map_or(self.start, Instruction::next_ip);
        // Label → the last jump back to it.
        let mut loops: BTreeMap<u64, u64> = BTreeMap::new();
        for i in &self.code {
            let jumps = matches!(
                i.flow_control(),
                FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
            );
            let to = i.near_branch64();
            if jumps && (self.start..=i.ip()).contains(&to) && to < end {
                loops.entry(to).and_modify(|last| *last = i.ip().max(*last)).or_insert(i.ip());
            }
        }
        let holds_another = |from: u64, to: u64| {
            loops.iter().any(|(&f, &t)| (f, t) != (from, to) && from <= f && t <= to)
        };
        loops
            .iter()
            .filter(|&(&from, &to)| !holds_another(from, to))
            .map(|(&from, &to)| {
                let at = |ip| self.code.partition_point(|i| i.ip() < ip);
                Loop { code: &self.code[at(from)..=at(to)], framed: self.framed }
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
        // A jump may lead into the middle of a function.
        let Some((_, f)) = functions.range(..=at).next_back() else { continue };
        if !seen.insert(f.start) {
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

impl Loop<'_> {
    /// Multiply-adds of vectors; where there are none (the portable level on x86-64), multiplications.
    pub fn multiply_adds(&self) -> usize {
        let fused = self.code.iter().filter(|i| is_fused(i)).count();
        if fused > 0 { fused } else { self.code.iter().filter(|i| is_multiplication(i)).count() }
    }

    /// Different registers that multiply-adds, or additions where there are none, sum up in.
    pub fn accumulators(&self) -> usize {
        let fused = self.code.iter().any(is_fused);
        let mut registers: Vec<Register> = self
            .code
            .iter()
            .filter(|i| if fused { is_fused(i) } else { is_addition(i) })
            .map(Instruction::op0_register)
            .collect();
        registers.sort_unstable();
        registers.dedup();
        registers.len()
    }

    /// Whether all it computes with vectors is sums of products: the loop over k of a tile, then, and no
    /// activation.
    pub fn is_product(&self) -> bool {
        let fused = self.code.iter().any(is_fused);
        let adds = self.code.iter().filter(|i| is_addition(i)).count();
        let sums = if fused { adds == 0 } else { adds == self.multiply_adds() };
        self.multiply_adds() > 0 && sums && !self.code.iter().any(|i| is_other_arithmetic(i, fused))
    }

    /// What a loop over k has no need of.
    pub fn waste(&self) -> Waste {
        let vectors =
            |i: &Instruction| (0..i.op_count()).any(|k| i.op_register(k).is_vector_register());
        let on_stack = |i: &Instruction| {
            let base = i.memory_base();
            base == Register::RSP || self.framed && base == Register::RBP
        };
        let count = |what: &dyn Fn(&Instruction) -> bool| {
            self.code.iter().filter(|i| vectors(i) && what(i)).count()
        };
        Waste {
            stored: count(&|i| i.op0_kind() == OpKind::Memory),
            read_back: count(&|i| i.op0_kind() != OpKind::Memory && on_stack(i)),
            moved: count(&|i| {
                is_move(i) && i.op0_kind() == OpKind::Register && i.op1_kind() == OpKind::Register
            }),
        }
    }
}

/// Instructions that keep sums where they do not belong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waste {
    /// Vectors written to memory, wherever that is.
    pub stored: usize,
    /// Vectors read from the stack.
    pub read_back: usize,
    /// Vectors moved from a register to another.
    pub moved: usize,
}

fn is_fused(i: &Instruction) -> bool {
    use Mnemonic::*;
    matches!(
        i.mnemonic(),
        Vfmadd132ps
            | Vfmadd213ps
            | Vfmadd231ps
            | Vfmadd132pd
            | Vfmadd213pd
            | Vfmadd231pd
            | Vfnmadd132ps
            | Vfnmadd213ps
            | Vfnmadd231ps
            | Vfnmadd132pd
            | Vfnmadd213pd
            | Vfnmadd231pd
    )
}

/// What makes a loop more than sums of products. Multiplications count where products are fused.
fn is_other_arithmetic(i: &Instruction, fused: bool) -> bool {
    let name = format!("{:?}", i.mnemonic()).to_lowercase();
    let name = name.strip_prefix('v').unwrap_or(&name);
    let packed = name.ends_with("ps") || name.ends_with("pd");
    let kinds = ["sub", "div", "min", "max", "sqrt", "cmp", "and", "or", "blend"];
    packed && (kinds.iter().any(|k| name.starts_with(k)) || fused && name.starts_with("mul"))
}

fn is_move(i: &Instruction) -> bool {
    use Mnemonic::*;
    matches!(
        i.mnemonic(),
        Movaps | Movups | Movapd | Movupd | Vmovaps | Vmovups | Vmovapd | Vmovupd
    )
}

fn is_multiplication(i: &Instruction) -> bool {
    matches!(i.mnemonic(), Mnemonic::Mulps | Mnemonic::Mulpd | Mnemonic::Vmulps | Mnemonic::Vmulpd)
}

fn is_addition(i: &Instruction) -> bool {
    matches!(i.mnemonic(), Mnemonic::Addps | Mnemonic::Addpd | Mnemonic::Vaddps | Mnemonic::Vaddpd)
}
