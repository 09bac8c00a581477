//! One step of one row: the formulas of the three cells, each backward below its forward.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use crate::gates::{Activation, CellKind, Config, Gate, Role};

/// What a cell carries from step to step, or the gradient in it.
pub(super) struct State {
    pub h: Vec<f64>,
    /// Empty unless the cell has one.
    pub c: Vec<f64>,
}

impl State {
    pub fn zeros(config: &Config) -> Self {
        State { h: vec![0.0; config.state_size()], c: vec![0.0; cell_size(config)] }
    }
}

/// Values of c; 0 unless the cell has one.
pub(super) fn cell_size(config: &Config) -> usize {
    if config.kind.states() > 1 { config.hidden_size } else { 0 }
}

/// `to += from`, value by value.
pub(super) fn add(to: &mut [f64], from: &[f64]) {
    assert_eq!(to.len(), from.len());
    for k in 0..to.len() {
        to[k] += from[k];
    }
}

/// The parameters of one layer in one direction; empty where there are none.
pub(super) struct Weights<'a> {
    pub config: &'a Config,
    /// Values per step that the layer reads.
    pub inputs: usize,
    w_ih: &'a [f64],
    w_hh: &'a [f64],
    b_ih: &'a [f64],
    b_hh: &'a [f64],
    w_hr: &'a [f64],
}

impl<'a> Weights<'a> {
    pub fn of(config: &'a Config, parameters: &'a [f64], layer: usize, reverse: bool) -> Self {
        let [w_ih, w_hh, b_ih, b_hh, w_hr] =
            extents(config, layer, reverse).map(|extent| &parameters[extent]);
        Weights { config, inputs: config.layer_input_size(layer), w_ih, w_hh, b_ih, b_hh, w_hr }
    }
}

/// Where the gradients in [`Weights`] are added.
pub(super) struct WeightGradients<'a> {
    d_w_ih: &'a mut [f64],
    d_w_hh: &'a mut [f64],
    d_b_ih: &'a mut [f64],
    d_b_hh: &'a mut [f64],
    d_w_hr: &'a mut [f64],
}

impl<'a> WeightGradients<'a> {
    pub fn of(config: &Config, parameters: &'a mut [f64], layer: usize, reverse: bool) -> Self {
        let [d_w_ih, d_w_hh, d_b_ih, d_b_hh, d_w_hr] = parameters
            .get_disjoint_mut(extents(config, layer, reverse))
            .expect("parameters lie one after another");
        WeightGradients { d_w_ih, d_w_hh, d_b_ih, d_b_hh, d_w_hr }
    }
}

/// Where the parameters of one layer in one direction lie among all, in the order of [`Role`].
fn extents(config: &Config, layer: usize, reverse: bool) -> [Range<usize>; 5] {
    let mut extents = [const { 0..0 }; 5];
    let mut start = 0;
    for parameter in config.parameters() {
        let end = start + parameter.len();
        if (parameter.layer, parameter.reverse) == (layer, reverse) {
            let place = match parameter.role {
                Role::WeightIh => 0,
                Role::WeightHh => 1,
                Role::BiasIh => 2,
                Role::BiasHh => 3,
                Role::WeightHr => 4,
                Role::WeightP => unreachable!("only an open cell has such"),
            };
            extents[place] = start..end;
        }
        start = end;
    }
    extents
}

/// One step of one row: what it reads.
pub(super) struct Step<'a> {
    pub w: &'a Weights<'a>,
    pub x: &'a [f64],
    pub before: &'a State,
}

