//! How a formula is compiled: its expressions and their derivatives, which of them are kept, and where.

use super::code::{Code, Place, compile};
use super::derive::reverse;
use super::description::{Binary, Description, Fed, Node, Unary};
use super::graph::{BinaryOf, Expression, Graph, Id, Leaf, UnaryOf};
use crate::error::Error;
use crate::kernel::layout::{Layout, MOST_MAPS, Map, Slot};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;

/// Planes of a row at the most, so that a place in it fits a byte, and those of own parameters besides.
const MOST_PLANES: usize = 128;

/// Operations that are computed again rather than one row kept. As many rows as a formula has such lots are no more than
/// there may be.
const MOST_AGAIN: usize = 64;

/// The expressions of a formula and how its slots stand in a row.
pub struct Scheme {
    pub graph: Graph,
    /// Where each of the description's maps stands among the layout's slots.
    pub slots: Vec<usize>,
    /// What feeds each of the layout's slots, values' among them.
    pub fed: Vec<Slot>,
    pub layout: Layout,
    /// The new states.
    pub outputs: Vec<Id>,
    /// The values that maps act on, in the layout's order of maps.
    pub values: Vec<Id>,
    /// Expressions of the formula itself: those from here on are derivatives.
    pub own: Id,
}

/// Derivatives by slots, by states and by parameters.
pub struct Wanted {
    pub slots: Vec<Id>,
    pub states: Vec<Id>,
    pub parameters: Vec<Id>,
    /// By every expression of the formula, where it has one.
    pub all: Vec<Option<Id>>,
}

impl Scheme {
    pub fn new(d: &Description) -> Result<Self, Error> {
        let (order, stages) = order(d)?;
        let mut slots = vec![0; d.maps.len()];
        for (at, &map) in order.iter().enumerate() {
            slots[map] = at;
        }
        let rank = |of: fn(&super::description::MapOf) -> bool, map: usize| {
            d.maps[..map].iter().filter(|map| of(map)).count() as u8
        };
        let mut fed = Vec::new();
        let mut values_at = d.maps.len() as u8;
        for &map in &order {
            let x = d.maps[map].x.is_some().then(|| rank(|map| map.x.is_some(), map));
            let h = rank(|map| map.fed != Fed::Nothing, map);
            fed.push(match (x, d.maps[map].fed) {
                (Some(x), Fed::Nothing) => Slot::x(x),
                (Some(x), Fed::State) => Slot::both(x, h),
                (None, Fed::State) => Slot::h(h),
                (x, _) => {
                    let slot = x.map_or(Slot::value(), Slot::x).and(h, values_at);
                    values_at += 1;
                    slot
                }
            });
        }
        let values = order.iter().filter_map(|&map| match d.maps[map].fed {
            Fed::Value(node) => Some((map, node)),
            _ => None,
        });
        let values: Vec<_> = values.collect();
        fed.extend(values.iter().map(|_| Slot::value()));
        let mut by_map = [0; MOST_MAPS];
        for (stage, (map, _)) in by_map.iter_mut().zip(&values) {
            *stage = stages[*map] as u8 - 1;
        }
        let blocks = [
            d.maps.iter().filter(|map| map.x.is_some()).count(),
            d.maps.iter().filter(|map| map.fed != Fed::Nothing).count(),
            d.parameters.len(),
        ];
        let (graph, nodes) = expressions(d, &slots);
        let reads_h = nodes.iter().any(|&id| graph.get(id) == Expression::Leaf(Leaf::State(0)));
        let layout = Layout::new(&fed, &by_map, d.states.len(), blocks, reads_h);
        let own = graph.len() as Id;
        Ok(Scheme {
            graph,
            slots,
            fed,
            layout,
            outputs: d.outputs.iter().map(|&node| nodes[node]).collect(),
            values: values.iter().map(|&(_, node)| nodes[node]).collect(),
            own,
        })
    }

