//! Losses against finite differences, optimisers and clipping against plain loops and
//! PyTorch's numbers, at every level this machine has.

#[allow(clippy::approx_constant)]
#[rustfmt::skip] // as its script writes it
#[path = "golden/training.rs"]
mod golden;
#[allow(dead_code)] // the other tests use the rest
#[path = "common/tolerance.rs"]
mod tolerance;

use proptest::prelude::*;
use std::sync::{Mutex, PoisonError};
use unrolled::error::Error;
use unrolled::simd::{Element, Isa, Level};
use unrolled::train::{
    Adam, Sgd, binary_cross_entropy_with_logits, clip_coefficient, cross_entropy, global_norm, mse,
    scale,
};

/// Runs `test` once per level. The limit belongs to the process, so tests take turns; those
/// that do not come through here may run at any level and must not care.
fn on_each_level(test: impl Fn()) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for isa in Isa::ALL {
        if Level::get(isa).is_none() {
            println!("{isa}: not run, this machine has no such level");
            continue;
        }
        Level::set_limit(isa);
        assert_eq!(Level::best().isa(), isa);
        println!("{isa}: run");
        test();
    }
    Level::set_limit(Isa::Avx512);
}

/// A loss of `classes` predictions for each of `rows` truths of a mask.
#[derive(Clone, Copy, Debug)]
enum Loss {
    Mse,
    Bce,
    CrossEntropy,
}

const LOSSES: [Loss; 3] = [Loss::Mse, Loss::Bce, Loss::CrossEntropy];

impl Loss {
    /// The loss of `z`, `[rows][classes]`, for targets made of `draw`, one number a row.
    fn of(self, z: &[f64], classes: usize, draw: &[f64], mask: Option<&[bool]>) -> (f64, Vec<f64>) {
        let mut gradient = vec![7.0; z.len()];
        let soft: Vec<f64> = draw
            .iter()
            .flat_map(|d| (0..classes).map(move |c| (d + 0.1 * c as f64) % 1.0))
            .collect();
        let hard: Vec<i64> = draw.iter().map(|d| (d * classes as f64) as i64).collect();
        let value = match self {
            Loss::Mse => mse(z, &soft, mask, &mut gradient),
            Loss::Bce => binary_cross_entropy_with_logits(z, &soft, mask, &mut gradient),
            Loss::CrossEntropy => cross_entropy(z, classes, &hard, mask, &mut gradient),
        };
        (value.unwrap(), gradient)
    }
}

/// Rows, classes, predictions, a number per row for the targets, and a mask of the rows.
fn any_loss() -> impl Strategy<Value = (usize, usize, Vec<f64>, Vec<f64>, Vec<bool>)> {
    (1..6_usize, 1..6_usize).prop_flat_map(|(rows, classes)| {
        (
            Just(rows),
            Just(classes),
            prop::collection::vec(-6.0..6.0, rows * classes),
            prop::collection::vec(0.0..1.0, rows),
            prop::collection::vec(any::<bool>(), rows),
        )
    })
}

proptest! {
    #[test]
    fn gradients_are_the_slopes((_, classes, z, draw, mask) in any_loss(), masked: bool) {
        let mask = masked.then_some(&mask[..]);
        for loss in LOSSES {
            let (_, gradient) = loss.of(&z, classes, &draw, mask);
            for i in 0..z.len() {
                let step = tolerance::DIFFERENCE_STEP;
                let mut near = z.clone();
                near[i] = z[i] + step;
                let above = loss.of(&near, classes, &draw, mask).0;
                near[i] = z[i] - step;
                let below = loss.of(&near, classes, &draw, mask).0;
                let slope = (above - below) / (2.0 * step);
                prop_assert!((slope - gradient[i]).abs() < tolerance::DIFFERENCE * slope.abs().max(1.0),
 "{loss:?}: {slope} {}", gradient[i]);
            }
        }
    }

    #[test]
    fn a_mask_is_the_same_as_taking_rows_out((rows, classes, z, draw, mask) in any_loss()) {
        for loss in LOSSES {
            let mut dirty = z.clone();
            let (mut z_kept, mut draw_kept) = (vec![], vec![]);
            for row in 0..rows {
                let range = row * classes..(row + 1) * classes;
                if mask[row] {
                    z_kept.extend_from_slice(&z[range]);
                    draw_kept.push(draw[row]);
                } else {
                    dirty[range].fill(f64::NAN);
                }
            }
            let (value, gradient) = loss.of(&dirty, classes, &draw, Some(&mask));
            let (value_kept, gradient_kept) = loss.of(&z_kept, classes, &draw_kept, None);
            prop_assert_eq!(value, value_kept);
            let (kept, dropped): (Vec<_>, Vec<_>) =
                (0..z.len()).partition(|i| mask[i / classes]);
            prop_assert_eq!(kept.iter().map(|&i| gradient[i]).collect::<Vec<_>>(), gradient_kept);
            prop_assert!(dropped.iter().all(|&i| gradient[i].to_bits() == 0));
        }
    }
}

