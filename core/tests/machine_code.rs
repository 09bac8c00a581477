//! What the compiler made of the kernels, read from the program's own file (this very test, and whatever
//! program `UNROLLED_ARTEFACT` names, for x86-64 or for AArch64): nothing of the vectors' operations is left to
//! call, and the tiles keep their sums in registers while k runs.
//!
//! The same checks must find two mistakes that are made here on purpose: a kernel that is not inlined, and a tile
//! too large for the registers.
//!
//! `cargo test --release --test machine_code -- --nocapture` prints every tile.
#![cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    feature = "alloc"
))]

mod machine_code {
    pub mod program;
}

use machine_code::program::{
    Architecture, Function, HARMLESS, Program, Reach, Waste, is_end, reach, read,
};
use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::LazyLock;
use unrolled::Passes;
use unrolled::cell::Cell;
use unrolled::fixed::{Fixed, Parameters};
use unrolled::flow::Terms;
use unrolled::internals::{Extent, Lhs, Rhs, accumulate, chains as chains_of};
use unrolled::network::{Input, Losses, Network, Recording, View};
use unrolled::simd::{Element, Kernel, Level, Simd};
use unrolled::stream::NetworkStream;
use unrolled::{CellKind, Config, Gru, Lstm, Rnn};

/// A tile of more accumulators than any level has registers.
struct TooLarge<'a> {
    values: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel<f32> for TooLarge<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<f32>>(self, s: S) {
        let Self { values, out } = self;
        let steps = values.len() / 128;
        let sums = accumulate::<f32, S, 6, 1, 8, 1, false>(
            s,
            [[[s.zero(); 8]]; 6],
            Lhs { data: values, row: 1, step: 6, segment: 0 },
            Rhs { data: values, step: 128, tile: 0, gate: S::LANES },
            Extent { segments: 1, steps },
            S::LANES,
        );
        let sums = sums.as_flattened().as_flattened();
        for (out, &sum) in out.chunks_exact_mut(S::LANES).zip(sums) {
            s.store(out, sum);
        }
    }
}

/// A kernel whose `run` is a function of its own, which thus lacks the instructions of its level.
struct NotInlined<'a>(&'a mut [f32]);

impl Kernel<f32> for NotInlined<'_> {
    type Output = ();
    #[inline(never)]
    fn run<S: Simd<f32>>(self, s: S) {
        let v = s.load_partial(self.0);
        s.store_partial(self.0, s.mul_add(v, v, v));
    }
}

const MISTAKES: [&str; 2] = ["TooLarge", "NotInlined"];

fn is_mistake(function: &Function) -> bool {
    MISTAKES.iter().any(|m| function.name.contains(m))
}

/// A step of a stream, as a function that is found by its name.
#[inline(never)]
fn stream_step<T: Passes>(
    net: &Network<T>,
    stream: &mut NetworkStream<T>,
    x: &[T],
    y: &mut [T],
) -> bool {
    net.step(stream, x, y).is_ok()
}

/// Calls everything once, so that the linker keeps it; and shows that it runs.
#[inline(never)]
fn use_everything() {
    fn step<C: Cell, const I: usize, const H: usize>(
        make: fn(&Parameters<C, f32, I, H>) -> Fixed<C, f32, I, H>,
    ) {
        let cell = make(&Parameters::zeros());
        let mut state = cell.zero_state();
        black_box(cell.step(black_box(&[1.0; I]), &mut state));
    }
    fn net<T: Passes>(kind: CellKind) {
        let net = Network::<T>::new(Config::new(kind, 2, 3), Level::best()).unwrap();
        let x = [T::ONE; 2 * 2 * 2];
        let d_y = [T::ONE; 2 * 2 * 3];
        let x = View::time_major(&x, 2, 2);
        let input = Input { x, steps: 2, batch: 2, states: None, lengths: None, resets: None };
        let losses = Losses { y: View::time_major(&d_y, 2, 3), states: None };
        let (_, tape) = net.record(&input, Recording::default(), None).unwrap();
        black_box(net.backward(&tape, &losses, None, None).unwrap());
        black_box(net.gradient_by_lag(&tape, losses.y, 1, Terms::All, None).unwrap());
        black_box(net.lyapunov(&tape, 0, &mut [1.0; 12], None).unwrap());
        let mut stream = net.stream(1).unwrap();
        stream_step(&net, &mut stream, &[T::ONE; 2], &mut [T::ZERO; 3]);
    }
    step(Lstm::<f32, 1, 16>::from_parameters);
    step(Lstm::<f32, 32, 32>::from_parameters);
    step(Lstm::<f32, 1, 64>::from_parameters);
    step(Gru::<f32, 1, 32>::from_parameters);
    step(Rnn::<f32, 1, 64>::from_parameters);
    net::<f32>(CellKind::Lstm { forget_gate: true });
    net::<f64>(CellKind::Gru { reset_after: true });
    for level in Level::available() {
        f32::dispatch(level, NotInlined(black_box(&mut [1.0; 16])));
        let (values, out) = (black_box(&[1.0; 1280]), &mut [0.0; 48 * 16]);
        f32::dispatch(level, TooLarge { values, out });
        black_box(out);
    }
}

