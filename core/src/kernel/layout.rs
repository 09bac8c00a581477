//! Where a cell's slots stand in the gate buffer, as plain numbers.

/// Slots a cell may have.
pub const MOST_SLOTS: usize = 16;
/// States a cell may carry.
pub const MOST_STATES: usize = 8;
/// Maps of computed values a cell may have.
pub const MOST_MAPS: usize = 4;

/// What the drivers need to know of a cell.
///
/// A row of the gate buffer holds the slots, each a run of units, in this order: fed by h alone; by x and h; by x and a
/// value; by x alone; by a value alone; by nothing. So what h feeds stands together, and what x feeds: each is one product.
/// Going back, a row holds the derivatives by them, followed by those by the units' own parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Slots of each kind, in the order above.
    kinds: [u8; 6],
    /// Runs of units in a row of the gate buffer.
    planes: u8,
    /// States.
    states: u8,
    /// Row blocks of `weight_ih`, of `weight_hh`, blocks of `weight_p`.
    blocks: [u8; 3],
    /// Whether h is read itself.
    reads_h: bool,
    /// The row blocks of the slots that x feeds, in their order.
    x: [u8; MOST_SLOTS],
    /// The row blocks of the slots that h feeds.
    h: [u8; MOST_SLOTS],
    /// Maps of values: the slot of the value, the slot fed, the row block, and the stage after which the value is there.
    maps: [Map; MOST_MAPS],
    maps_len: u8,
}

/// A map of a computed value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Map {
    /// The slot that holds the value.
    pub value: u8,
    /// The slot that the product is added to.
    pub to: u8,
    /// The row block of `weight_hh`.
    pub block: u8,
    /// Which of the stages makes the value, from 0.
    pub stage: u8,
}

/// A run of slots that one product fills.
#[derive(Clone, Copy)]
pub struct Slots {
    /// The first.
    pub first: usize,
    /// How many.
    pub count: usize,
}

impl Layout {
    /// Of slots, of the stages after which the values of maps are there (in the order of the slots they feed), and of the
    /// numbers of states and of blocks of the three weights. Panics where that does not fit together.
    #[must_use]
    pub const fn new(
        slots: &[Slot],
        stages: &[u8],
        states: usize,
        blocks: [usize; 3],
        reads_h: bool,
    ) -> Self {
        assert!(slots.len() <= MOST_SLOTS, "a cell has 16 slots at most");
        assert!(states >= 1 && states <= MOST_STATES, "a cell has a state, h, and 8 at most");
        let mut this = Layout {
            kinds: [0; 6],
            planes: 0,
            states: states as u8,
            blocks: [blocks[0] as u8, blocks[1] as u8, blocks[2] as u8],
            reads_h,
            x: [0; MOST_SLOTS],
            h: [0; MOST_SLOTS],
            maps: [Map { value: 0, to: 0, block: 0, stage: 0 }; MOST_MAPS],
            maps_len: 0,
        };
        let (mut xs, mut hs, mut seen_x, mut seen_h, mut order) = (0, 0, 0_u64, 0_u64, 0);
        let mut i = 0;
        while i < slots.len() {
            let slot = slots[i];
            assert!(
                slot.order() >= order,
                "slots stand in this order: fed by h alone, by x and h, by x and a value, by x, by a value, by nothing"
            );
            order = slot.order();
            this.kinds[order as usize] += 1;
            if let Some(x) = slot.x {
                this.x[xs] = x;
                xs += 1;
                assert!(
                    (x as usize) < blocks[0] && seen_x >> x & 1 == 0,
                    "each block of weight_ih feeds one slot"
                );
                seen_x |= 1 << x;
            }
            if let Some(h) = slot.h {
                assert!(
                    (h as usize) < blocks[1] && seen_h >> h & 1 == 0,
                    "each block of weight_hh feeds one slot"
                );
                seen_h |= 1 << h;
                if let Some(value) = slot.of {
                    let at = this.maps_len as usize;
                    assert!(at < MOST_MAPS, "a cell has 4 maps of values at most");
                    assert!(
                        (value as usize) < slots.len() && slots[value as usize].order() == 5,
                        "what a map acts on stands in a slot made by Slot::value"
                    );
                    this.maps[at] = Map { value, to: i as u8, block: h, stage: stages[at] };
                    this.maps_len += 1;
                } else {
                    this.h[hs] = h;
                    hs += 1;
                }
            }
            i += 1;
        }
        assert!(xs == blocks[0], "every block of weight_ih feeds a slot");
        assert!(hs + this.maps_len as usize == blocks[1], "every block of weight_hh feeds a slot");
        this.with_planes(slots.len())
    }

    /// With room for so many runs of units that the way back needs.
    #[must_use]
    pub const fn with_planes(self, kept: usize) -> Self {
        let back = self.slots() + self.parameters();
        let most = if kept > back { kept } else { back };
        assert!(most <= u8::MAX as usize);
        Layout { planes: most as u8, ..self }
    }

    /// Slots that are fed, or hold values.
    #[inline(always)]
    #[must_use]
    pub const fn slots(&self) -> usize {
        let [a, b, c, d, e, f] = self.kinds;
        (a + b + c + d + e + f) as usize
    }

    /// Runs of units in a row of the gate buffer.
    #[inline(always)]
    #[must_use]
    pub const fn planes(&self) -> usize {
        self.planes as usize
    }