#[test]
fn losses_agree_with_pytorch() {
    let z: Vec<f64> =
        (0..12).map(|i| f64::from((5 * (i % 4) + 3 * (i / 4)) % 13 - 6) / 2.0).collect();
    let eighths: Vec<f64> = (0..12).map(|i| f64::from(i) / 8.0).collect();
    let sixteenths: Vec<f64> = (0..12).map(|i| f64::from(i) / 16.0).collect();
    let mut gradient = [0.0; 12];
    let agrees = |value: f64, gradient: &[f64], golden: &[f64]| {
        for (ours, theirs) in std::iter::once(&value).chain(gradient).zip(golden) {
            assert!((ours - theirs).abs() <= tolerance::LOSS_PYTORCH, "{ours} {theirs}");
        }
    };
    let value = mse(&z, &eighths, None, &mut gradient).unwrap();
    agrees(value, &gradient, &golden::MSE);
    let value = binary_cross_entropy_with_logits(&z, &sixteenths, None, &mut gradient).unwrap();
    agrees(value, &gradient, &golden::BCE);
    let value = cross_entropy(&z, 4, &[2, 0, 3], None, &mut gradient).unwrap();
    agrees(value, &gradient, &golden::CROSS_ENTROPY);
}

#[test]
fn losses_in_f32_follow_f64() {
    let z: Vec<f32> = (0..60).map(|i| (i as f32 * 1.7).sin() * 20.0).collect();
    let y: Vec<f32> = (0..60).map(|i| (i as f32 * 0.7).cos().abs()).collect();
    let class: Vec<i64> = (0..12).map(|i| i * 3 % 5).collect();
    let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
    let (mut g, mut g64) = (vec![0_f32; 60], vec![0_f64; 60]);
    for loss in LOSSES {
        let (value, value64) = match loss {
            Loss::Mse => (mse(&z, &y, None, &mut g), mse(&wide(&z), &wide(&y), None, &mut g64)),
            Loss::Bce => (
                binary_cross_entropy_with_logits(&z, &y, None, &mut g),
                binary_cross_entropy_with_logits(&wide(&z), &wide(&y), None, &mut g64),
            ),
            Loss::CrossEntropy => (
                cross_entropy(&z, 5, &class, None, &mut g),
                cross_entropy(&wide(&z), 5, &class, None, &mut g64),
            ),
        };
        let (value, value64) = (value.unwrap(), value64.unwrap());
        assert!(
            (value - value64).abs() <= tolerance::LOSS_VALUE_F32 * value64,
            "{loss:?}: {value} {value64}"
        );
        for (g, g64) in g.iter().zip(&g64) {
            let error = (f64::from(*g) - g64).abs();
            assert!(error <= tolerance::LOSS_GRADIENT_F32 * g64.abs(), "{loss:?}: {g} {g64}");
        }
    }
}

