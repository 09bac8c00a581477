//! Instructions of x86-64.

use super::instruction::{Flow, Instruction, Vector, Way, Work};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Mnemonic, OpKind, Register};

/// The instructions of a function.
pub fn decode(start: u64, bytes: &[u8]) -> Vec<Instruction> {
    let code: Vec<_> =
        Decoder::with_ip(64, bytes, start, DecoderOptions::NONE).into_iter().collect();
    // Whether rbp holds the frame: else it is a register like any other.
    let framed = code.iter().take(16).any(|i| {
        i.mnemonic() == Mnemonic::Mov
            && i.op0_register() == Register::RBP
            && i.op1_register() == Register::RSP
    });
    let instruction = |i: &iced_x86::Instruction| {
        let at_slot = i.is_ip_rel_memory_operand().then(|| i.ip_rel_memory_address());
        Instruction {
            at: i.ip(),
            next: i.next_ip(),
            flow: flow(i, at_slot),
            vector: vector(i, framed),
            fills: at_slot.filter(|_| i.mnemonic() == Mnemonic::Mov),
        }
    };
    code.iter().map(instruction).collect()
}

fn flow(i: &iced_x86::Instruction, slot: Option<u64>) -> Flow {
    let way = match slot {
        Some(slot) => Way::Slot(slot),
        None if i.op0_kind() == OpKind::Register => Way::Register,
        None => Way::Unseen,
    };
    let near = i.op0_kind() == OpKind::NearBranch64;
    match i.flow_control() {
        FlowControl::IndirectCall => Flow::CallBy(way),
        FlowControl::IndirectBranch => Flow::JumpBy(way),
        FlowControl::UnconditionalBranch if near => Flow::Jump(i.near_branch64()),
        FlowControl::ConditionalBranch if near => Flow::Branch(i.near_branch64()),
        _ if near => Flow::Call(i.near_branch64()),
        _ => Flow::Next,
    }
}

fn vector(i: &iced_x86::Instruction, framed: bool) -> Option<Vector> {
    (0..i.op_count()).find(|&k| i.op_register(k).is_vector_register())?;
    let base = i.memory_base();
    let on_stack = base == Register::RSP || framed && base == Register::RBP;
    let stores = i.op0_kind() == OpKind::Memory;
    Some(Vector {
        work: work(i),
        into: i.op0_register() as usize,
        by_element: false,
        stores,
        from_stack: !stores && on_stack,
    })
}

fn work(i: &iced_x86::Instruction) -> Work {
    let name = format!("{:?}", i.mnemonic()).to_lowercase();
    let name = name.strip_prefix('v').unwrap_or(&name);
    if !name.ends_with("ps") && !name.ends_with("pd") {
        return Work::None;
    }
    let is = |kinds: &[&str]| kinds.iter().any(|k| name.starts_with(k));
    let registers = i.op0_kind() == OpKind::Register && i.op1_kind() == OpKind::Register;
    match name {
        _ if is(&["fmadd", "fnmadd"]) => Work::MultiplyAdd,
        _ if is(&["mul"]) => Work::Multiply,
        "addps" | "addpd" => Work::Add,
        _ if is(&["mova", "movu"]) && registers => Work::Move,
        _ if is(&["sub", "div", "min", "max", "sqrt", "cmp", "and", "or", "blend"]) => Work::Other,
        _ => Work::None,
    }
}