struct Artefact {
    file: PathBuf,
    program: Program,
    /// Whether it is this very test, with the mistakes.
    own: bool,
}

impl Artefact {
    /// Whether the compiler is the one whose code is held to its last register.
    fn same_compiler(&self) -> bool {
        let compiler = match self.program.architecture {
            Architecture::Aarch64 => COMPILER_AARCH64,
            _ => COMPILER,
        };
        self.program.compilers.contains(compiler)
    }
}

/// What is checked; what is not, with the reason printed, where the compiler was asked for other code.
fn artefacts() -> &'static [Artefact] {
    static ALL: LazyLock<Vec<Artefact>> = LazyLock::new(|| {
        let mut files = Vec::new();
        if cfg!(debug_assertions) {
            println!("this test's code is not checked: it is not optimised (cargo test --release)");
        } else {
            use_everything();
            files.push((std::env::current_exe().unwrap(), true));
        }
        files.extend(std::env::var_os("UNROLLED_ARTEFACT").map(|file| (file.into(), false)));
        let mut all = Vec::new();
        for (file, own) in files {
            let program = read(&file);
            let functions = &program.functions;
            let named = functions.values().any(|f| f.name.contains("WholeTiles<f32"));
            if !named && option_env!("RUSTFLAGS").is_some() {
                println!("not checked: RUSTFLAGS displaces the flags of .cargo/config.toml");
                return Vec::new();
            }
            assert!(named, "{}: no tile among {} symbols", file.display(), functions.len());
            all.push(Artefact { file, program, own });
        }
        all
    });
    &ALL
}

/// This very test, where its code is checked.
fn own() -> Option<&'static Artefact> {
    artefacts().iter().find(|a| a.own)
}

/// Functions of `core::arch` that are meant to be called: they ask what the machine is.
const ASKED_ONCE: [&str; 3] = ["_xgetbv", "__cpuid", "__cpuid_count"];

/// Whether a function should have become part of its callers: an intrinsic, or an operation of a level's
/// vectors (all but `run`, the door to a function of its own).
fn must_be_inlined(name: &str) -> bool {
    if name.contains("core_arch::") {
        return !ASKED_ONCE.iter().any(|f| name.ends_with(f));
    }
    let operation = name.split_once(" as unrolled::simd::Simd<").is_some_and(|(of, rest)| {
        let method = rest.split_once(">>::").map_or("", |(_, method)| method);
        of.starts_with("<unrolled::simd::") && !method.starts_with("run")
    });
    // The one function beside them that is meant to be called panics.
    let tile = name.strip_prefix("unrolled::simd::tile::").is_some_and(|f| f != "out_of_bounds");
    operation || tile || name.starts_with("<unrolled::simd::Lanes<")
}

/// "caller calls callee" for each that is left, and the callee alone where no call to it is seen.
fn left_to_call(functions: &BTreeMap<u64, Function>) -> BTreeSet<(String, String)> {
    let mut left = BTreeSet::new();
    let mut called = BTreeSet::new();
    for f in functions.values() {
        for to in f.calls().filter_map(|to| functions.get(&to)) {
            if to.start != f.start && must_be_inlined(&to.name) {
                called.insert(to.start);
                left.insert((f.name.clone(), to.name.clone()));
            }
        }
    }
    for f in functions.values().filter(|f| must_be_inlined(&f.name) && !called.contains(&f.start)) {
        left.insert((String::new(), f.name.clone()));
    }
    left
}

