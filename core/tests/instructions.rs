//! How many instructions a piece of work takes at level avx2, counted by valgrind: a figure that does not hang
//! on the machine's load, and that a lost inlining or a spilled register moves at once. (Valgrind knows no
//! AVX-512.)
//!
//! The program runs itself under `valgrind --tool=callgrind`, each piece n times and 2n times, so that what comes
//! before and after cancels. `data/instructions.txt` holds the figures and the compiler they came from:
//!
//! ```text
//! cargo test --release -p unrolled --test instructions               # compares
//! cargo test --release -p unrolled --test instructions -- --update   # writes them anew
//! ```

use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};
use unrolled::cell::Cell;
use unrolled::fixed::{Fixed, Parameters};
use unrolled::network::{Input, Losses, Network, Recording, View};
use unrolled::simd::{Isa, Level};
use unrolled::{Activation, CellKind, Config, Gru, Lstm, Rnn};

/// How far a count may be from the file's, where the same compiler made it, and where another did.
const SAME_COMPILER: f64 = 0.03;
const OTHER_COMPILER: f64 = 0.15;

struct Piece {
    name: &'static str,
    /// Repeats n: enough for what varies from run to run to vanish.
    repeats: usize,
    run: fn(usize),
}

const LSTM: CellKind = CellKind::Lstm { forget_gate: true };
const GRU: CellKind = CellKind::Gru { reset_after: true };
const RNN: CellKind = CellKind::Rnn(Activation::Tanh);

/// Steps of a block of a stream.
const BLOCK: usize = 32;

const PIECES: [Piece; 11] = [
    Piece {
        name: "step_lstm_1_16",
        repeats: 2000,
        run: |n| step(Lstm::<f32, 1, 16>::from_parameters, n),
    },
    Piece {
        name: "step_lstm_32_32",
        repeats: 1000,
        run: |n| step(Lstm::<f32, 32, 32>::from_parameters, n),
    },
    Piece {
        name: "step_gru_1_32",
        repeats: 1000,
        run: |n| step(Gru::<f32, 1, 32>::from_parameters, n),
    },
    Piece {
        name: "step_rnn_1_64",
        repeats: 1000,
        run: |n| step(Rnn::<f32, 1, 64>::from_parameters, n),
    },
    Piece { name: "stream_lstm_1_16", repeats: 2000, run: |n| stream(LSTM, 1, 16, 1, n) },
    Piece { name: "block_lstm_1_16", repeats: 100, run: |n| stream(LSTM, 1, 16, BLOCK, n) },
    Piece { name: "block_gru_1_16", repeats: 100, run: |n| stream(GRU, 1, 16, BLOCK, n) },
    Piece { name: "forward_lstm_20_8_16_32", repeats: 10, run: |n| pass(LSTM, false, n) },
    Piece { name: "both_lstm_20_8_16_32", repeats: 10, run: |n| pass(LSTM, true, n) },
    Piece { name: "both_gru_20_8_16_32", repeats: 10, run: |n| pass(GRU, true, n) },
    Piece { name: "both_rnn_20_8_16_32", repeats: 10, run: |n| pass(RNN, true, n) },
];

fn step<C: Cell, const I: usize, const H: usize>(
    make: fn(&Parameters<C, f32, I, H>) -> Fixed<C, f32, I, H>,
    repeats: usize,
) {
    let mut parameters = Parameters::zeros();
    for own in parameters.slices_mut() {
        own.fill(0.01);
    }
    let cell = make(&parameters);
    let mut state = cell.zero_state();
    for _ in 0..repeats {
        black_box(cell.step(black_box(&[0.3; I]), &mut state));
    }
}

fn net(kind: CellKind, inputs: usize, units: usize) -> Network<f32> {
    let mut net = Network::new(Config::new(kind, inputs, units), Level::best()).unwrap();
    net.update(|parameters| {
        parameters.fill(0.01);
        Ok::<(), unrolled::Error>(())
    })
    .unwrap();
    net
}

fn stream(kind: CellKind, inputs: usize, units: usize, steps: usize, repeats: usize) {
    let net = net(kind, inputs, units);
    let mut stream = net.stream_of_blocks(1, steps).unwrap();
    let (x, mut y) = (vec![0.3; steps * inputs], vec![0.0; steps * units]);
    for _ in 0..repeats {
        if steps == 1 {
            net.step(&mut stream, black_box(&x), &mut y).unwrap();
        } else {
            net.block(&mut stream, black_box(&x), &mut y).unwrap();
        }
    }
    black_box(y);
}

fn pass(kind: CellKind, backward: bool, repeats: usize) {
    let (steps, batch, inputs, units) = (20, 8, 16, 32);
    let net = net(kind, inputs, units);
    let x = vec![0.3; steps * batch * inputs];
    let d_y = vec![0.1; steps * batch * units];
    let x = View::time_major(&x, batch, inputs);
    let input = Input { x, steps, batch, states: None, lengths: None, resets: None };
    let losses = Losses { y: View::time_major(&d_y, batch, units), states: None };
    for _ in 0..repeats {
        if backward {
            let (_, tape) = net.record(black_box(&input), Recording::default(), None).unwrap();
            black_box(net.backward(&tape, &losses, None, None).unwrap());
        } else {
            black_box(net.forward(black_box(&input), None).unwrap());
        }
    }
}

