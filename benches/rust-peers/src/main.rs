//! `unrolled` beside candle and burn: one LSTM layer, the same weights, one thread, one process.
//!
//! First the outputs and every gradient are compared, then the libraries take turns, round after round, so that
//! whatever else the machine does befalls all of them. Times are medians. The peers' tensors for a step's input
//! stand ready before the clock runs, and their results stay tensors.
//!
//! ```text
//! make bench-rust-peers           # or, here: RAYON_NUM_THREADS=1 taskset -c 1 cargo run --release [filter]
//! ```

use candle_nn::rnn::RNN;
use std::collections::HashMap;
use std::hint::black_box;
use std::time::Instant;
use unrolled::cell::ForgetGate;
use unrolled::fixed::Parameters;
use unrolled::network::{Input, Losses, Network, Recording, View};
use unrolled::rng::Rng;
use unrolled::{CellKind, Config, Level, Lstm};

type Failure = Box<dyn std::error::Error>;

/// An LSTM, what it is fed, and the derivative of the loss by its outputs.
struct Problem {
    steps: usize,
    batch: usize,
    inputs: usize,
    units: usize,
    /// weight_ih, weight_hh, bias_ih, bias_hh, as PyTorch has them.
    parameters: [Vec<f32>; 4],
    /// (T, B, I)
    x: Vec<f32>,
    /// (T, B, H)
    d_y: Vec<f32>,
}

/// What a library made of a problem: y as (T, B, H), and the gradients by the parameters and by x, (T, B, I).
struct Results {
    y: Vec<f32>,
    gradients: [Vec<f32>; 5],
}

impl Problem {
    fn new([steps, batch, inputs, units]: [usize; 4]) -> Self {
        let mut rng = Rng::new(1);
        let mut draw = |n: usize, scale: f64| -> Vec<f32> {
            (0..n).map(|_| ((2.0 * rng.uniform() - 1.0) * scale) as f32).collect()
        };
        let scale = 1.0 / (units as f64).sqrt();
        let sizes = [4 * units * inputs, 4 * units * units, 4 * units, 4 * units];
        Problem {
            steps,
            batch,
            inputs,
            units,
            parameters: sizes.map(|n| draw(n, scale)),
            x: draw(steps * batch * inputs, 1.0),
            d_y: draw(steps * batch * units, 1.0),
        }
    }

    /// (T, B, n) ↔ (B, T, n): candle and burn have the batch first.
    fn batch_first(&self, from: &[f32], n: usize) -> Vec<f32> {
        swap(from, self.steps, self.batch, n)
    }
    fn time_first(&self, from: &[f32], n: usize) -> Vec<f32> {
        swap(from, self.batch, self.steps, n)
    }
}

fn swap(from: &[f32], outer: usize, inner: usize, n: usize) -> Vec<f32> {
    let row = |i: usize, o: usize| &from[(o * inner + i) * n..][..n];
    (0..inner).flat_map(|i| (0..outer).flat_map(move |o| row(i, o).iter().copied())).collect()
}

/// A library with the problem's weights and inputs in its own form.
trait Library {
    fn name(&self) -> &'static str;
    /// y of the whole sequence.
    fn forward(&mut self) -> Result<(), Failure>;
    /// y, and every gradient.
    fn both(&mut self) -> Result<(), Failure>;
    /// The same to be compared.
    fn results(&mut self) -> Result<Results, Failure>;
}

struct Ours<'p> {
    problem: &'p Problem,
    net: Network<f32>,
}

impl<'p> Ours<'p> {
    fn new(problem: &'p Problem) -> Result<Self, Failure> {
        let config =
            Config::new(CellKind::Lstm { forget_gate: true }, problem.inputs, problem.units);
        let mut net = Network::new(config, Level::best()).map_err(|e| e.to_string())?;
        net.update(|own| {
            own.copy_from_slice(&problem.parameters.concat());
            Ok::<(), unrolled::Error>(())
        })
        .map_err(|e| e.to_string())?;
        Ok(Ours { problem, net })
    }

    fn input(&self) -> Input<'p, f32> {
        let p = self.problem;
        Input {
            x: View::time_major(&p.x, p.batch, p.inputs),
            steps: p.steps,
            batch: p.batch,
            states: None,
            lengths: None,
            resets: None,
        }
    }

    fn run(&self) -> Result<(Vec<f32>, Vec<f32>, Vec<f32>), Failure> {
        let p = self.problem;
        let losses = Losses { y: View::time_major(&p.d_y, p.batch, p.units), states: None };
        let (output, tape) = self
            .net
            .record(&self.input(), Recording::default(), None)
            .map_err(|e| e.to_string())?;
        let g = self.net.backward(&tape, &losses, None, None).map_err(|e| e.to_string())?;
        Ok((output.y, g.parameters, g.x))
    }
}