#[test]
fn no_operation_on_vectors_is_left_to_call() {
    for Artefact { file, program: Program { functions, .. }, own } in artefacts() {
        let (planted, found): (Vec<_>, Vec<_>) = left_to_call(functions)
            .into_iter()
            .partition(|(caller, _)| caller.contains("NotInlined"));
        assert!(found.is_empty(), "{}: (caller, callee) {found:#?}", file.display());
        // No function for AArch64 lacks the instructions of NEON.
        let levels: &[_] = if cfg!(target_arch = "x86_64") && *own {
            &["mm256_fmadd_ps", "mm512_fmadd_ps"]
        } else {
            &[]
        };
        for level in levels {
            let seen = planted.iter().any(|(_, callee)| callee.contains(level));
            assert!(seen, "the planted call of {level} is not seen");
        }
    }
}

#[test]
fn what_must_be_inlined_is_known_by_name() {
    for name in [
        "core::core_arch::x86::fma::_mm256_fmadd_ps",
        "core::core_arch::x86::avx512f::_mm512_set1_ps",
        "core::core_arch::arm_shared::neon::generated::vaddq_f32",
        "<unrolled::simd::x86::avx2::Avx2 as unrolled::simd::Simd<f32>>::mul_add",
        "<unrolled::simd::portable::Portable as unrolled::simd::Simd<f64>>::load_ptr_partial",
        "<unrolled::simd::neon::Neon as unrolled::simd::Simd<f64>>::mul_add",
        "<unrolled::simd::Lanes<f32, unrolled::simd::x86::avx2::Avx2>>::sqrt",
        "unrolled::simd::tile::accumulate::<f32, unrolled::simd::x86::avx2::Avx2, 3, 1, 4, 1, false>",
    ] {
        assert!(must_be_inlined(name), "{name}");
    }
    for name in [
        "core::core_arch::x86::xsave::_xgetbv",
        "<unrolled::simd::x86::avx2::Avx2 as unrolled::simd::Simd<f32>>::run::inner::<unrolled::cell::chunk::Chunk<f32>>",
        "<unrolled::simd::x86::avx2::Avx2>::detect",
        "unrolled::simd::tile::out_of_bounds",
        "core::slice::sort::stable::drift::sort",
    ] {
        assert!(!must_be_inlined(name), "{name}");
    }
}

#[test]
fn a_step_of_a_stream_allocates_locks_and_waits_not() {
    let Some(Artefact { program: Program { functions, slots, .. }, .. }) = own() else { return };
    let from = |starts: &[&str]| {
        let start = |f: &str| starts.iter().any(|start| f.contains(start));
        let Reach { own, others } = reach(functions, slots, start, is_end);
        let others: Vec<_> =
            others.into_iter().filter(|(_, to)| !HARMLESS.contains(&to.as_str())).collect();
        (own, others)
    };
    // A net calls its cell through a table, which is not followed: every cell's own beginning is one here.
    let (own, others) =
        from(&["machine_code::stream_step::<", "as unrolled::time::layer::Layer<f"]);
    assert!(own.len() > 20, "are its calls read rightly? {own:#?}");
    let table = |(of, to): &(_, String)| {
        let of: &String = of;
        to == "?" && of.starts_with("<unrolled::net::network::Network<") && of.ends_with("::step")
    };
    let others: Vec<_> = others.into_iter().filter(|call| !table(call)).collect();
    assert!(others.is_empty(), "{others:#?}");
    let (_, others) = from(&["machine_code::use_everything"]);
    let seen = others.iter().any(|(_, to)| to == "malloc");
    assert!(seen, "what does allocate is not seen: {others:#?}");
}

/// A function compiled for one level: which, and for which kernel.
fn kernel(f: &Function) -> Option<(&'static str, &str)> {
    let (of, rest) = f.name.split_once(" as unrolled::simd::Simd<")?;
    let kernel = rest.split_once("::run::inner::<")?.1;
    let level = ["Portable", "Neon", "Avx2", "Avx512"].into_iter().find(|l| of.ends_with(l))?;
    Some((level, kernel.strip_suffix('>').unwrap_or(kernel)))
}

/// Rows, tiles, gates and chains of a tile.
fn tile(kernel: &str) -> Option<[usize; 4]> {
    let arguments = kernel.split_once("WholeTiles<")?.1.trim_end_matches('>');
    let sizes: Vec<usize> = arguments.split(", ").filter_map(|a| a.parse().ok()).collect();
    sizes.try_into().ok()
}

/// Whether any sizes ask for so many chains with so many gates: some tiles are compiled and never chosen.
fn is_chosen(gates: usize, chains: usize) -> bool {
    chains == 1 || (1..9).any(|tiles| chains_of::<f32>(tiles * 16, gates) == chains)
}