    /// The derivatives of everything by everything that is wanted.
    pub fn differentiate(&mut self) -> Wanted {
        let mut seeds = Vec::new();
        for (state, &output) in self.outputs.iter().enumerate() {
            let d = self.graph.leaf(Leaf::DState(state as u8));
            seeds.push((output, d));
        }
        for (map, &value) in self.values.iter().enumerate() {
            let d = self.graph.leaf(Leaf::DValue(map as u8));
            seeds.push((value, d));
        }
        self.own = self.graph.len() as Id;
        let d = reverse(&mut self.graph, &seeds);
        let fed = self.slots.len();
        let wanted = |graph: &mut Graph, leaf: Leaf| {
            let of = graph.leaf(leaf);
            d.get(of as usize).copied().flatten().unwrap_or_else(|| graph.number(0.0))
        };
        let graph = &mut self.graph;
        let slots = (0..fed as u8).map(|n| wanted(graph, Leaf::Slot(n))).collect();
        let states = 0..self.layout.states() as u8;
        let states = states.map(|n| wanted(graph, Leaf::State(n))).collect();
        let parameters = 0..self.layout.parameters() as u8;
        let parameters = parameters.map(|n| wanted(graph, Leaf::Parameter(n))).collect();
        Wanted { slots, states, parameters, all: d }
    }