impl Step<'_> {
    /// The state after the step; `gates` (G, H) receives the activated gates.
    pub fn forward(&self, gates: &mut [f64]) -> State {
        match self.w.config.kind {
            CellKind::Rnn(activation) => self.rnn(activation, gates),
            CellKind::Lstm { .. } => self.lstm(gates),
            CellKind::Gru { reset_after } => self.gru(reset_after, gates),
            CellKind::Open(_) => unreachable!("`check` refuses it"),
        }
    }

    /// From `d`, the gradient in the state after the step, to the one in the state before it.
    /// `gates` and `c` are what `forward` left; gradients are added to `d_x` and `d_w`.
    pub fn backward(
        &self,
        gates: &[f64],
        c: &[f64],
        d: &State,
        d_x: &mut [f64],
        d_w: &mut WeightGradients,
    ) -> State {
        match self.w.config.kind {
            CellKind::Rnn(activation) => self.rnn_backward(activation, gates, d, d_x, d_w),
            CellKind::Lstm { .. } => self.lstm_backward(gates, c, d, d_x, d_w),
            CellKind::Gru { reset_after } => self.gru_backward(reset_after, gates, d, d_x, d_w),
            CellKind::Open(_) => unreachable!("`check` refuses it"),
        }
    }

    /// h' = σ(W_ih x + b_ih + W_hh h + b_hh)
    fn rnn(&self, activation: Activation, gates: &mut [f64]) -> State {
        let Step { w, x, before } = *self;
        let from_x = affine(w.w_ih, w.b_ih, x, gates.len());
        let from_h = affine(w.w_hh, w.b_hh, &before.h, gates.len());
        for j in 0..gates.len() {
            gates[j] = activate(activation, from_x[j] + from_h[j]);
        }
        State { h: gates.to_vec(), c: Vec::new() }
    }

    fn rnn_backward(
        &self,
        activation: Activation,
        gates: &[f64],
        d: &State,
        d_x: &mut [f64],
        d_w: &mut WeightGradients,
    ) -> State {
        let Step { w, x, before } = *self;
        let mut d_before = State::zeros(w.config);
        let mut d_sum = vec![0.0; gates.len()];
        for j in 0..gates.len() {
            d_sum[j] = d.h[j] * slope(activation, gates[j]);
        }
        affine_backward(w.w_hh, &before.h, &d_sum, d_w.d_w_hh, d_w.d_b_hh, &mut d_before.h);
        affine_backward(w.w_ih, x, &d_sum, d_w.d_w_ih, d_w.d_b_ih, d_x);
        d_before
    }

    /// c' = f ⊙ c + i ⊙ g, shown = o ⊙ tanh(c'), h' = W_hr shown or, without projection, shown.
    fn lstm(&self, gates: &mut [f64]) -> State {
        let Step { w, x, before } = *self;
        let size = w.config.hidden_size;
        let from_x = affine(w.w_ih, w.b_ih, x, gates.len());
        let from_h = affine(w.w_hh, w.b_hh, &before.h, gates.len());
        for gate in w.config.kind.gates() {
            for row in self.rows(*gate) {
                gates[row] = activate(lstm_activation(*gate), from_x[row] + from_h[row]);
            }
        }
        let [i, f, g, o] = self.lstm_gates(gates);
        let (mut c, mut shown) = (vec![0.0; size], vec![0.0; size]);
        for j in 0..size {
            c[j] = f[j] * before.c[j] + i[j] * g[j];
            shown[j] = o[j] * libm::tanh(c[j]);
        }
        let projected = w.config.proj_size > 0;
        let h = if projected { affine(w.w_hr, &[], &shown, w.config.proj_size) } else { shown };
        State { h, c }
    }

    fn lstm_backward(
        &self,
        gates: &[f64],
        c: &[f64],
        d: &State,
        d_x: &mut [f64],
        d_w: &mut WeightGradients,
    ) -> State {
        let Step { w, x, before } = *self;
        let size = w.config.hidden_size;
        let mut d_before = State::zeros(w.config);
        let [i, f, g, o] = self.lstm_gates(gates);
        let mut d_shown = d.h.clone();
        if w.config.proj_size > 0 {
            let mut shown = vec![0.0; size];
            for j in 0..size {
                shown[j] = o[j] * libm::tanh(c[j]);
            }
            d_shown = vec![0.0; size];
            affine_backward(w.w_hr, &shown, &d.h, d_w.d_w_hr, &mut [], &mut d_shown);
        }
        let mut d_sum = vec![0.0; gates.len()];
        for j in 0..size {
            let tanh_c = libm::tanh(c[j]);
            let d_c = d.c[j] + d_shown[j] * o[j] * (1.0 - tanh_c * tanh_c);
            d_before.c[j] = d_c * f[j];
            for (k, gate) in w.config.kind.gates().iter().enumerate() {
                let d_gate = match gate {
                    Gate::Input => d_c * g[j],
                    Gate::Forget => d_c * before.c[j],
                    Gate::Candidate => d_c * i[j],
                    _ => d_shown[j] * tanh_c,
                };
                let row = k * size + j;
                d_sum[row] = d_gate * slope(lstm_activation(*gate), gates[row]);
            }
        }
        affine_backward(w.w_hh, &before.h, &d_sum, d_w.d_w_hh, d_w.d_b_hh, &mut d_before.h);
        affine_backward(w.w_ih, x, &d_sum, d_w.d_w_ih, d_w.d_b_ih, d_x);
        d_before
    }

    /// h' = (1 − z) ⊙ n + z ⊙ h with n = tanh(W_in x + b_in + r ⊙ (W_hn h + b_hn)) if `reset_after`,
    /// else n = tanh(W_in x + b_in + W_hn (r ⊙ h) + b_hn).
    fn gru(&self, reset_after: bool, gates: &mut [f64]) -> State {
        let Step { w, x, before } = *self;
        let size = w.config.hidden_size;
        let [r, z, n] = self.gru_rows();
        let from_x = affine(w.w_ih, w.b_ih, x, gates.len());
        let from_h = affine(w.w_hh, w.b_hh, &before.h, gates.len());
        for row in r.clone().chain(z.clone()) {
            gates[row] = sigmoid(from_x[row] + from_h[row]);
        }
        let from_h = self.gru_new_from_h(reset_after, &gates[r.clone()]);
        for j in 0..size {
            let reset = if reset_after { gates[r.start + j] } else { 1.0 };
            gates[n.start + j] = libm::tanh(from_x[n.start + j] + reset * from_h[j]);
        }
        let (z, n) = (&gates[z], &gates[n]);
        let mut h = vec![0.0; size];
        for j in 0..size {
            h[j] = (1.0 - z[j]) * n[j] + z[j] * before.h[j];
        }
        State { h, c: Vec::new() }
    }

    fn gru_backward(
        &self,
        reset_after: bool,
        gates: &[f64],
        d: &State,
        d_x: &mut [f64],
        d_w: &mut WeightGradients,
    ) -> State {
        let Step { w, x, before } = *self;
        let size = w.config.hidden_size;
        let [r_rows, z_rows, n_rows] = self.gru_rows();
        let (r, z, n) = (&gates[r_rows.clone()], &gates[z_rows.clone()], &gates[n_rows.clone()]);
        let mut d_before = State::zeros(w.config);
        let mut d_sum = vec![0.0; gates.len()];
        for j in 0..size {
            d_before.h[j] = d.h[j] * z[j];
            let d_z = d.h[j] * (before.h[j] - n[j]);
            let d_n = d.h[j] * (1.0 - z[j]);
            d_sum[z_rows.start + j] = d_z * z[j] * (1.0 - z[j]);
            d_sum[n_rows.start + j] = d_n * (1.0 - n[j] * n[j]);
        }

        let mut d_r = vec![0.0; size];
        let mut d_from_h = d_sum[n_rows.clone()].to_vec();
        let w_hn = &w.w_hh[n_rows.start * size..n_rows.end * size];
        let d_w_hn = &mut d_w.d_w_hh[n_rows.start * size..n_rows.end * size];
        let d_b_hn = d_w.d_b_hh.get_mut(n_rows.clone()).unwrap_or_default();
        if reset_after {
            let from_h = self.gru_new_from_h(reset_after, r);
            for j in 0..size {
                d_r[j] = d_from_h[j] * from_h[j];
                d_from_h[j] *= r[j];
            }
            affine_backward(w_hn, &before.h, &d_from_h, d_w_hn, d_b_hn, &mut d_before.h);
        } else {
            let mut d_reset_h = vec![0.0; size];
            let reset_h = product(r, &before.h);
            affine_backward(w_hn, &reset_h, &d_from_h, d_w_hn, d_b_hn, &mut d_reset_h);
            for j in 0..size {
                d_r[j] = d_reset_h[j] * before.h[j];
                d_before.h[j] += d_reset_h[j] * r[j];
            }
        }
        for j in 0..size {
            d_sum[r_rows.start + j] = d_r[j] * r[j] * (1.0 - r[j]);
        }

        for rows in [r_rows, z_rows] {
            affine_backward(
                &w.w_hh[rows.start * size..rows.end * size],
                &before.h,
                &d_sum[rows.clone()],
                &mut d_w.d_w_hh[rows.start * size..rows.end * size],
                d_w.d_b_hh.get_mut(rows).unwrap_or_default(),
                &mut d_before.h,
            );
        }
        affine_backward(w.w_ih, x, &d_sum, d_w.d_w_ih, d_w.d_b_ih, d_x);
        d_before
    }

    /// W_hn h + b_hn, or W_hn (r ⊙ h) + b_hn unless `reset_after`.
    fn gru_new_from_h(&self, reset_after: bool, r: &[f64]) -> Vec<f64> {
        let Step { w, before, .. } = *self;
        let [.., n] = self.gru_rows();
        let size = w.config.hidden_size;
        let w_hn = &w.w_hh[n.start * size..n.end * size];
        let b_hn = w.b_hh.get(n.clone()).unwrap_or_default();
        let reset_h = product(r, &before.h);
        affine(w_hn, b_hn, if reset_after { &before.h } else { &reset_h }, n.len())
    }

    fn gru_rows(&self) -> [Range<usize>; 3] {
        [Gate::Reset, Gate::Update, Gate::New].map(|gate| self.rows(gate))
    }

    /// The values of i, f, g and o, 1 for a gate that is not there.
    fn lstm_gates(&self, gates: &[f64]) -> [Vec<f64>; 4] {
        [Gate::Input, Gate::Forget, Gate::Candidate, Gate::Output].map(|gate| {
            let rows = self.rows(gate);
            if rows.is_empty() {
                vec![1.0; self.w.config.hidden_size]
            } else {
                gates[rows].to_vec()
            }
        })
    }

    /// The rows of `gate`; empty if the cell has none.
    fn rows(&self, gate: Gate) -> Range<usize> {
        let size = self.w.config.hidden_size;
        match self.w.config.kind.gates().iter().position(|&g| g == gate) {
            Some(place) => place * size..(place + 1) * size,
            None => 0..0,
        }
    }
}

