//! A formula as a [`Cell`](crate::cell::Cell) in Rust: the instructions of its programs, written as a person would read
//! them. What is used once stands where it is used; what is used twice, or leaves, has a name.

mod expression;
mod names;
mod text;

use super::code::{Action, Code, Place};
use super::description::Description;
use super::graph::Id;
use super::plan::Scheme;
use super::program::Program;
use crate::error::Error;
use crate::kernel::layout::{MOST_SLOTS, Slot};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, vec};
use expression::Expressions;
use names::{Names, is_name};

/// Columns of a line, as rustfmt has it.
const WIDTH: usize = 100;

/// See [`Formula::source`](super::Formula::source).
pub fn source(description: &Description, name: &str, title: &str) -> Result<String, Error> {
    let refused = |argument, expected| Err(Error::Invalid { argument, expected });
    if !is_name(name) {
        return refused("name", "an ASCII identifier of Rust");
    }
    let (program, plan, wanted) = Program::compile(description)?;
    let mut codes = program.forward.iter().chain(&program.backward);
    if codes.any(|code| code.means > 0 || code.phases.len() > 1) {
        return refused(
            "formula",
            "no mean over the units: normalise needs the whole row, and a cell of fixed size has a few units at a time; \
             run such a cell as a network, or leave normalise out",
        );
    }
    if plan.layout.stages() > 2 {
        return refused(
            "formula",
            "maps of values that other maps of values do not feed: a cell of fixed size has one round of such maps",
        );
    }
    let planes = program.kept.max(plan.fed.len());
    if planes > MOST_SLOTS {
        return refused(
            "formula",
            "at most 16 slots, mapped values and other values kept for the way back, as a cell of fixed size has; \
             divide, take powers or name maps less often",
        );
    }
    let names = Names::new(description, &plan, &wanted);
    let writer = Writer { description, plan: &plan, names, planes };
    Ok(writer.whole(&program, name, title))
}

struct Writer<'a> {
    description: &'a Description,
    plan: &'a Scheme,
    names: Names,
    /// Slots of the cell: of the layout, and of what is kept besides.
    planes: usize,
}

