//! Cells as formulas: an expression graph as data, its reverse, and a short program of vector instructions for both.
//!
//! A [`Formula`] says what a cell computes from the maps of x and of h, elementwise. Its reverse is derived by the chain
//! rule; what the way back needs of the way forward is kept or computed again; and both become instructions that an
//! interpreter runs over blocks of units in the first cache, at every level. No compiler is needed where it runs.

mod code;
mod derive;
mod description;
mod graph;
mod listing;
mod plan;
mod program;
mod run;
mod source;

pub use description::{
    Binary, Description, Fed, MOST_CONSTANTS, MOST_MEANS, MOST_NODES, MOST_NORMALISED,
    MOST_PARAMETERS, MapOf, Node, Surrogate, Unary,
};
pub use program::Program;

use crate::error::Error;
use crate::kernel::layout::Layout;
use alloc::string::String;
use core::fmt::Write;

/// A cell as a formula, checked and compiled.
#[derive(Clone, Debug)]
pub struct Formula {
    description: Description,
    program: Program,
}

impl Formula {
    /// Checks and compiles a description. Takes time and memory in proportion to its nodes, of which there are
    /// [`MOST_NODES`] at most.
    ///
    /// # Errors
    /// `Invalid` for what is not a formula, or too large.
    pub fn new(description: Description) -> Result<Self, Error> {
        description.check()?;
        let program = Program::new(&description)?;
        Ok(Formula { description, program })
    }

    /// What it was made of.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.program.layout
    }

    /// The cell as Rust source: a type `name` that implements [`Cell`](super::Cell), with the very operations of the
    /// programs, so that it gives the same bits, forward and back. `title` is what its documentation calls it.
    ///
    /// The text needs `Cell`, `Derivatives` and `Slot` of [`cell`](crate::cell), [`Real`](crate::real::Real), `Lanes` and
    /// `Simd` of [`simd`](crate::simd) in scope, and [`math`](crate::math) where it names it.
    ///
    /// ```
    /// use unrolled::cell::formula::{Description, Fed, Formula, MapOf, Node, Unary};
    ///
    /// let both = MapOf { x: Some("a".into()), h: Some("a".into()), fed: Fed::State };
    /// let elman = Formula::new(Description {
    ///     states: vec!["h".into()],
    ///     maps: vec![both],
    ///     nodes: vec![Node::Slot(0), Node::Unary(Unary::Tanh, 0)],
    ///     outputs: vec![1],
    ///     ..Description::default()
    /// })?;
    /// assert!(elman.source("Elman", "elman")?.contains("impl Cell for Elman"));
    /// # Ok::<(), unrolled::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` for what a [`Cell`](super::Cell) cannot be: means over the row, maps of values that depend on other such
    /// maps, more than 16 slots and kept values; for a name that is no identifier.
    pub fn source(&self, name: &str, title: &str) -> Result<String, Error> {
        source::source(&self.description, name, title)
    }

    /// The programs, in words, and how many numbers a unit keeps.
    #[must_use]
    pub fn explain(&self) -> String {
        let (mut text, program) = (String::new(), &self.program);
        for (what, codes) in [("forward", &program.forward), ("backward", &program.backward)] {
            for (stage, code) in codes.iter().enumerate() {
                let count = code.instructions().count();
                // A string takes whatever is written to it.
                let _ = write!(text, "{what}, stage {stage}: {count} instructions\n{code}");
            }
        }
        let (kept, planes) = (program.kept, program.layout.planes());
        let _ = writeln!(
            text,
            "kept: {kept} of the {planes} numbers of a unit in a tape's row; states and output besides"
        );
        text
    }
}