impl Library for Ours<'_> {
    fn name(&self) -> &'static str {
        "unrolled"
    }
    fn forward(&mut self) -> Result<(), Failure> {
        black_box(self.net.forward(&self.input(), None).map_err(|e| e.to_string())?);
        Ok(())
    }
    fn both(&mut self) -> Result<(), Failure> {
        black_box(self.run()?);
        Ok(())
    }
    fn results(&mut self) -> Result<Results, Failure> {
        let (y, parameters, d_x) = self.run()?;
        let mut rest = &parameters[..];
        let [w_ih, w_hh, b_ih, b_hh] = self.problem.parameters.each_ref().map(|own| {
            let (first, others) = rest.split_at(own.len());
            rest = others;
            first.to_vec()
        });
        Ok(Results { y, gradients: [w_ih, w_hh, b_ih, b_hh, d_x] })
    }
}

mod candle {
    use super::*;
    use candle_core::{DType, Device, Tensor, Var};
    use candle_nn::VarBuilder;
    use candle_nn::rnn::{LSTM, LSTMConfig};

    const NAMES: [&str; 4] = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"];

    pub fn lstm(problem: &Problem, tensors: &[Tensor]) -> candle_core::Result<LSTM> {
        let named: HashMap<_, _> =
            NAMES.iter().map(|n| (*n).to_owned()).zip(tensors.iter().cloned()).collect();
        let vb = VarBuilder::from_tensors(named, DType::F32, &Device::Cpu);
        LSTM::new(problem.inputs, problem.units, LSTMConfig::default(), vb)
    }

    /// The parameters, as plain tensors.
    pub fn tensors(problem: &Problem) -> candle_core::Result<Vec<Tensor>> {
        let n = problem.units;
        let shapes = [vec![4 * n, problem.inputs], vec![4 * n, n], vec![4 * n], vec![4 * n]];
        let own = problem.parameters.iter().zip(shapes);
        own.map(|(values, shape)| Tensor::from_slice(values, shape, &Device::Cpu)).collect()
    }

    pub struct Candle<'p> {
        problem: &'p Problem,
        plain: LSTM,
        x: Tensor,
        /// The same as variables, for gradients: the parameters, and x.
        trained: LSTM,
        variables: Vec<Var>,
        d_y: Tensor,
    }

    impl<'p> Candle<'p> {
        pub fn new(problem: &'p Problem) -> Result<Self, Failure> {
            let p = problem;
            let tensor = |values: &[f32], n: usize| {
                Tensor::from_vec(p.batch_first(values, n), (p.batch, p.steps, n), &Device::Cpu)
            };
            let (x, d_y) = (tensor(&p.x, p.inputs)?, tensor(&p.d_y, p.units)?);
            let tensors = tensors(p)?;
            let mut variables =
                tensors.iter().map(Var::from_tensor).collect::<candle_core::Result<Vec<_>>>()?;
            let trained: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().clone()).collect();
            variables.push(Var::from_tensor(&x)?);
            Ok(Candle {
                problem,
                plain: lstm(p, &tensors)?,
                x,
                trained: lstm(p, &trained)?,
                variables,
                d_y,
            })
        }

        fn run(&self) -> Result<(Tensor, Vec<Tensor>), Failure> {
            let states = self.trained.seq(self.variables[4].as_tensor())?;
            let y = self.trained.states_to_tensor(&states)?;
            let mut gradients = (&y * &self.d_y)?.sum_all()?.backward()?;
            let own = self.variables.iter().map(|v| gradients.remove(v).ok_or("no gradient"));
            let own = own.collect::<Result<Vec<_>, _>>()?;
            Ok((y, own))
        }
    }

    impl Library for Candle<'_> {
        fn name(&self) -> &'static str {
            "candle"
        }
        fn forward(&mut self) -> Result<(), Failure> {
            let states = self.plain.seq(&self.x)?;
            black_box(self.plain.states_to_tensor(&states)?);
            Ok(())
        }
        fn both(&mut self) -> Result<(), Failure> {
            black_box(self.run()?);
            Ok(())
        }
        fn results(&mut self) -> Result<Results, Failure> {
            let flat = |t: &Tensor| t.flatten_all()?.to_vec1::<f32>();
            let (y, own) = self.run()?;
            let p = self.problem;
            let d_x = p.time_first(&flat(&own[4])?, p.inputs);
            let gradients = [flat(&own[0])?, flat(&own[1])?, flat(&own[2])?, flat(&own[3])?, d_x];
            Ok(Results { y: p.time_first(&flat(&y)?, p.units), gradients })
        }
    }
}

