//! The gates of each cell, and the parameters of a net: names, shapes and order, as PyTorch has them.
//!
//! Gate order is one fact used everywhere: rows of the weights, slots of the buffers,
//! the `gates` a tape shows. It is said here and nowhere else.

use core::fmt;

/// A gate of any of the three cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// LSTM: how much of the candidate enters the cell.
    Input,
    /// LSTM: how much of the cell stays.
    Forget,
    /// LSTM: what may enter the cell (PyTorch's `g`).
    Candidate,
    /// LSTM: how much of the cell shows.
    Output,
    /// GRU: how much of the old state the new one sees.
    Reset,
    /// GRU: how much of the old state stays (PyTorch's `z`).
    Update,
    /// GRU: the proposed state (PyTorch's `n`).
    New,
    /// RNN: the state itself.
    Hidden,
}

/// Activation of a plain recurrent layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// tanh
    Tanh,
    /// max(0, x)
    Relu,
    /// The logistic function 1 / (1 + e⁻ˣ).
    Sigmoid,
}

/// Which cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellKind {
    /// h' = σ(W_ih x + b_ih + W_hh h + b_hh)
    Rnn(Activation),
    /// Long short-term memory; without the forget gate f ≡ 1, the cell of 1997.
    Lstm {
        /// Whether there is one.
        forget_gate: bool,
    },
    /// Gated recurrent unit; `reset_after`: the reset gate acts on W_hn h + b_hn (as
    /// PyTorch), else on h before the product (the original form).
    Gru {
        /// Where the reset gate acts.
        reset_after: bool,
    },
    /// Any other.
    Open(Counts),
}

/// How many there are of what a cell is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Row blocks of `weight_ih`, H rows each.
    pub maps_of_x: u8,
    /// Row blocks of `weight_hh`.
    pub maps_of_h: u8,
    /// Blocks of `weight_p`, H numbers each.
    pub parameters: u8,
    /// States, h among them.
    pub states: u8,
    /// Whether h is read itself: then it cannot be a projection.
    pub reads_h: bool,
}

impl CellKind {
    /// The gates in the order of the weights' rows; those of an open cell have no names here.
    #[must_use]
    pub const fn gates(self) -> &'static [Gate] {
        match self {
            CellKind::Rnn(_) => &[Gate::Hidden],
            CellKind::Lstm { forget_gate: true } => {
                &[Gate::Input, Gate::Forget, Gate::Candidate, Gate::Output]
            }
            CellKind::Lstm { forget_gate: false } => &[Gate::Input, Gate::Candidate, Gate::Output],
            CellKind::Gru { .. } => &[Gate::Reset, Gate::Update, Gate::New],
            CellKind::Open(_) => &[],
        }
    }

    /// How many there are of what it is made of.
    #[must_use]
    pub const fn counts(self) -> Counts {
        if let CellKind::Open(counts) = self {
            return counts;
        }
        let gates = self.gates().len() as u8;
        Counts {
            maps_of_x: gates,
            maps_of_h: gates,
            parameters: 0,
            states: if let CellKind::Lstm { .. } = self { 2 } else { 1 },
            reads_h: matches!(self, CellKind::Gru { .. }),
        }
    }

    /// States: h, and an LSTM's c.
    #[must_use]
    pub const fn states(self) -> usize {
        self.counts().states as usize
    }
}

/// What a net is made of. Sizes computed from these stop at `usize::MAX`, which no memory has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The cell.
    pub kind: CellKind,
    /// Values per time step of the input.
    pub input_size: usize,
    /// Hidden units H.
    pub hidden_size: usize,
    /// Values h is projected to (LSTM); 0 for no projection.
    pub proj_size: usize,
    /// Layers, one on another.
    pub num_layers: usize,
    /// Whether each layer also runs from the end to the start.
    pub bidirectional: bool,
    /// Whether there are bias vectors.
    pub bias: bool,
}

impl Config {
    /// One layer, one direction, with biases.
    #[must_use]
    pub const fn new(kind: CellKind, input_size: usize, hidden_size: usize) -> Self {
        Config {
            kind,
            input_size,
            hidden_size,
            proj_size: 0,
            num_layers: 1,
            bidirectional: false,
            bias: true,
        }
    }

    /// 2 if bidirectional, else 1.
    #[must_use]
    pub const fn num_directions(&self) -> usize {
        if self.bidirectional { 2 } else { 1 }
    }

    /// Gates per unit: the rows of `weight_ih` over H.
    #[must_use]
    pub const fn num_gates(&self) -> usize {
        self.kind.counts().maps_of_x as usize
    }