impl Writer<'_> {
    fn whole(&self, program: &Program, name: &str, title: &str) -> String {
        let mut lines = text::documentation(self.description, self.plan, &self.names);
        let title: String = title.chars().filter(|c| !c.is_control() && *c != '`').collect();
        lines.insert(0, format!("/// The cell `{title}`, a formula:"));
        lines.push("#[derive(Clone, Copy, Debug)]".into());
        lines.push(format!("pub struct {name};"));
        lines.push(String::new());
        lines.push("#[rustfmt::skip]".into());
        // Names are the formula's, and the numbers are what they are.
        lines
            .push("#[allow(clippy::approx_constant, clippy::eq_op, clippy::inline_always)]".into());
        lines.push("#[allow(clippy::many_single_char_names, clippy::similar_names)]".into());
        lines.push("#[allow(clippy::too_many_lines, clippy::unreadable_literal)]".into());
        lines.push(format!("impl Cell for {name} {{"));
        let mut body = self.constants();
        let mapped = program.forward.len() > 1;
        if mapped {
            body.push(String::new());
            body.extend(self.forward("value", &program.forward[0]));
        }
        body.push(String::new());
        body.extend(self.forward("forward", &program.forward[usize::from(mapped)]));
        body.push(String::new());
        body.extend(self.backward("backward", &program.backward[usize::from(mapped)]));
        if mapped {
            body.push(String::new());
            body.extend(self.backward("backward_value", &program.backward[0]));
        }
        lines.extend(indented(&body));
        lines.push("}".into());
        lines.join("\n") + "\n"
    }

    /// The numbers of things, and what feeds the slots.
    fn constants(&self) -> Vec<String> {
        let layout = &self.plan.layout;
        let mut lines = Vec::new();
        let mut slots: Vec<String> = self.names.fed().map(ToString::to_string).collect();
        if self.planes > slots.len() {
            slots.push(format!("{} for the way back", self.planes - slots.len()));
        }
        let states: Vec<String> =
            (0..layout.states()).map(|state| self.names.state(state).to_string()).collect();
        let own: Vec<String> =
            (0..layout.parameters()).map(|n| self.names.parameter(n).to_string()).collect();
        for (what, count, of) in [
            ("Slots", self.planes, slots),
            ("States", layout.states(), states),
            ("MapsOfX", layout.maps_of_x(), vec![]),
            ("MapsOfH", layout.maps_of_h(), vec![]),
            ("Parameters", layout.parameters(), own),
        ] {
            if !of.is_empty() {
                lines.extend(wrapped("// ", of.iter().map(String::as_str), ","));
            }
            lines.push(format!("type {what}<A: Copy> = [A; {count}];"));
        }
        lines.push(String::new());
        lines.push("const SLOTS: &'static [Slot] = &[".into());
        for plane in 0..self.planes {
            let slot = self.plan.fed.get(plane).copied().unwrap_or(Slot::value());
            lines.push(format!("    {},", feeding(slot)));
        }
        lines.push("];".into());
        if !layout.reads_h() {
            lines.push("const READS_H: bool = false;".into());
        }
        lines
    }

    fn forward(&self, name: &str, code: &Code) -> Vec<String> {
        let layout = &self.plan.layout;
        let (last, own) = (name == "forward", layout.parameters());
        let slots = self.read(code, &|n| Place::Plane(n as u8), self.planes);
        let states = self.read(code, &|n| Place::State(n as u8), layout.states());
        let parameters = self.read(code, &|n| Place::Parameter(n as u8), own);
        let (slots, expressions) = self.expressions(code, slots);
        let new_slots = expressions.all(self.planes, &|n| Place::Plane(n as u8));
        let new_states = expressions.all(layout.states(), &|n| Place::State(n as u8));
        let mut body = Vec::new();
        body.extend(taken("slots", &slots));
        body.extend(taken("states", &states));
        body.extend(expressions.statements());
        body.extend(written("*slots", "slots", &new_slots));
        body.extend(written("*states", "states", &new_states));
        let of_slots = if uses(&slots, &new_slots) { "slots" } else { "_" };
        let of_states = if uses(&states, &new_states) { "states" } else { "_" };
        let mutable = if last { "mut " } else { "" };
        let arguments = [
            format!("{of_slots}: &mut [Lanes<T, S>; {}]", self.planes),
            format!("{of_states}: &{mutable}[Lanes<T, S>; {}]", layout.states()),
            argument(&parameters),
        ];
        function(name, &arguments, &body)
    }

    fn backward(&self, name: &str, code: &Code) -> Vec<String> {
        let layout = &self.plan.layout;
        let (own, fed) = (layout.parameters(), self.plan.fed.len());
        let kept = self.read(code, &|n| Place::Kept(n as u8), self.planes);
        let before = self.read(code, &|n| Place::Before(n as u8), layout.states());
        let parameters = self.read(code, &|n| Place::Parameter(n as u8), own);
        let d_states = self.read(code, &|n| Place::State(n as u8), layout.states());
        let d_slots = self.read(code, &|n| Place::Plane(n as u8), self.planes);
        let (kept, expressions) = self.expressions(code, kept);
        let new_states = expressions.all(layout.states(), &|n| Place::State(n as u8));
        let mut new_slots = expressions.all(self.planes, &|n| Place::Plane(n as u8));
        // Behind the layout's slots the program has the parameters' derivatives.
        new_slots[fed..].fill(None);
        let new_own = expressions.all(own, &|n| Place::Plane((fed + n) as u8));
        let mut body = Vec::new();
        body.extend(taken("d_states", &d_states));
        if uses(&d_slots, &[]) {
            body.push(format!("let {} = d.slots;", pattern(&d_slots)));
        }
        body.extend(expressions.statements());
        body.extend(written("d.slots", "d.slots", &new_slots));
        body.extend(written("d.parameters", "d.parameters", &new_own));
        body.extend(written("*d_states", "d_states", &new_states));
        let of_states = if uses(&d_states, &new_states) { "d_states" } else { "_" };
        let of_d = if uses(&d_slots, &new_slots) || uses(&[], &new_own) { "d" } else { "_" };
        let arguments = [
            argument(&kept),
            argument(&before),
            argument(&parameters),
            format!("{of_states}: &mut [Lanes<T, S>; {}]", layout.states()),
            format!("{of_d}: &mut Derivatives<Self, T, S>"),
        ];
        function(name, &arguments, &body)
    }

    /// The statements of a function that reads these, of which one has a name where numbers are to be made like it.
    fn expressions<'s>(
        &'s self,
        code: &'s Code,
        mut read: Vec<String>,
    ) -> (Vec<String>, Expressions<'s>) {
        let first = read.iter().find(|name| *name != "_").cloned();
        let base = first.clone().unwrap_or_else(|| self.names.slot(0).to_string());
        let expressions = Expressions::new(code, &self.plan.graph, &self.names, base.clone());
        if first.is_none() && expressions.has_numbers() {
            read[0] = base;
        }
        (read, expressions)
    }

    /// By places: the name of what is read there, or `_`.
    fn read(&self, code: &Code, place: &dyn Fn(usize) -> Place, count: usize) -> Vec<String> {
        let name = |n| {
            code.instructions()
                .find(|own| own.action == Action::Load(place(n)))
                .map_or("_".into(), |own| self.names.read(&self.plan.graph, code.holds[&own.to]))
        };
        (0..count).map(name).collect()
    }
}