mod burn_ {
    use super::*;
    use burn::module::Param;
    use burn::nn::{GateController, Lstm, LstmConfig};
    use burn::tensor::{Device, Tensor, TensorData};

    fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().try_to_vec::<f32>().expect("values of f32")
    }

    /// burn keeps each gate's weights apart, transposed.
    pub fn lstm(problem: &Problem, device: &Device) -> Lstm {
        let (inputs, units) = (problem.inputs, problem.units);
        let mut lstm = LstmConfig::new(inputs, units, true).init(device);
        let [w_ih, w_hh, b_ih, b_hh] = &problem.parameters;
        let set = |gate: &mut GateController, g: usize| {
            let weight = |w: &[f32], n: usize| {
                let transposed = swap(&w[g * units * n..][..units * n], units, n, 1);
                Param::from_tensor(tensor(transposed, [n, units], device))
            };
            let bias = |b: &[f32]| {
                Some(Param::from_tensor(tensor(b[g * units..][..units].to_vec(), [units], device)))
            };
            gate.input_transform.weight = weight(w_ih, inputs);
            gate.hidden_transform.weight = weight(w_hh, units);
            gate.input_transform.bias = bias(b_ih);
            gate.hidden_transform.bias = bias(b_hh);
        };
        set(&mut lstm.input_gate, 0);
        set(lstm.forget_gate.as_mut().expect("a forget gate"), 1);
        set(&mut lstm.cell_gate, 2);
        set(&mut lstm.output_gate, 3);
        lstm
    }

    /// In PyTorch's order.
    fn gates(lstm: &Lstm) -> [&GateController; 4] {
        let forget = lstm.forget_gate.as_ref().expect("a forget gate");
        [&lstm.input_gate, forget, &lstm.cell_gate, &lstm.output_gate]
    }

    pub struct Burn<'p> {
        problem: &'p Problem,
        plain: Lstm,
        x: Tensor<3>,
        trained: Lstm,
        trained_x: Tensor<3>,
        d_y: Tensor<3>,
    }

    impl<'p> Burn<'p> {
        pub fn new(problem: &'p Problem) -> Self {
            let p = problem;
            let (plain, differentiating) = (Device::flex(), Device::flex().autodiff());
            let whole = |values: &[f32], n: usize, device: &Device| {
                tensor(p.batch_first(values, n), [p.batch, p.steps, n], device)
            };
            Burn {
                problem,
                plain: lstm(p, &plain),
                x: whole(&p.x, p.inputs, &plain),
                trained: lstm(p, &differentiating),
                trained_x: whole(&p.x, p.inputs, &differentiating).require_grad(),
                d_y: whole(&p.d_y, p.units, &differentiating),
            }
        }

        /// y, the gradients of each gate (weights and biases of input and state), and that by x.
        #[allow(clippy::type_complexity)]
        fn run(
            &self,
        ) -> Result<(Tensor<3>, [[Tensor<2>; 2]; 4], [[Tensor<1>; 2]; 4], Tensor<3>), Failure>
        {
            let (y, _) = self.trained.forward(self.trained_x.clone(), None);
            let gradients = (y.clone() * self.d_y.clone()).sum().backward();
            let gates = gates(&self.trained);
            let weights = gates.map(|g| {
                [&g.input_transform, &g.hidden_transform]
                    .map(|t| t.weight.val().grad(&gradients).expect("a gradient"))
            });
            let biases = gates.map(|g| {
                [&g.input_transform, &g.hidden_transform].map(|t| {
                    t.bias.as_ref().expect("a bias").val().grad(&gradients).expect("a gradient")
                })
            });
            let d_x = self.trained_x.grad(&gradients).ok_or("no gradient by x")?;
            Ok((y, weights, biases, d_x))
        }
    }

    impl Library for Burn<'_> {
        fn name(&self) -> &'static str {
            "burn"
        }
        fn forward(&mut self) -> Result<(), Failure> {
            black_box(self.plain.forward(self.x.clone(), None));
            Ok(())
        }
        fn both(&mut self) -> Result<(), Failure> {
            black_box(self.run()?);
            Ok(())
        }
        fn results(&mut self) -> Result<Results, Failure> {
            let p = self.problem;
            let (y, weights, biases, d_x) = self.run()?;
            let weight = |which: usize, n: usize| -> Vec<f32> {
                let gates = weights.iter().map(|w| values(w[which].clone()));
                gates.flat_map(|w| swap(&w, n, p.units, 1)).collect()
            };
            let bias = |which: usize| -> Vec<f32> {
                biases.iter().flat_map(|b| values(b[which].clone())).collect()
            };
            let d_x = p.time_first(&values(d_x), p.inputs);
            let gradients = [weight(0, p.inputs), weight(1, p.units), bias(0), bias(1), d_x];
            Ok(Results { y: p.time_first(&values(y), p.units), gradients })
        }
    }

    /// Steps of a sequence one by one.
    pub fn stepper(problem: &Problem) -> impl FnMut() -> Result<Vec<f32>, Failure> {
        let device = Device::flex();
        let lstm = lstm(problem, &device);
        let xs: Vec<Tensor<3>> = problem
            .x
            .chunks(problem.inputs)
            .map(|x| tensor(x.to_vec(), [1, 1, problem.inputs], &device))
            .collect();
        let (mut state, mut t) = (None, 0);
        move || {
            let (y, next) = lstm.forward(xs[t % xs.len()].clone(), state.take());
            (state, t) = (Some(next), t + 1);
            // Only the first steps are compared; the clock runs for those that follow.
            Ok(if t <= xs.len() {
                values(y)
            } else {
                drop(black_box(y));
                Vec::new()
            })
        }
    }
}