/// The compiler whose code is held to its last register. Of another's, some may be spilled: up to a vector for
/// every four multiply-adds of a loop.
const COMPILER: &str = "rustc version 1.95.0 ";
/// For AArch64 that is Debian's, which `tools/cross.py` fetches.
const COMPILER_AARCH64: &str = "rustc version 1.96.0 ";

#[test]
fn tiles_keep_their_sums_in_registers() {
    for artefact in artefacts() {
        let Artefact { file, program: Program { architecture, functions, .. }, .. } = artefact;
        println!("{}, for {architecture:?}", file.display());
        let (mut breaches, mut lines) = (Vec::new(), BTreeSet::new());
        let mut most: BTreeMap<&str, usize> = BTreeMap::new();
        for f in functions.values().filter(|f| !is_mistake(f)) {
            let Some((level, kernel)) = kernel(f) else { continue };
            let loops: Vec<_> =
                f.innermost_loops().into_iter().filter(|l| l.is_product()).collect();
            // The state of an LSTM without a forget gate is sums of products too, but not over k; and a formula's
            // multiply-add goes from block to block, all of them memory.
            let own =
                ["::product::", "::cell::", "::sequence::"].iter().any(|m| kernel.contains(m));
            let not_over_k = ["::CellState<", "::formula::"].iter().any(|m| kernel.contains(m));
            if loops.is_empty() || !own || not_over_k {
                continue;
            }
            let counts: Vec<_> = loops
                .iter()
                .map(|l| (l.multiply_adds(), l.accumulators(), l.by_element()))
                .collect();
            let wasteful: Vec<(usize, Waste)> = loops
                .iter()
                .map(|l| (l.multiply_adds(), l.waste()))
                .filter(|(_, w)| *w != Waste::default())
                .collect();
            lines.insert(format!("{level:<9}{kernel}: {counts:?} {wasteful:?}"));
            let largest = most.entry(level).or_default();
            *largest = counts.iter().map(|c| c.1).max().unwrap_or(0).max(*largest);
            // A turn takes whole steps of k; of several rows chains follow one another.
            let whole = tile(kernel).is_none_or(|[rows, tiles, gates, _]| {
                counts.iter().all(|(n, ..)| n % (rows * tiles * gates) == 0)
            });
            let chosen = tile(kernel).is_none_or(|[_, _, gates, chains]| is_chosen(gates, chains));
            if level == "Portable" || !chosen {
                continue;
            }
            let permitted = |n: usize| if artefact.same_compiler() { 0 } else { n / 4 };
            let spills = |(n, w): &&(usize, Waste)| w.stored.max(w.read_back) > permitted(*n);
            let spilling = wasteful.iter().filter(spills).count();
            if !whole || spilling > 0 {
                breaches.push(format!("{level} {kernel}: {counts:?} {wasteful:?}"));
            }
        }
        println!(
            "level, kernel: (multiply-adds a turn, registers they sum in, how many are by an element of a vector) of \
             each loop, what is wasted in which"
        );
        lines.iter().for_each(|l| println!("  {l}"));
        assert!(breaches.is_empty(), "{}: {breaches:#?}", file.display());
        // The largest tile that fits is there: 6 × 4 in 32 registers, 3 × 4 in 16.
        let expected: &[_] = match architecture {
            Architecture::Aarch64 => &[("Neon", 24)],
            _ => &[("Avx512", 24), ("Avx2", 12)],
        };
        let fits = |(level, sums): &(&str, usize)| most.get(level).is_some_and(|m| m >= sums);
        assert!(expected.iter().all(fits), "the largest tiles: {most:?}");
    }
}

#[test]
fn a_tile_too_large_for_the_registers_is_seen() {
    let Some(own) = own() else { return };
    let levels: &[_] = match own.program.architecture {
        Architecture::Aarch64 => &["Portable", "Neon"],
        _ => &["Portable", "Avx2", "Avx512"],
    };
    for &level in levels {
        let too_large = own.program.functions.values().filter(|f| {
            kernel(f).is_some_and(|(l, kernel)| l == level && kernel.contains("TooLarge"))
        });
        let loops = too_large.flat_map(Function::innermost_loops).filter(|l| l.is_product());
        let waste: Vec<_> = loops.map(|l| l.waste()).collect();
        let seen = waste.iter().any(|w| w.stored > 0 && w.read_back > 0);
        assert!(
            seen,
            "{level}: 48 accumulators, and no vector goes to the stack and back: {waste:?}"
        );
    }
}