    /// States.
    #[inline(always)]
    #[must_use]
    pub const fn states(&self) -> usize {
        self.states as usize
    }

    /// Row blocks of `weight_ih`.
    #[inline(always)]
    #[must_use]
    pub const fn maps_of_x(&self) -> usize {
        self.blocks[0] as usize
    }

    /// Row blocks of `weight_hh`.
    #[inline(always)]
    #[must_use]
    pub const fn maps_of_h(&self) -> usize {
        self.blocks[1] as usize
    }

    /// Blocks of `weight_p`.
    #[inline(always)]
    #[must_use]
    pub const fn parameters(&self) -> usize {
        self.blocks[2] as usize
    }

    /// Whether h is read itself, and not only through its maps.
    #[inline(always)]
    #[must_use]
    pub const fn reads_h(&self) -> bool {
        self.reads_h
    }

    /// The slots that x feeds.
    #[inline(always)]
    #[must_use]
    pub const fn x_slots(&self) -> Slots {
        let [h, both, mapped, x, ..] = self.kinds;
        Slots { first: h as usize, count: (both + mapped + x) as usize }
    }

    /// The slots that h feeds at the beginning of a step.
    #[inline(always)]
    #[must_use]
    pub const fn h_slots(&self) -> Slots {
        let [h, both, ..] = self.kinds;
        Slots { first: 0, count: (h + both) as usize }
    }

    /// The slots that begin as a bias alone, beside those before the first of `x_slots`: values feed them.
    #[inline(always)]
    #[must_use]
    pub const fn value_slots(&self) -> Slots {
        let x = self.x_slots();
        Slots { first: x.first + x.count, count: self.kinds[4] as usize }
    }

    /// The row blocks of `weight_ih` that feed `x_slots`.
    #[inline(always)]
    #[must_use]
    pub const fn x_blocks(&self) -> &[u8] {
        self.x.split_at(self.x_slots().count).0
    }

    /// The row blocks of `weight_hh` that feed `h_slots`.
    #[inline(always)]
    #[must_use]
    pub const fn h_blocks(&self) -> &[u8] {
        self.h.split_at(self.h_slots().count).0
    }

    /// The maps of values.
    #[inline(always)]
    #[must_use]
    pub const fn maps(&self) -> &[Map] {
        self.maps.split_at(self.maps_len as usize).0
    }

    /// Rounds of elementwise work in a step: one more than there are rounds of maps of values.
    #[inline(always)]
    #[must_use]
    pub const fn stages(&self) -> usize {
        let (maps, mut most, mut i) = (self.maps(), 0, 0);
        while i < maps.len() {
            if maps[i].stage as usize + 1 > most {
                most = maps[i].stage as usize + 1;
            }
            i += 1;
        }
        most + 1
    }

    /// The slot that the bias beside a row block of `weight_ih` enters.
    #[must_use]
    pub const fn x_slot(&self, block: usize) -> usize {
        let (blocks, mut i) = (self.x_blocks(), 0);
        while i < blocks.len() && blocks[i] as usize != block {
            i += 1;
        }
        self.x_slots().first + i
    }

    /// The slot that the bias beside a row block of `weight_hh` enters.
    #[must_use]
    pub const fn h_slot(&self, block: usize) -> usize {
        let (maps, mut i) = (self.maps(), 0);
        while i < maps.len() {
            if maps[i].block as usize == block {
                return maps[i].to as usize;
            }
            i += 1;
        }
        let (blocks, mut i) = (self.h_blocks(), 0);
        while i < blocks.len() && blocks[i] as usize != block {
            i += 1;
        }
        i
    }
}

/// What is summed up in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The row block of `weight_ih` that x is multiplied by.
    pub(crate) x: Option<u8>,
    /// The row block of `weight_hh` that h, or a value, is multiplied by.
    pub(crate) h: Option<u8>,
    /// The slot of that value.
    pub(crate) of: Option<u8>,
}

impl Slot {
    /// Fed by x and by h, by these row blocks of their weights.
    #[must_use]
    pub const fn both(x: u8, h: u8) -> Self {
        Slot { x: Some(x), h: Some(h), of: None }
    }
    /// Fed by x alone.
    #[must_use]
    pub const fn x(block: u8) -> Self {
        Slot { x: Some(block), h: None, of: None }
    }
    /// Fed by h alone.
    #[must_use]
    pub const fn h(block: u8) -> Self {
        Slot { x: None, h: Some(block), of: None }
    }
    /// Fed also by a block of `weight_hh` times the value in another slot: the original GRU's W_hn (r ⊙ h).
    #[must_use]
    pub const fn and(self, block: u8, value: u8) -> Self {
        Slot { h: Some(block), of: Some(value), ..self }
    }
    /// Fed by nothing: it holds a value that a map acts on, or what `backward` will want to see.
    #[must_use]
    pub const fn value() -> Self {
        Slot { x: None, h: None, of: None }
    }

    /// The place of this kind of slot among the others: see [`Layout`].
    pub(crate) const fn order(self) -> u8 {
        match (self.x, self.h, self.of) {
            (None, Some(_), None) => 0,
            (Some(_), Some(_), None) => 1,
            (Some(_), Some(_), Some(_)) => 2,
            (Some(_), None, _) => 3,
            (None, Some(_), Some(_)) => 4,
            (None, None, _) => 5,
        }
    }
}
