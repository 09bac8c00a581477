//! Instructions of AArch64.

use super::instruction::{Flow, Instruction, Vector, Way, Work};
use yaxpeax_arch::{Decoder, U8Reader};
use yaxpeax_arm::armv8::a64::{InstDecoder, Instruction as Decoded, Opcode, Operand, SizeCode};

/// The stack's register, where a register can be that, and the frame's.
const SP: u16 = 31;
const FRAME: u16 = 29;

/// The instructions of a function.
pub fn decode(start: u64, bytes: &[u8]) -> Vec<Instruction> {
    let decoder = InstDecoder::default();
    let words = bytes.chunks_exact(4).zip((start..).step_by(4));
    let code: Vec<(u64, Option<Decoded>)> =
        words.map(|(word, at)| (at, decoder.decode(&mut U8Reader::new(word)).ok())).collect();
    // Whether x29 holds the frame: else it is a register like any other.
    let framed = code.iter().take(16).filter_map(|(_, i)| i.as_ref()).any(|i| {
        let [to, of, ..] = i.operands;
        i.opcode == Opcode::ADD
            && to == Operand::RegisterOrSP(SizeCode::X, FRAME)
            && of == Operand::RegisterOrSP(SizeCode::X, SP)
    });
    let mut registers = Registers([Known::Nothing; 32]);
    let instruction = |&(at, ref i): &(u64, Option<Decoded>)| {
        // Data between instructions, or what the decoder does not know.
        let Some(i) = i else {
            return Instruction { at, next: at + 4, flow: Flow::Next, vector: None, fills: None };
        };
        let flow = flow(i, at, &registers);
        let fills = registers.follow(i, at);
        Instruction { at, next: at + 4, flow, vector: vector(i, framed), fills }
    };
    code.iter().map(instruction).collect()
}

/// What a register holds, as far as one reading from top to bottom tells.
#[derive(Clone, Copy)]
enum Known {
    Nothing,
    Address(u64),
    /// What stood at this address.
    ValueAt(u64),
}

struct Registers([Known; 32]);

impl Registers {
    /// What holds after `i`; where it reads a register from an address that is known, that address.
    fn follow(&mut self, i: &Decoded, at: u64) -> Option<u64> {
        use Opcode::{ADD, ADRP, BL, BLR, LDR};
        let known = match (i.opcode, i.operands) {
            (BL | BLR, _) => {
                // A function that is called keeps x19 to x29 alone.
                self.0[..19].fill(Known::Nothing);
                return None;
            }
            (ADRP, [_, Operand::PCOffset(pages), ..]) => {
                Known::Address((at & !0xfff).wrapping_add_signed(pages))
            }
            (ADD, [_, Operand::RegisterOrSP(_, of), Operand::Immediate(more), _]) => {
                match self.0[usize::from(of)] {
                    Known::Address(a) => Known::Address(a + u64::from(more)),
                    _ => Known::Nothing,
                }
            }
            (
                LDR,
                [Operand::Register(SizeCode::X, _), Operand::RegPreIndex(of, more, false), ..],
            ) => match self.0[usize::from(of)] {
                Known::Address(a) => Known::ValueAt(a.wrapping_add_signed(more.into())),
                _ => Known::Nothing,
            },
            _ => Known::Nothing,
        };
        if !keeps_its_registers(i.opcode) {
            for operand in &i.operands[..if i.opcode == Opcode::LDP { 2 } else { 1 }] {
                if let Operand::Register(_, to) | Operand::RegisterOrSP(_, to) = *operand {
                    self.0[usize::from(to)] = known;
                }
            }
        }
        match known {
            Known::ValueAt(slot) => Some(slot),
            _ => None,
        }
    }
}

/// Whether an instruction whose first operand is a register only reads it.
fn keeps_its_registers(opcode: Opcode) -> bool {
    use Opcode::*;
    matches!(
        opcode,
        STR | STRB
            | STRH
            | STUR
            | STURB
            | STURH
            | STP
            | STNP
            | STLR
            | STLRB
            | STLRH
            | CBZ
            | CBNZ
            | TBZ
            | TBNZ
            | BR
            | RET
            | CCMP
            | CCMN
    )
}

fn flow(i: &Decoded, at: u64, registers: &Registers) -> Flow {
    let to = i.operands.iter().find_map(|operand| match operand {
        Operand::PCOffset(offset) => Some(at.wrapping_add_signed(*offset)),
        _ => None,
    });
    let way = || match i.operands[0] {
        Operand::Register(_, by) => match registers.0[usize::from(by)] {
            Known::ValueAt(slot) => Way::Slot(slot),
            _ => Way::Unseen,
        },
        _ => Way::Unseen,
    };
    match (i.opcode, to) {
        (Opcode::BL, Some(to)) => Flow::Call(to),
        (Opcode::B, Some(to)) => Flow::Jump(to),
        (Opcode::Bcc(_) | Opcode::CBZ | Opcode::CBNZ | Opcode::TBZ | Opcode::TBNZ, Some(to)) => {
            Flow::Branch(to)
        }
        (Opcode::BLR, _) => Flow::CallBy(way()),
        (Opcode::BR, _) => Flow::JumpBy(way()),
        _ => Flow::Next,
    }
}

fn vector(i: &Decoded, framed: bool) -> Option<Vector> {
    use Opcode::{ST1, ST2, ST3, ST4, STNP, STP, STR, STUR};
    let into = i.operands.iter().find_map(register)?;
    let stores = matches!(i.opcode, STR | STUR | STP | STNP | ST1 | ST2 | ST3 | ST4);
    let on_stack = i.operands.iter().any(|operand| match *operand {
        Operand::RegPreIndex(base, ..)
        | Operand::RegPostIndex(base, _)
        | Operand::RegRegOffset(base, ..)
        | Operand::RegPostIndexReg(base, _) => base == SP || framed && base == FRAME,
        _ => false,
    });
    Some(Vector {
        work: work(i),
        into: into.into(),
        by_element: i.operands.iter().any(|o| matches!(o, Operand::SIMDRegisterElementsLane(..))),
        stores,
        from_stack: !stores && on_stack,
    })
}

/// The number of a vector's register.
fn register(operand: &Operand) -> Option<u16> {
    match *operand {
        Operand::SIMDRegister(_, n)
        | Operand::SIMDRegisterElements(_, n, _)
        | Operand::SIMDRegisterElementsLane(_, n, ..)
        | Operand::SIMDRegisterElementsMultipleLane(_, n, ..)
        | Operand::SIMDRegisterGroup(_, n, ..)
        | Operand::SIMDRegisterGroupLane(n, ..) => Some(n),
        _ => None,
    }
}

fn work(i: &Decoded) -> Work {
    use Opcode::*;
    // Of all lanes at once.
    let Operand::SIMDRegisterElements(..) = i.operands[0] else { return Work::None };
    match i.opcode {
        FMLA | FMLS => Work::MultiplyAdd,
        FMUL => Work::Multiply,
        FADD => Work::Add,
        ORR if i.operands[1] == i.operands[2] => Work::Move,
        FSUB | FDIV | FSQRT | FMIN | FMAX | FMINNM | FMAXNM | FCMEQ | FCMGE | FCMGT | FCMLE
        | FCMLT | FABD | AND | ORR | BIC | BSL | BIT | BIF => Work::Other,
        _ => Work::None,
    }
}
