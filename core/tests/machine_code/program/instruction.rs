//! What the tests ask of an instruction, whatever machine it is for.

/// An instruction, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Instruction {
    pub at: u64,
    /// Where the next one starts.
    pub next: u64,
    pub flow: Flow,
    /// What it does with vectors, where it names one.
    pub vector: Option<Vector>,
    /// The address in memory from which it fills a register, where that is known.
    pub fills: Option<u64>,
}

/// What runs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Next,
    Call(u64),
    Jump(u64),
    /// A jump under a condition.
    Branch(u64),
    CallBy(Way),
    JumpBy(Way),
}

/// Where an indirect call finds its function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// At this address in memory.
    Slot(u64),
    /// In a register that was filled before.
    Register,
    Unseen,
}

/// What an instruction does with vectors.
#[derive(Clone, Copy, Debug)]
pub struct Vector {
    pub work: Work,
    /// The number of the register it writes, of its first operand.
    pub into: usize,
    /// Whether one factor is an element of a vector, for every lane.
    pub by_element: bool,
    pub stores: bool,
    /// Whether it reads from the stack.
    pub from_stack: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    MultiplyAdd,
    Multiply,
    Add,
    /// From register to register.
    Move,
    /// What makes a loop more than sums of products.
    Other,
    None,
}

/// An innermost loop: its instructions stand between a label and the last jump back to it.
pub struct Loop<'f>(pub &'f [Instruction]);

impl Loop<'_> {
    fn vectors(&self) -> impl Iterator<Item = &Vector> {
        self.0.iter().filter_map(|i| i.vector.as_ref())
    }

    fn count(&self, what: impl Fn(&Vector) -> bool) -> usize {
        self.vectors().filter(|v| what(v)).count()
    }

    fn of(&self, work: Work) -> usize {
        self.count(|v| v.work == work)
    }

    /// Multiply-adds of vectors; where there are none (the portable level on x86-64), multiplications.
    pub fn multiply_adds(&self) -> usize {
        match self.of(Work::MultiplyAdd) {
            0 => self.of(Work::Multiply),
            fused => fused,
        }
    }

    /// How many of the multiply-adds take an element of a vector for every lane.
    pub fn by_element(&self) -> usize {
        self.count(|v| v.work == Work::MultiplyAdd && v.by_element)
    }

    /// Different registers that multiply-adds, or additions where there are none, sum up in.
    pub fn accumulators(&self) -> usize {
        let sum = if self.of(Work::MultiplyAdd) > 0 { Work::MultiplyAdd } else { Work::Add };
        let mut registers: Vec<_> =
            self.vectors().filter(|v| v.work == sum).map(|v| v.into).collect();
        registers.sort_unstable();
        registers.dedup();
        registers.len()
    }

    /// Whether all it computes with vectors is sums of products: the loop over k of a tile, then, and no
    /// activation.
    pub fn is_product(&self) -> bool {
        let fused = self.of(Work::MultiplyAdd) > 0;
        let sums = self.of(Work::Add) == if fused { 0 } else { self.multiply_adds() };
        let other = self.of(Work::Other) + if fused { self.of(Work::Multiply) } else { 0 };
        self.multiply_adds() > 0 && sums && other == 0
    }

    /// What a loop over k has no need of.
    pub fn waste(&self) -> Waste {
        Waste {
            stored: self.count(|v| v.stores),
            read_back: self.count(|v| v.from_stack),
            moved: self.of(Work::Move),
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