#[test]
fn losses_are_stable() {
    // No overflow however large, and digits where the prediction is almost right.
    let mut g = [0_f32; 2];
    let v = cross_entropy(&[3e38, -3e38], 2, &[1], None, &mut g).unwrap();
    assert!((v / 6e38 - 1.0).abs() < tolerance::LOSS_GRADIENT_F32 && g == [1.0, -1.0]);
    let v = cross_entropy(&[f32::NEG_INFINITY, 1.0], 2, &[1], None, &mut g).unwrap();
    assert!(v == 0.0 && g == [0.0, 0.0]);
    let v = cross_entropy(&[f32::NAN, 1.0], 2, &[1], None, &mut g).unwrap();
    assert!(v.is_nan() && g[0].is_nan() && g[1].is_nan());
    let v = cross_entropy(&[f32::INFINITY, 1.0], 2, &[0], None, &mut g).unwrap();
    assert!(v.is_nan());
    let v = cross_entropy(&[-40_f32, 0.0], 2, &[1], None, &mut g).unwrap();
    let tail = (-40_f64).exp();
    assert!((v / tail - 1.0).abs() < tolerance::LOSS_GRADIENT_F32);
    assert!((f64::from(g[1]) / -tail - 1.0).abs() < tolerance::LOSS_GRADIENT_F32);

    let mut g = [0_f32; 4];
    let z = [40.0, -40.0, 3e38, -3e38];
    let v = binary_cross_entropy_with_logits(&z, &[1.0, 0.0, 1.0, 0.0], None, &mut g).unwrap();
    assert!((v / (tail / 2.0) - 1.0).abs() < tolerance::LOSS_GRADIENT_F32);
    assert!(
        (f64::from(g[0]) / (-tail / 4.0) - 1.0).abs() < tolerance::LOSS_GRADIENT_F32
            && g[1] == -g[0]
    );
    assert_eq!(g[2..], [0.0, 0.0]);
}

#[test]
fn nothing_kept_is_zero() {
    let mut g = [7.0; 4];
    for loss in LOSSES {
        assert_eq!(loss.of(&[f64::NAN; 4], 2, &[0.0, 0.9], Some(&[false; 2])), (0.0, vec![0.0; 4]));
        assert_eq!(loss.of(&[], 2, &[], None), (0.0, vec![]));
        assert_eq!(loss.of(&[], 2, &[], Some(&[])), (0.0, vec![]));
    }
    // Targets of dropped rows may be anything, and there may be no classes at all.
    assert_eq!(cross_entropy(&[0.0; 4], 2, &[-100, 2], Some(&[false; 2]), &mut g), Ok(0.0));
    assert_eq!(g, [0.0; 4]);
    assert_eq!(cross_entropy::<f64>(&[], 0, &[0], Some(&[false]), &mut []), Ok(0.0));
}

#[test]
fn losses_refuse_what_does_not_fit() {
    let z = [0.0; 6];
    let length = |argument, expected, got| Err(Error::Length { argument, expected, got });
    let range = |at, got| Err(Error::Range { argument: "target", at, most: 2, got });
    let mut g = [7.0; 6];
    assert_eq!(mse(&z, &z[..5], None, &mut g), length("target", 6, 5));
    assert_eq!(mse(&z, &z, None, &mut g[..4]), length("gradient", 6, 4));
    assert_eq!(mse(&z, &z, Some(&[true; 4]), &mut g), length("mask", 6, 4));
    assert_eq!(mse(&z, &z, Some(&[true; 12]), &mut g), length("mask", 6, 12));
    assert_eq!(mse(&z, &z, Some(&[]), &mut g), length("mask", 6, 0));
    assert_eq!(cross_entropy(&z, 4, &[0, 0], None, &mut g), length("logits", 8, 6));
    assert_eq!(cross_entropy(&z, 3, &[0, 3], None, &mut g), range(1, 3));
    assert_eq!(cross_entropy(&z, 3, &[-1, 3], None, &mut g), range(0, usize::MAX));
    assert!(matches!(
        cross_entropy::<f64>(&[], 0, &[0], None, &mut []),
        Err(Error::Invalid { argument: "classes", .. })
    ));
    assert_eq!(g, [7.0; 6]);
}

/// One parameter's state, and the formulae on plain numbers.
macro_rules! plain {
    ($sgd:ident, $adam:ident, $t:ty) => {
        fn $sgd(c: &Sgd, t: u64, p: &mut $t, g: $t, b: &mut $t) {
            let mut g = g;
            if c.weight_decay != 0.0 {
                g += c.weight_decay as $t * *p;
            }
            if c.momentum != 0.0 {
                *b = if t == 1 { g } else { *b * c.momentum as $t + (1.0 - c.dampening) as $t * g };
                g = if c.nesterov { g + c.momentum as $t * *b } else { *b };
            }
            *p += (-c.lr) as $t * g;
        }

        fn $adam(c: &Adam, t: u64, p: &mut $t, g: $t, m: &mut $t, v: &mut $t) {
            let mut g = g;
            if c.weight_decay != 0.0 {
                if c.decoupled {
                    *p *= (1.0 - c.lr * c.weight_decay) as $t;
                } else {
                    g += c.weight_decay as $t * *p;
                }
            }
            let w = (1.0 - c.betas.0) as $t;
            *m = if w < 0.5 { *m + w * (g - *m) } else { g - (g - *m) * (1.0 - w) };
            *v = *v * c.betas.1 as $t + (1.0 - c.betas.1) as $t * g * g;
            let step = c.lr / (1.0 - libm::pow(c.betas.0, t as f64));
            let root = (1.0 - libm::pow(c.betas.1, t as f64)).sqrt();
            *p += (-step) as $t * *m / (v.sqrt() / root as $t + c.eps as $t);
        }
    };
}
plain!(sgd_f32, adam_f32, f32);
plain!(sgd_f64, adam_f64, f64);

