//! What Arm's floating-point unit (VFP) has and stable Rust, without `std`, has no other name for.

/// √a, correctly rounded. Through integer registers, because floating-point ones are no operands of stable Rust's `asm!`
/// on this architecture.
#[inline(always)]
pub fn sqrt_f32(a: f32) -> f32 {
    let root: u32;
    // SAFETY: the ABI passes floats in the unit's registers, and every such unit has VSQRT.F32. It reads and writes one
    // register, which is named, and neither memory nor flags that a program sees.
    unsafe {
        core::arch::asm!(
            "vmov s0, {x}",
            "vsqrt.f32 s0, s0",
            "vmov {x}, s0",
            x = inout(reg) a.to_bits() => root,
            out("s0") _,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    f32::from_bits(root)
}
