//! Which cell a fixed-size type is, as a type.

use crate::gates::{Activation, CellKind};

mod sealed {
    pub trait Sealed {}
}

/// Which cell a fixed-size type is.
pub trait Variant: sealed::Sealed + Copy + Send + Sync + 'static {
    /// The cell.
    const KIND: CellKind;
}

macro_rules! variant {
    ($(#[$doc:meta])* $name:ident, $kind:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;
        impl sealed::Sealed for $name {}
        impl Variant for $name {
            const KIND: CellKind = $kind;
        }
    };
}
variant!(
    /// An LSTM with input, forget and output gate.
    ForgetGate,
    CellKind::Lstm { forget_gate: true }
);
variant!(
    /// A GRU whose reset gate acts after the product, as PyTorch's.
    ResetAfter,
    CellKind::Gru { reset_after: true }
);
variant!(
    /// A GRU whose reset gate acts before the product: the original form.
    ResetBefore,
    CellKind::Gru { reset_after: false }
);
variant!(
    /// An RNN with tanh.
    Tanh,
    CellKind::Rnn(Activation::Tanh)
);
variant!(
    /// An RNN with max(0, x).
    Relu,
    CellKind::Rnn(Activation::Relu)
);
variant!(
    /// An RNN with the logistic function.
    Sigmoid,
    CellKind::Rnn(Activation::Sigmoid)
);
