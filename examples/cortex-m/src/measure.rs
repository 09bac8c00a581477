//! Instructions and stack, by the system timer: under an emulator that lets it run with the instructions.

use core::sync::atomic::{AtomicU32, Ordering};
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::register::msp;
use cortex_m_rt::exception;

/// The longest the timer counts.
const MOST: u32 = 0x00ff_ffff;

/// A clock of instructions: how many go with so many ticks is measured, for boards differ.
pub struct Clock {
    ticks: u32,
}

/// Rounds of a delay, but for one: of two instructions each.
const KNOWN: u32 = 100_000;

impl Clock {
    pub fn new(timer: &mut SYST) -> Self {
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(MOST);
        timer.clear_current();
        timer.enable_counter();
        Clock { ticks: ticks(|| cortex_m::asm::delay(KNOWN)) }
    }

    /// How many instructions `work` takes.
    pub fn instructions(&self, work: impl FnOnce()) -> u32 {
        (u64::from(ticks(work)) * u64::from(2 * KNOWN) / u64::from(self.ticks)) as u32
    }
}

fn ticks(work: impl FnOnce()) -> u32 {
    let before = SYST::get_current();
    work();
    before.wrapping_sub(SYST::get_current()) & MOST
}

/// The lowest stack pointer that an interrupt has seen.
static LOWEST: AtomicU32 = AtomicU32::new(u32::MAX);

#[exception]
fn SysTick() {
    LOWEST.fetch_min(msp::read(), Ordering::Relaxed);
}

/// Bytes of stack that `work` takes, seen by interrupts that come as often and at another place each time.
pub fn stack_of(timer: &mut SYST, work: impl FnMut()) -> u32 {
    let rest = lowest(timer, || cortex_m::asm::delay(100));
    rest - lowest(timer, work)
}

#[inline(never)]
fn lowest(timer: &mut SYST, mut work: impl FnMut()) -> u32 {
    LOWEST.store(u32::MAX, Ordering::Relaxed);
    timer.set_reload(1_009);
    timer.clear_current();
    timer.enable_interrupt();
    for _ in 0..1_000 {
        work();
    }
    timer.disable_interrupt();
    timer.set_reload(MOST);
    LOWEST.load(Ordering::Relaxed)
}
