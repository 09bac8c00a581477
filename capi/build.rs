//! The name under which a program looks for the shared library when it starts. Before 1.0 every minor version may
//! change the interface, so that it holds both numbers.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let version = |part| std::env::var(format!("CARGO_PKG_VERSION_{part}")).unwrap_or_default();
    let number = format!("{}.{}", version("MAJOR"), version("MINOR"));
    let system = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let argument = match system.as_str() {
        "macos" => format!("-Wl,-install_name,@rpath/libunrolled_c.{number}.dylib"),
        "windows" => return,
        _ => format!("-Wl,-soname,libunrolled_c.so.{number}"),
    };
    println!("cargo::rustc-cdylib-link-arg={argument}");
}