    /// Which expressions of the formula the way back reads rather than computes again.
    pub fn choose_kept(&self, d: &Wanted) -> BTreeSet<Id> {
        let mut kept = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let roots = d.slots.iter().chain(&d.states).chain(&d.parameters);
        let mut open: Vec<Id> = roots.copied().collect();
        let mut uses = Vec::new();
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                if id < self.own {
                    uses.push(id);
                } else {
                    open.extend(self.graph.get(id).operands());
                }
            }
        }
        uses.sort_unstable();
        for id in uses {
            self.keep(id, &mut kept);
        }
        // Where a row would grow for it, a function of what can be had again is computed again.
        let fed = self.slots.len();
        let candidates: Vec<Id> = kept.iter().rev().copied().collect();
        for id in candidates {
            if kept.len() <= fed {
                break;
            }
            if let Expression::Unary(UnaryOf(of), a) = self.graph.get(id)
                && of != Unary::Mean
            {
                kept.remove(&id);
                if self.missing(a, &kept).is_none_or(|missing| !missing.is_empty()) {
                    kept.insert(id);
                }
            }
        }
        kept
    }

    /// Keeps an expression, or what it can be computed again from.
    fn keep(&self, id: Id, kept: &mut BTreeSet<Id>) {
        match self.missing(id, kept) {
            // To keep one row or another is the same; to keep fewer is better.
            Some(missing) if missing.len() <= 1 => kept.extend(missing),
            _ => _ = kept.insert(id),
        }
    }

    /// What would have to be kept as well for an expression to be computed again from cheap operations; nothing where
    /// that takes too many.
    fn missing(&self, id: Id, kept: &BTreeSet<Id>) -> Option<BTreeSet<Id>> {
        let (mut missing, mut open, mut seen) = (BTreeSet::new(), vec![id], BTreeSet::new());
        while let Some(id) = open.pop() {
            if kept.contains(&id) || !seen.insert(id) {
                continue;
            }
            if seen.len() > MOST_AGAIN {
                return None;
            }
            match self.graph.get(id) {
                Expression::Number(_) => {}
                Expression::Leaf(Leaf::Slot(_)) => {
                    missing.insert(id);
                }
                Expression::Leaf(_) => {}
                Expression::Unary(UnaryOf(of), a) => match of {
                    Unary::Neg | Unary::Abs | Unary::Relu | Unary::StopGradient => open.push(a),
                    _ => {
                        missing.insert(id);
                    }
                },
                Expression::Binary(BinaryOf(Binary::Div | Binary::Pow), ..)
                | Expression::Normalised { .. } => {
                    missing.insert(id);
                }
                other => open.extend(other.operands()),
            }
        }
        Some(missing)
    }

    /// From which stage on an expression can be computed.
    fn stages(&self) -> Vec<usize> {
        let mut stages = vec![0; self.own as usize];
        for id in 0..self.own {
            stages[id as usize] = match self.graph.get(id) {
                Expression::Leaf(Leaf::Slot(slot)) => {
                    let map = self.layout.maps().iter().find(|map| map.to == slot);
                    map.map_or(0, |map: &Map| map.stage as usize + 1)
                }
                other => other.operands().map(|of| stages[of as usize]).max().unwrap_or(0),
            };
        }
        stages
    }

    /// A plane for everything that is kept, and how many planes that makes.
    ///
    /// # Errors
    /// `Invalid` where that is more than a row may have.
    pub fn place(&self, kept: &BTreeSet<Id>) -> Result<(BTreeMap<Id, u8>, usize), Error> {
        let (stages, fed) = (self.stages(), self.slots.len());
        let mut planes = BTreeMap::new();
        let mut free: Vec<bool> = vec![true; fed];
        for &id in kept {
            if let Some(slot) = self.as_slot(id) {
                planes.insert(id, slot);
                free[slot as usize] = false;
            }
        }
        // A value that a map acts on stands where the map finds it.
        for (map, &value) in self.values.iter().enumerate() {
            planes.entry(value).or_insert((fed + map) as u8);
        }
        let read_later: Vec<Vec<bool>> =
            (0..self.layout.stages()).map(|stage| self.read_after(stage, &stages)).collect();
        let mut count = fed + self.values.len();
        for &id in kept {
            if planes.contains_key(&id) {
                continue;
            }
            let later = &read_later[stages[id as usize]];
            let plane = (0..fed).find(|&slot| free[slot] && !later[slot]).unwrap_or_else(|| {
                count += 1;
                count - 1
            });
            if count > MOST_PLANES {
                let expected = "no more than 128 values that the way back needs";
                return Err(Error::Invalid { argument: "formula", expected });
            }
            if plane < fed {
                free[plane] = false;
            }
            planes.insert(id, plane as u8);
        }
        Ok((planes, count))
    }

    /// The slot that an expression is, if it is one.
    fn as_slot(&self, id: Id) -> Option<u8> {
        match self.graph.get(id) {
            Expression::Leaf(Leaf::Slot(slot)) => Some(slot),
            _ => None,
        }
    }

    /// The slots that stages after this one read, or that are filled only then.
    fn read_after(&self, stage: usize, stages: &[usize]) -> Vec<bool> {
        let mut read = vec![false; self.slots.len()];
        for map in self.layout.maps().iter().filter(|map| map.stage as usize >= stage) {
            read[map.to as usize] = true;
        }
        if stage + 1 == self.layout.stages() {
            return read;
        }
        // What an earlier stage had and did not keep is computed again.
        let mut open: Vec<Id> = (0..self.own).filter(|&id| stages[id as usize] > stage).collect();
        open.extend(&self.outputs);
        let mut seen = BTreeSet::new();
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                if let Some(slot) = self.as_slot(id) {
                    read[slot as usize] = true;
                }
                open.extend(self.graph.get(id).operands());
            }
        }
        read
    }

    /// What a stage forward may read: what comes from outside, and what an earlier stage has kept.
    fn known_forward(&self, stage: usize, planes: &BTreeMap<Id, u8>) -> BTreeMap<Id, Place> {
        let (stages, mut known) = (self.stages(), BTreeMap::new());
        for id in 0..self.own {
            let place = match self.graph.get(id) {
                Expression::Leaf(Leaf::Slot(slot)) => Place::Plane(slot),
                Expression::Leaf(Leaf::State(state)) => Place::State(state),
                Expression::Leaf(Leaf::Parameter(n)) => Place::Parameter(n),
                _ => continue,
            };
            known.insert(id, place);
        }
        for (&id, &plane) in planes.iter().filter(|(id, _)| stages[**id as usize] < stage) {
            known.insert(id, Place::Plane(plane));
        }
        known
    }

    pub fn forward(&self, stage: usize, planes: &BTreeMap<Id, u8>) -> Code {
        let (stages, last) = (self.stages(), self.layout.stages() - 1);
        let own = planes.iter().filter(|(id, plane)| {
            stages[**id as usize] == stage && self.as_slot(**id) != Some(**plane)
        });
        let mut roots: Vec<(Place, Id)> =
            own.map(|(&id, &plane)| (Place::Plane(plane), id)).collect();
        // Also where a value stands in another plane besides, as that of another map, or as a slot.
        let maps = self.layout.maps().iter().zip(&self.values);
        for (map, &value) in maps.filter(|(map, _)| map.stage as usize == stage) {
            let root = (Place::Plane(map.value), value);
            if !roots.contains(&root) {
                roots.push(root);
            }
        }
        if stage == last {
            let states = self.outputs.iter().enumerate();
            roots.extend(states.map(|(state, &id)| (Place::State(state as u8), id)));
        }
        compile(&self.graph, &roots, &self.known_forward(stage, planes))
    }

    pub fn backward(&self, stage: usize, planes: &BTreeMap<Id, u8>, d: &Wanted) -> Code {
        let fed = self.slots.len();
        let mut known = BTreeMap::new();
        for id in 0..self.graph.len() as Id {
            let place = match self.graph.get(id) {
                Expression::Leaf(Leaf::State(n)) => Place::Before(n),
                Expression::Leaf(Leaf::Parameter(n)) => Place::Parameter(n),
                Expression::Leaf(Leaf::DState(n)) => Place::State(n),
                Expression::Leaf(Leaf::DValue(n)) => Place::Plane((fed + n as usize) as u8),
                _ => continue,
            };
            known.insert(id, place);
        }
        known.extend(planes.iter().map(|(&id, &plane)| (id, Place::Kept(plane))));
        let when = self.when();
        let slots = d.slots.iter().enumerate();
        let mut roots: Vec<(Place, Id)> = slots
            .filter(|(_, id)| when[**id as usize] == stage)
            .map(|(slot, &id)| (Place::Plane(slot as u8), id))
            .collect();
        if stage == 0 {
            let first = if self.layout.reads_h() { 0 } else { 1 };
            let states = d.states.iter().enumerate().skip(first);
            roots.extend(states.map(|(state, &id)| (Place::State(state as u8), id)));
            let planes = fed + self.values.len()..;
            roots.extend(planes.zip(&d.parameters).map(|(at, &id)| (Place::Plane(at as u8), id)));
        }
        compile(&self.graph, &roots, &known)
    }

    /// In which round back an expression can be computed, by the stage that the round mirrors.
    fn when(&self) -> Vec<usize> {
        let last = self.layout.stages() - 1;
        let mut when: Vec<usize> = Vec::new();
        for id in 0..self.graph.len() as Id {
            when.push(match self.graph.get(id) {
                Expression::Leaf(Leaf::DValue(map)) => {
                    self.layout.maps()[map as usize].stage as usize
                }
                _ if id < self.own => last,
                other => other.operands().map(|of| when[of as usize]).min().unwrap_or(last),
            });
        }
        when
    }
}