/// A slot, as its constructors write it.
fn feeding(slot: Slot) -> String {
    match (slot.x, slot.h, slot.of) {
        (Some(x), Some(h), None) => format!("Slot::both({x}, {h})"),
        (Some(x), Some(h), Some(value)) => format!("Slot::x({x}).and({h}, {value})"),
        (Some(x), None, _) => format!("Slot::x({x})"),
        (None, Some(h), None) => format!("Slot::h({h})"),
        (None, Some(h), Some(value)) => format!("Slot::value().and({h}, {value})"),
        (None, None, _) => "Slot::value()".into(),
    }
}

fn pattern(names: &[String]) -> String {
    format!("[{}]", names.join(", "))
}

/// Whether anything is read or written.
fn uses(read: &[String], written: &[Option<String>]) -> bool {
    read.iter().any(|name| name != "_") || written.iter().any(Option::is_some)
}

/// The statement that reads an array behind a reference, if anything of it is read.
fn taken(whole: &str, names: &[String]) -> Option<String> {
    uses(names, &[]).then(|| format!("let {} = *{whole};", pattern(names)))
}

/// An argument that is taken apart, if anything of it is read.
fn argument(names: &[String]) -> String {
    let of = format!("&[Lanes<T, S>; {}]", names.len());
    if !uses(names, &[]) {
        return format!("_: {of}");
    }
    let line = format!("&{}: {of}", pattern(names));
    if line.len() + 9 <= WIDTH {
        return line;
    }
    let names = wrapped("        ", names.iter().map(String::as_str), ",").join("\n        ");
    format!("&[\n        {names}\n        ]: {of}")
}

/// The statements that write an array, or the elements of it that there are.
fn written(whole: &str, element: &str, values: &[Option<String>]) -> Vec<String> {
    let all: Option<Vec<&str>> = values.iter().map(Option::as_deref).collect();
    match all {
        Some(all) if all.is_empty() => vec![],
        Some(all) => {
            let line = format!("{whole} = [{}];", all.join(", "));
            if line.len() + 8 <= WIDTH {
                return vec![line];
            }
            let mut lines = vec![format!("{whole} = [")];
            lines.extend(wrapped("    ", all.into_iter(), ","));
            lines.push("];".into());
            lines
        }
        None => {
            let there = values.iter().enumerate();
            there
                .filter_map(|(n, value)| Some(format!("{element}[{n}] = {};", value.as_ref()?)))
                .collect()
        }
    }
}

/// Words in lines that begin alike, with something behind each word.
fn wrapped<'w>(begin: &str, words: impl Iterator<Item = &'w str>, behind: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() + behind.len() + 13 <= WIDTH => {
                line.push_str(&format!(" {word}{behind}"));
            }
            _ => lines.push(format!("{begin}{word}{behind}")),
        }
    }
    if begin.starts_with("//")
        && let Some(line) = lines.last_mut()
    {
        line.truncate(line.len() - behind.len());
    }
    lines
}

fn function(name: &str, arguments: &[String], body: &[String]) -> Vec<String> {
    let mut lines = vec!["#[inline(always)]".to_string()];
    lines.push(format!("fn {name}<T: Real, S: Simd<T>>("));
    lines.extend(arguments.iter().map(|argument| format!("    {argument},")));
    lines.push(") {".into());
    lines.extend(indented(body));
    lines.push("}".into());
    lines
}

fn indented(lines: &[String]) -> impl Iterator<Item = String> {
    lines.iter().map(|line| if line.is_empty() { String::new() } else { format!("    {line}") })
}

/// What the names and the text of the formula are about: its own expressions that it needs, in order.
fn needed(plan: &Scheme) -> Vec<Id> {
    let mut seen = vec![false; plan.own as usize];
    let mut open: Vec<Id> = plan.outputs.iter().chain(&plan.values).copied().collect();
    while let Some(id) = open.pop() {
        if !seen[id as usize] {
            seen[id as usize] = true;
            open.extend(plan.graph.get(id).operands());
        }
    }
    (0..plan.own).filter(|&id| seen[id as usize]).collect()
}