/// Steps of a sequence one by one, B = 1: each call is a step and gives h, as long as it is to be compared.
fn our_stepper<const I: usize, const H: usize>(
    problem: &Problem,
) -> impl FnMut() -> Result<Vec<f32>, Failure> {
    let mut parameters = Parameters::<ForgetGate, f32, I, H>::zeros();
    for (to, from) in parameters.slices_mut().into_iter().zip(&problem.parameters) {
        to.copy_from_slice(from);
    }
    let cell = Lstm::from_parameters(&parameters);
    let xs: Vec<[f32; I]> = problem.x.as_chunks().0.to_vec();
    let (mut state, mut t) = (cell.zero_state(), 0);
    move || {
        let h = cell.step(black_box(&xs[t % xs.len()]), &mut state);
        t += 1;
        Ok(if t <= xs.len() { h.to_vec() } else { Vec::new() })
    }
}

fn candle_stepper(
    problem: &Problem,
) -> Result<impl FnMut() -> Result<Vec<f32>, Failure> + use<>, Failure> {
    use candle_core::{Device, Tensor};
    let lstm = candle::lstm(problem, &candle::tensors(problem)?)?;
    let xs =
        problem.x.chunks(problem.inputs).map(|x| Tensor::from_slice(x, (1, x.len()), &Device::Cpu));
    let xs = xs.collect::<candle_core::Result<Vec<_>>>()?;
    let (mut state, mut t) = (lstm.zero_state(1)?, 0);
    Ok(move || {
        state = lstm.step(&xs[t % xs.len()], &state)?;
        t += 1;
        Ok(if t <= xs.len() { state.h.flatten_all()?.to_vec1::<f32>()? } else { Vec::new() })
    })
}

/// The greatest difference, in units of the greatest value.
fn difference(a: &[f32], b: &[f32]) -> Result<f32, Failure> {
    if a.len() != b.len() {
        return Err(format!("{} values and {}", a.len(), b.len()).into());
    }
    let greatest = a.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let apart = a.iter().zip(b).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
    if apart.is_nan() || greatest == 0.0 {
        return Err("NaN, or nothing but zeros".into());
    }
    Ok(apart / greatest)
}

fn must_agree(what: &str, name: &str, ours: &[f32], theirs: &[f32]) -> Result<(), Failure> {
    let apart = difference(ours, theirs)?;
    // Sums of some thousand terms in float32, in different orders.
    if apart < 1e-4 { Ok(()) } else { Err(format!("{what} of {name} differs by {apart}").into()) }
}

type Call<'c> = Box<dyn FnMut() -> Result<(), Failure> + 'c>;