    /// Values of each state: of h, `proj_size` or H, of the others H.
    pub fn state_sizes(&self) -> impl Iterator<Item = usize> + use<> {
        let (first, others) = (self.state_size(), self.hidden_size);
        (0..self.kind.states()).map(move |state| if state == 0 { first } else { others })
    }

    /// Values of h: `proj_size`, or `hidden_size` without projection.
    #[must_use]
    pub const fn state_size(&self) -> usize {
        if self.proj_size > 0 { self.proj_size } else { self.hidden_size }
    }

    /// Values per time step of the output: both directions side by side.
    #[must_use]
    pub const fn output_size(&self) -> usize {
        self.state_size().saturating_mul(self.num_directions())
    }

    /// Values per time step that layer `layer` reads.
    #[must_use]
    pub const fn layer_input_size(&self, layer: usize) -> usize {
        if layer == 0 { self.input_size } else { self.output_size() }
    }

    /// The parameters of `layer` in one direction, in order.
    pub fn layer_parameters(
        &self,
        layer: usize,
        reverse: bool,
    ) -> impl Iterator<Item = Parameter> + use<> {
        let counts = self.kind.counts();
        let rows = |blocks: u8| (blocks as usize).saturating_mul(self.hidden_size);
        let (ih, hh, p) = (rows(counts.maps_of_x), rows(counts.maps_of_h), rows(counts.parameters));
        let (bias, proj) = (self.bias, self.proj_size);
        [
            (Role::WeightIh, ih, self.layer_input_size(layer), ih > 0),
            (Role::WeightHh, hh, self.state_size(), hh > 0),
            (Role::BiasIh, ih, 1, bias && ih > 0),
            (Role::BiasHh, hh, 1, bias && hh > 0),
            (Role::WeightP, p, 1, p > 0),
            (Role::WeightHr, proj, self.hidden_size, proj > 0),
        ]
        .into_iter()
        .filter(|&(.., there)| there)
        .map(move |(role, rows, columns, _)| Parameter {
            role,
            layer,
            reverse,
            rows,
            columns,
        })
    }

    /// Every parameter, in the order of PyTorch's `state_dict` and of flat parameter slices.
    pub fn parameters(&self) -> impl Iterator<Item = Parameter> + use<> {
        let this = *self;
        (0..self.num_layers).flat_map(move |layer| {
            (0..this.num_directions())
                .flat_map(move |direction| this.layer_parameters(layer, direction == 1))
        })
    }

    /// How many numbers all parameters hold together; `usize::MAX` where they would be more.
    #[must_use]
    pub fn num_parameters(&self) -> usize {
        let of = |layer| {
            self.layer_parameters(layer, false).fold(0_usize, |n, p| n.saturating_add(p.len()))
        };
        // All layers but the first are alike: no walk through them, there may be absurdly many.
        let Some(above) = self.num_layers.checked_sub(1) else { return 0 };
        above.saturating_mul(of(1)).saturating_add(of(0)).saturating_mul(self.num_directions())
    }
}

/// What a parameter does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Input to gates, (gates · H, inputs).
    WeightIh,
    /// State to gates, (gates · H, state size).
    WeightHh,
    /// Bias beside `WeightIh`, (gates · H).
    BiasIh,
    /// Bias beside `WeightHh`, (gates · H).
    BiasHh,
    /// Projection of the hidden state, (P, H).
    WeightHr,
    /// What each unit has for itself, (parameters · H).
    WeightP,
}

/// One parameter: which, and its shape. Displays as PyTorch's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// What it does.
    pub role: Role,
    /// Its layer, from 0.
    pub layer: usize,
    /// Whether it belongs to the reverse direction.
    pub reverse: bool,
    /// Rows.
    pub rows: usize,
    /// Columns; 1 for a bias, which is a vector.
    pub columns: usize,
}

impl Parameter {
    /// How many numbers it holds.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub const fn len(&self) -> usize {
        self.rows.saturating_mul(self.columns)
    }

    /// Whether it is a vector.
    #[must_use]
    pub const fn is_vector(&self) -> bool {
        matches!(self.role, Role::BiasIh | Role::BiasHh | Role::WeightP)
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            Role::WeightIh => "weight_ih",
            Role::WeightHh => "weight_hh",
            Role::BiasIh => "bias_ih",
            Role::BiasHh => "bias_hh",
            Role::WeightHr => "weight_hr",
            Role::WeightP => "weight_p",
        };
        let direction = if self.reverse { "_reverse" } else { "" };
        write!(f, "{role}_l{}{direction}", self.layer)
    }
}