/// An interesting number: any size, and often 0.
fn hyper(most: f64) -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), 0.0..most, (-9.0..0.0).prop_map(move |e| most * 10_f64.powf(e))]
}

fn any_sgd() -> impl Strategy<Value = Sgd> {
    (hyper(1.0), hyper(1.0), -1.0..1.0, hyper(0.1), any::<bool>()).prop_map(
        |(lr, momentum, dampening, weight_decay, nesterov)| {
            let nesterov = nesterov && momentum > 0.0;
            let dampening = if nesterov { 0.0 } else { dampening };
            Sgd { lr, momentum, dampening, weight_decay, nesterov }
        },
    )
}

fn any_adam() -> impl Strategy<Value = Adam> {
    (hyper(1.0), hyper(0.999), hyper(0.9999), 1e-9..1e-2, hyper(0.1), any::<bool>()).prop_map(
        |(lr, beta1, beta2, eps, weight_decay, decoupled)| Adam {
            lr,
            betas: (beta1, beta2),
            eps,
            weight_decay,
            decoupled,
        },
    )
}

macro_rules! optimizers_are_their_formulae {
    ($name:ident, $sgd:ident, $adam:ident, $t:ty) => {
        /// To the bit, on all levels: nothing is fused.
        #[test]
        fn $name() {
            on_each_level(|| {
                proptest!(|(sgd in any_sgd(), adam in any_adam(),
                            start in prop::collection::vec(-2.0..2.0, 0..70))| {
                    let start: Vec<$t> = start.iter().map(|&x: &f64| x as $t).collect();
                    let n = start.len();
                    // The first buffer is dirty, and none is longer than the parameters.
                    let (mut p, mut b) = (start.clone(), vec![<$t>::NAN; n]);
                    let (mut q, mut m, mut v) = (start.clone(), vec![0.0; n], vec![0.0; n]);
                    let (mut p_plain, mut b_plain) = (p.clone(), b.clone());
                    let (mut q_plain, mut m_plain, mut v_plain) = (q.clone(), m.clone(), v.clone());
                    for t in 1..5 {
                        let g: Vec<$t> =
                            (0..n).map(|k| (k as $t * 0.7 + t as $t).sin() - start[k]).collect();
                        sgd.step(t, &mut p, &g, &mut b).unwrap();
                        adam.step(t, &mut q, &g, &mut m, &mut v).unwrap();
                        for k in 0..n {
                            $sgd(&sgd, t, &mut p_plain[k], g[k], &mut b_plain[k]);
                            $adam(&adam, t, &mut q_plain[k], g[k], &mut m_plain[k], &mut v_plain[k]);
                        }
                    }
                    prop_assert_eq!(p, p_plain);
                    if sgd.momentum != 0.0 {
                        prop_assert_eq!(b, b_plain);
                    }
                    prop_assert_eq!(q, q_plain);
                    prop_assert_eq!(m, m_plain);
                    prop_assert_eq!(v, v_plain);
                });
            });
        }
    };
}
optimizers_are_their_formulae!(optimizers_are_their_formulae_f32, sgd_f32, adam_f32, f32);
optimizers_are_their_formulae!(optimizers_are_their_formulae_f64, sgd_f64, adam_f64, f64);

fn golden_parameter<T: Element>() -> Vec<T> {
    (0..5).map(|k| T::from_f64((f64::from(k) - 1.5) / 4.0)).collect()
}

fn golden_gradient<T: Element>(t: u64) -> Vec<T> {
    (0..5).map(|k| T::from_f64(((7 * k + 3 * t) % 11) as f64 / 8.0 - 0.625)).collect()
}