fn lstm_activation(gate: Gate) -> Activation {
    if gate == Gate::Candidate { Activation::Tanh } else { Activation::Sigmoid }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Tanh => libm::tanh(x),
        Activation::Sigmoid => sigmoid(x),
        // Not `max`, which would turn NaN into 0.
        Activation::Relu => {
            if x < 0.0 {
                0.0
            } else {
                x
            }
        }
    }
}

/// σ' where σ is `y`. For relu at 0 this is 0, as everywhere.
fn slope(activation: Activation, y: f64) -> f64 {
    match activation {
        Activation::Tanh => 1.0 - y * y,
        Activation::Sigmoid => y * (1.0 - y),
        Activation::Relu => {
            if y <= 0.0 {
                0.0
            } else {
                1.0
            }
        }
    }
}

/// a ⊙ b
fn product(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a * b).collect()
}

/// W v + b, of `rows` values; an empty b counts as 0.
fn affine(w: &[f64], b: &[f64], v: &[f64], rows: usize) -> Vec<f64> {
    let mut out = vec![0.0; rows];
    for row in 0..rows {
        for k in 0..v.len() {
            out[row] += w[row * v.len() + k] * v[k];
        }
        if !b.is_empty() {
            out[row] += b[row];
        }
    }
    out
}

/// d_W += d_out vᵀ, d_b += d_out, d_v += Wᵀ d_out.
fn affine_backward(
    w: &[f64],
    v: &[f64],
    d_out: &[f64],
    d_w: &mut [f64],
    d_b: &mut [f64],
    d_v: &mut [f64],
) {
    for row in 0..d_out.len() {
        for k in 0..v.len() {
            d_w[row * v.len() + k] += d_out[row] * v[k];
            d_v[k] += w[row * v.len() + k] * d_out[row];
        }
        if !d_b.is_empty() {
            d_b[row] += d_out[row];
        }
    }
}