/// Instructions of one run of this program under valgrind, doing `piece` so many times.
fn count(piece: &str, repeats: usize) -> Result<f64, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["--work", piece, &repeats.to_string()])
        .output()
        .map_err(|e| format!("valgrind: {e}"))?;
    let said = String::from_utf8_lossy(&out.stderr);
    if !out.status.success() {
        return Err(format!("{piece} under valgrind: {}\n{said}", out.status));
    }
    let collected = said.lines().find_map(|l| l.split_once("Collected : "));
    let number = collected.and_then(|(_, n)| n.trim().parse().ok());
    number.ok_or_else(|| format!("{piece}: valgrind said no count\n{said}"))
}

fn per_unit(piece: &Piece) -> Result<f64, String> {
    let (once, twice) = (count(piece.name, piece.repeats)?, count(piece.name, 2 * piece.repeats)?);
    Ok((twice - once) / piece.repeats as f64)
}

fn said_by(program: &str, argument: &str) -> Option<String> {
    let out = Command::new(program).arg(argument).output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// Whether `counted` is so near to `expected`, fewer being as much a reason to look as more.
fn near(counted: f64, expected: f64, share: f64) -> bool {
    (counted / expected - 1.0).abs() <= share
}

fn compare(recorded: &str, compiler: &str, counts: &[(&str, f64)]) -> Result<(), String> {
    let lines = || recorded.lines().filter_map(|l| l.split_once(' '));
    let made_by = recorded.lines().find_map(|l| l.strip_prefix("# ")).unwrap_or("");
    let share = if made_by == compiler { SAME_COMPILER } else { OTHER_COMPILER };
    println!("figures of {made_by}; compiled by {compiler}: within {:.0} %", 100.0 * share);
    let mut wrong = String::new();
    for &(name, counted) in counts {
        let expected = lines().find(|(n, _)| *n == name).and_then(|(_, v)| v.trim().parse().ok());
        let Some(expected) = expected else {
            writeln!(wrong, "{name}: not in the file").unwrap();
            continue;
        };
        let change = 100.0 * (counted / expected - 1.0);
        println!("  {name:<26}{counted:>12.1}  recorded {expected:>12.1}  {change:>+6.2} %");
        if !near(counted, expected, share) {
            writeln!(wrong, "{name}: {counted:.1} instructions, {expected:.1} recorded").unwrap();
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn check(update: bool) -> Result<(), String> {
    // The check itself, on figures made up: it must be able to fail.
    let figures = "# rustc x\na 100.0\n";
    assert!(compare(figures, "rustc x", &[("a", 102.0)]).is_ok());
    assert!(compare(figures, "rustc x", &[("a", 104.0)]).is_err());
    assert!(compare(figures, "rustc x", &[("a", 96.0)]).is_err());
    assert!(compare(figures, "rustc y", &[("a", 114.0)]).is_ok());
    assert!(compare(figures, "rustc y", &[("b", 100.0)]).is_err());
    println!("the check can fail; now the counts");

    if cfg!(debug_assertions) {
        println!("instructions: not counted, this build is not optimised (cargo test --release)");
        return Ok(());
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        println!("instructions: not counted, the figures are those of x86-64 Linux");
        return Ok(());
    }
    if said_by("valgrind", "--version").is_none() {
        println!("instructions: not counted, valgrind is missing (apt-get install valgrind)");
        return Ok(());
    }
    if Level::get(Isa::Avx2).is_none() {
        println!("instructions: not counted, this machine lacks AVX2");
        return Ok(());
    }
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let compiler = said_by(&rustc, "--version").unwrap_or_else(|| "an unknown compiler".into());
    let mut counts = Vec::new();
    for piece in &PIECES {
        counts.push((piece.name, per_unit(piece)?));
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/instructions.txt");
    if update {
        let mut text = format!("# {compiler}\n");
        for (name, counted) in &counts {
            writeln!(text, "{name} {counted:.1}").unwrap();
        }
        print!("{text}");
        return std::fs::write(&file, text).map_err(|e| format!("{}: {e}", file.display()));
    }
    let recorded =
        std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    compare(&recorded, &compiler, &counts)
}

fn work(piece: &str, repeats: &str) {
    #[cfg(feature = "rayon")]
    unrolled::batch::set_num_threads(1);
    Level::set_limit(Isa::Avx2);
    assert_eq!(Level::best().isa(), Isa::Avx2, "valgrind shows the program no AVX2");
    let piece = PIECES.iter().find(|p| p.name == piece).expect("a piece of work");
    (piece.run)(repeats.parse().expect("how many times"));
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--work", piece, repeats] => {
            work(piece, repeats);
            ExitCode::SUCCESS
        }
        // What cargo and others ask of every test program.
        ["--list", ..] => ExitCode::SUCCESS,
        ref given => match check(given.contains(&"--update")) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("{why}If the change is meant: -- --update writes the figures anew.");
                ExitCode::FAILURE
            }
        },
    }
}