/// The expressions of a description's nodes.
fn expressions(d: &Description, slots: &[usize]) -> (Graph, Vec<Id>) {
    let mut graph = Graph::default();
    let mut nodes: Vec<Id> = Vec::new();
    for node in &d.nodes {
        let id = match *node {
            Node::Number(x) => graph.number(x),
            Node::Slot(slot) => graph.leaf(Leaf::Slot(slots[slot] as u8)),
            Node::State(state) => graph.leaf(Leaf::State(state as u8)),
            Node::Parameter(n) => graph.leaf(Leaf::Parameter(n as u8)),
            Node::Constant(n) => graph.number(d.constants[n].1),
            Node::Unary(of, a) => graph.unary(of, nodes[a]),
            Node::Binary(of, a, b) => graph.binary(of, nodes[a], nodes[b]),
            Node::Where(c, a, b) => graph.choose(nodes[c], nodes[a], nodes[b]),
            Node::Spike(v, surrogate, slope) => graph.spike(nodes[v], surrogate, slope),
            Node::Normalise { ref of, eps, which } => {
                let of: Vec<Id> = of.iter().map(|&node| nodes[node]).collect();
                graph.normalise(&of, eps).normalised[which]
            }
        };
        nodes.push(id);
    }
    (graph, nodes)
}

/// The maps in the layout's order, and from which stage on each is there.
fn order(d: &Description) -> Result<(Vec<usize>, Vec<usize>), Error> {
    let mut stages = vec![0; d.maps.len()];
    for round in 0.. {
        let mut of_node: Vec<usize> = Vec::new();
        for node in &d.nodes {
            let of = match *node {
                Node::Slot(slot) => stages[slot],
                Node::Unary(_, a) | Node::Spike(a, ..) => of_node[a],
                Node::Binary(_, a, b) => of_node[a].max(of_node[b]),
                Node::Where(c, a, b) => of_node[c].max(of_node[a]).max(of_node[b]),
                Node::Normalise { ref of, .. } => {
                    of.iter().map(|&node| of_node[node]).max().unwrap_or(0)
                }
                _ => 0,
            };
            of_node.push(of);
        }
        let mut changed = false;
        for (stage, map) in stages.iter_mut().zip(&d.maps) {
            if let Fed::Value(node) = map.fed
                && *stage != of_node[node] + 1
            {
                (*stage, changed) = (of_node[node] + 1, true);
            }
        }
        if !changed {
            break;
        }
        if round > d.maps.len() {
            let expected = "maps of values that do not depend on themselves";
            return Err(Error::Invalid { argument: "formula", expected });
        }
    }
    let kind = |map: usize| match (d.maps[map].x.is_some(), d.maps[map].fed) {
        (false, Fed::State) => 0,
        (true, Fed::State) => 1,
        (true, Fed::Value(_)) => 2,
        (true, Fed::Nothing) => 3,
        _ => 4,
    };
    let mut order: Vec<usize> = (0..d.maps.len()).collect();
    order.sort_by_key(|&map| kind(map));
    Ok((order, stages))
}