/// Each of `ours` within `tolerance` of PyTorch's number, relatively.
fn agrees<T: Element>(ours: &[T], theirs: &[f64], tolerance: f64) {
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        let error = (ours.to_f64() - theirs).abs();
        assert!(error <= tolerance * theirs.abs(), "{ours} where PyTorch has {theirs}: {error:e}");
    }
}

fn golden_sgd<T: Element>(sgd: Sgd, theirs: &[f64], epsilon: f64) {
    let (mut p, mut b) = (golden_parameter::<T>(), vec![T::ZERO; 5]);
    for t in 1..=golden::STEPS {
        sgd.step(t, &mut p, &golden_gradient(t), &mut b).unwrap();
    }
    agrees(&p, theirs, tolerance::OPTIMIZER_ULPS * epsilon);
}

fn golden_adam<T: Element>(adam: Adam, theirs: &[f64], epsilon: f64) {
    let (mut p, mut m, mut v) = (golden_parameter::<T>(), vec![T::ZERO; 5], vec![T::ZERO; 5]);
    for t in 1..=golden::STEPS {
        adam.step(t, &mut p, &golden_gradient(t), &mut m, &mut v).unwrap();
    }
    agrees(&p, theirs, tolerance::OPTIMIZER_ULPS * epsilon);
}

#[test]
fn optimizers_agree_with_pytorch() {
    let (e32, e64) = (f64::from(f32::EPSILON), f64::EPSILON);
    let sgd = Sgd { lr: 0.1, ..Sgd::default() };
    let momentum = Sgd { momentum: 0.9, dampening: 0.3, weight_decay: 0.05, ..sgd };
    let nesterov = Sgd { momentum: 0.9, weight_decay: 0.05, nesterov: true, ..sgd };
    let adam = Adam { lr: 0.01, ..Adam::default() };
    let decay = Adam { betas: (0.3, 0.9), eps: 1e-3, weight_decay: 0.1, ..adam };
    let adamw = Adam { lr: 0.01, weight_decay: 0.1, ..Adam::adamw() };
    on_each_level(|| {
        golden_sgd::<f64>(sgd, &golden::SGD_F64, e64);
        golden_sgd::<f32>(sgd, &golden::SGD_F32, e32);
        golden_sgd::<f64>(momentum, &golden::SGD_MOMENTUM_F64, e64);
        golden_sgd::<f32>(momentum, &golden::SGD_MOMENTUM_F32, e32);
        golden_sgd::<f64>(nesterov, &golden::SGD_NESTEROV_F64, e64);
        golden_sgd::<f32>(nesterov, &golden::SGD_NESTEROV_F32, e32);
        golden_adam::<f64>(adam, &golden::ADAM_F64, e64);
        golden_adam::<f32>(adam, &golden::ADAM_F32, e32);
        golden_adam::<f64>(decay, &golden::ADAM_DECAY_F64, e64);
        golden_adam::<f32>(decay, &golden::ADAM_DECAY_F32, e32);
        golden_adam::<f64>(adamw, &golden::ADAMW_F64, e64);
        golden_adam::<f32>(adamw, &golden::ADAMW_F32, e32);
    });
}

