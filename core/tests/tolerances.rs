//! The table of permitted errors is read as it is written.

#[allow(dead_code)] // the other tests use the rest
#[path = "common/tolerance.rs"]
mod tolerance;

#[test]
fn numbers_are_those_written() {
    let table = include_str!("../../python/unrolled/tolerances.toml");
    let mut count = 0;
    for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, number) = line.split_once(" = ").unwrap_or_else(|| panic!("{line}"));
        let name = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
        let name = name.unwrap_or_else(|| panic!("{line}"));
        assert_eq!(tolerance::entry(name), number.parse::<f64>().unwrap(), "{name}");
        count += 1;
    }
    assert!(count > 20);
}

#[test]
#[should_panic(expected = "no such entry")]
fn what_is_not_there_is_told() {
    tolerance::entry("reference.output");
}