/// Median seconds of each call, taken in turns.
fn medians(mut calls: Vec<Call<'_>>) -> Result<Vec<f64>, Failure> {
    const ROUNDS: usize = 31;
    let mut often = Vec::new();
    for call in &mut calls {
        call()?;
        let begun = Instant::now();
        call()?;
        often.push((5e-3 / begun.elapsed().as_secs_f64().max(1e-8)).clamp(1.0, 1e5) as usize);
    }
    let mut seconds = vec![Vec::new(); calls.len()];
    for _ in 0..ROUNDS {
        for (i, call) in calls.iter_mut().enumerate() {
            let begun = Instant::now();
            for _ in 0..often[i] {
                call()?;
            }
            seconds[i].push(begun.elapsed().as_secs_f64() / often[i] as f64);
        }
    }
    Ok(seconds
        .into_iter()
        .map(|mut s| {
            s.sort_by(f64::total_cmp);
            s[ROUNDS / 2]
        })
        .collect())
}

fn print(case: &str, seconds: &[f64]) {
    let [ours, candle, burn] = *seconds else { unreachable!("three libraries") };
    let shown = |s: f64| {
        if s < 1e-4 { format!("{:.2} µs", s * 1e6) } else { format!("{:.3} ms", s * 1e3) }
    };
    let ratio = candle.min(burn) / ours;
    println!("{case:<38}{:>12}{:>12}{:>12}{ratio:>16.1}", shown(ours), shown(candle), shown(burn));
}

fn stream<const I: usize, const H: usize>(filter: &str) -> Result<(), Failure> {
    let case = format!("step, I,H = {I},{H}");
    if !case.contains(filter) {
        return Ok(());
    }
    let problem = Problem::new([64, 1, I, H]);
    let mut ours = our_stepper::<I, H>(&problem);
    let mut candle = candle_stepper(&problem)?;
    let mut burn = burn_::stepper(&problem);
    for _ in 0..problem.steps {
        let h = ours()?;
        must_agree("h", "candle", &h, &candle()?)?;
        must_agree("h", "burn", &h, &burn()?)?;
    }
    let calls: Vec<Call<'_>> = vec![
        Box::new(|| ours().map(drop)),
        Box::new(|| candle().map(drop)),
        Box::new(|| burn().map(drop)),
    ];
    print(&case, &medians(calls)?);
    Ok(())
}

fn sequence(filter: &str, sizes: [usize; 4]) -> Result<(), Failure> {
    let [t, b, i, h] = sizes;
    let problem = Problem::new(sizes);
    let mut ours = Ours::new(&problem)?;
    let mut candle = candle::Candle::new(&problem)?;
    let mut burn = burn_::Burn::new(&problem);
    let names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "x"];
    let expected = ours.results()?;
    for peer in [&mut candle as &mut dyn Library, &mut burn] {
        let results = peer.results()?;
        must_agree("y", peer.name(), &expected.y, &results.y)?;
        for (k, name) in names.iter().enumerate() {
            let what = format!("the gradient by {name}");
            must_agree(&what, peer.name(), &expected.gradients[k], &results.gradients[k])?;
        }
    }
    let case = format!("forward, T,B,I,H = {t},{b},{i},{h}");
    if case.contains(filter) {
        let calls: Vec<Call<'_>> = vec![
            Box::new(|| ours.forward()),
            Box::new(|| candle.forward()),
            Box::new(|| burn.forward()),
        ];
        print(&case, &medians(calls)?);
    }
    let case = format!("forward + backward, {t},{b},{i},{h}");
    if case.contains(filter) {
        let calls: Vec<Call<'_>> =
            vec![Box::new(|| ours.both()), Box::new(|| candle.both()), Box::new(|| burn.both())];
        print(&case, &medians(calls)?);
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    if std::env::var("RAYON_NUM_THREADS").as_deref() != Ok("1") {
        return Err("one thread each: set RAYON_NUM_THREADS=1".into());
    }
    unrolled::batch::set_num_threads(1);
    let filter = std::env::args().nth(1).unwrap_or_default();
    println!("LSTM, float32, one thread, level {} of unrolled", Level::best().isa());
    println!("{:<38}{:>12}{:>12}{:>12}{:>16}", "", "unrolled", "candle", "burn", "better peer /");
    stream::<1, 16>(&filter)?;
    stream::<32, 32>(&filter)?;
    stream::<64, 128>(&filter)?;
    for sizes in [[100, 1, 1, 16], [100, 1, 32, 32], [100, 32, 16, 32], [100, 64, 64, 128]] {
        sequence(&filter, sizes)?;
    }
    Ok(())
}