#[test]
fn optimizers_refuse_what_makes_no_sense() {
    let mut p = [1.0; 3];
    let invalid = |result: Result<(), Error>, name: &str| {
        assert!(matches!(result, Err(Error::Invalid { argument, .. }) if argument == name));
    };
    let sgd = Sgd::default();
    for (sgd, name) in [
        (Sgd { lr: -1.0, ..sgd }, "lr"),
        (Sgd { lr: f64::NAN, ..sgd }, "lr"),
        (Sgd { momentum: -0.1, ..sgd }, "momentum"),
        (Sgd { dampening: f64::INFINITY, ..sgd }, "dampening"),
        (Sgd { weight_decay: -1.0, ..sgd }, "weight_decay"),
        (Sgd { nesterov: true, ..sgd }, "nesterov"),
        (Sgd { nesterov: true, momentum: 0.9, dampening: 0.1, ..sgd }, "nesterov"),
    ] {
        invalid(sgd.step(1, &mut p, &[1.0; 3], &mut [0.0; 3]), name);
    }
    let adam = Adam::default();
    for (adam, name) in [
        (Adam { lr: f64::INFINITY, ..adam }, "lr"),
        (Adam { betas: (1.0, 0.9), ..adam }, "betas"),
        (Adam { betas: (0.9, -0.1), ..adam }, "betas"),
        (Adam { betas: (0.9, f64::NAN), ..adam }, "betas"),
        (Adam { eps: -1e-8, ..adam }, "eps"),
        (Adam { weight_decay: f64::NAN, ..adam }, "weight_decay"),
    ] {
        invalid(adam.step(1, &mut p, &[1.0; 3], &mut [0.0; 3], &mut [0.0; 3]), name);
    }
    invalid(sgd.step(0, &mut p, &[1.0; 3], &mut []), "t");
    invalid(adam.step(0, &mut p, &[1.0; 3], &mut [0.0; 3], &mut [0.0; 3]), "t");

    let length = |argument, got| Err(Error::Length { argument, expected: 3, got });
    let momentum = Sgd { momentum: 0.9, ..sgd };
    assert_eq!(sgd.step(1, &mut p, &[1.0; 2], &mut []), length("gradient", 2));
    assert_eq!(momentum.step(1, &mut p, &[1.0; 3], &mut [0.0; 4]), length("buffer", 4));
    assert_eq!(adam.step(1, &mut p, &[1.0; 3], &mut [], &mut [0.0; 3]), length("m", 0));
    assert_eq!(adam.step(1, &mut p, &[1.0; 3], &mut [0.0; 3], &mut []), length("v", 0));
    assert_eq!(p, [1.0; 3]);
    assert_eq!(sgd.step(1, &mut p, &[1.0; 3], &mut []), Ok(()));
}

#[test]
fn the_norm_is_the_norm() {
    let x: Vec<f32> = (0..300).map(|i| (i as f32 * 1.3).sin() * 3.0).collect();
    let mut bits = vec![];
    for cut in [0, 1, 15, 16, 17, 40, 300] {
        let slices = [&x[..cut], &x[cut..], &[]];
        let plain = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
        let at = bits.len();
        let norms = Mutex::new(vec![]);
        on_each_level(|| norms.lock().unwrap().push(global_norm(slices)));
        for norm in norms.into_inner().unwrap() {
            assert!((norm / plain - 1.0).abs() < tolerance::NORM);
            bits.push(norm.to_bits());
            assert_eq!(bits[at], norm.to_bits(), "levels differ");
        }
    }
    assert_eq!(global_norm::<f32>([]), 0.0);
    assert!(global_norm([&[3e38_f32, 0.0][..], &[3e38]]).is_finite());
    assert!(global_norm([&[1.0, f64::NAN][..]]).is_nan());
    assert_eq!(global_norm([&[1.0, f64::NEG_INFINITY][..]]), f64::INFINITY);
}

#[test]
fn clipping_agrees_with_pytorch() {
    on_each_level(|| {
        let mut g = [golden_gradient::<f64>(0), golden_gradient::<f64>(1)];
        let norm = global_norm(g.iter().map(|g| &g[..]));
        let coefficient = clip_coefficient(norm, 0.75).unwrap();
        g.iter_mut().for_each(|g| scale(coefficient, g));
        agrees(&[norm], &golden::CLIP[..1], tolerance::NORM);
        agrees(&g.concat(), &golden::CLIP[1..], tolerance::NORM);
    });
}

#[test]
fn coefficients() {
    assert_eq!(clip_coefficient(0.5, 1.0), Ok(1.0));
    assert_eq!(clip_coefficient(0.0, 0.0), Ok(0.0));
    assert_eq!(clip_coefficient(4.0, 1.0), Ok(1.0 / (4.0 + 1e-6)));
    assert_eq!(clip_coefficient(5.0, f64::INFINITY), Ok(1.0));
    assert_eq!(clip_coefficient(f64::INFINITY, 1.0), Ok(0.0));
    assert!(clip_coefficient(f64::NAN, 1.0).unwrap().is_nan());
    for max_norm in [-1.0, f64::NAN] {
        assert!(matches!(
            clip_coefficient(1.0, max_norm),
            Err(Error::Invalid { argument: "max_norm", .. })
        ));
    }
}

#[test]
fn scaling_reaches_every_element_and_no_other() {
    on_each_level(|| {
        for n in 0..70 {
            let mut x: Vec<f32> = (0..n + 1).map(|i| i as f32 - 3.0).collect();
            scale(0.3, &mut x[..n]);
            let plain = |i: usize| (i as f32 - 3.0) * if i < n { 0.3 } else { 1.0 };
            assert!((0..=n).all(|i| x[i] == plain(i)));
        }
    });
}
