//! The hash tree of RFC 6962 section 2.1: leaves, roots, and the two proofs.
//!
//! - A leaf is hashed with `0x00` before it and a node with `0x01`, so that no leaf passes for a node.
//! - Node hashes are kept in tiles (c2sp.org/tlog-tiles): a tile of level `L` holds up to 256 hashes of
//!   complete subtrees with `256^L` leaves each. Everything else is computed from those.
//! - A proof needs two tiles per level at most ([`needed`]), so it costs the same few kilobytes in a tree
//!   of ten million leaves as in one of a thousand.
//! - Pure: no database, no clock. A tile that is missing makes a hash that is not known, never a wrong one.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest::{Context, SHA256};

/// A SHA-256 hash of a leaf, a node or a whole tree.
pub type Hash = [u8; 32];

/// Hashes in a whole tile.
pub const TILE: u64 = 256;
/// Levels of tiles: enough for any number of leaves.
pub const LEVELS: u8 = 8;
/// More hashes than a path through any tree has.
pub const LONGEST_PROOF: usize = 64;

fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let hash = context.finish();
    hash.as_ref().first_chunk().copied().unwrap_or_default()
}

/// The hash of one entry.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    sha256(&[&[0], entry])
}

/// The hash of the node above two.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// The root of a tree without leaves.
pub fn empty_root() -> Hash {
    sha256(&[])
}

/// A tree that only knows its right edge: leaves go in one after another, and the root comes out.
#[derive(Debug, Clone, Default)]
pub struct Edge {
    size: u64,
    /// Roots of the complete subtrees, the largest first.
    stack: Vec<Hash>,
}

impl Edge {
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        let mut size = self.size;
        while size & 1 == 1 {
            if let Some(left) = self.stack.pop() {
                hash = node_hash(&left, &hash);
            }
            size >>= 1;
        }
        self.stack.push(hash);
        self.size = self.size.saturating_add(1);
    }

    pub const fn size(&self) -> u64 {
        self.size
    }

    pub fn root(&self) -> Hash {
        let mut edges = self.stack.iter().rev().copied();
        match edges.next() {
            Some(last) => edges.fold(last, |right, left| node_hash(&left, &right)),
            None => empty_root(),
        }
    }
}

/// Where a tile stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub level: u8,
    pub index: u64,
}

/// Tiles that were read, and those that leaves were added to.
#[derive(Debug, Clone, Default)]
pub struct Tiles {
    tiles: BTreeMap<Place, Vec<Hash>>,
    changed: BTreeSet<Place>,
}

impl Tiles {
    /// A tile as it is kept: its hashes one after another.
    pub fn put(&mut self, place: Place, bytes: &[u8]) {
        let (hashes, _) = bytes.as_chunks();
        self.tiles.insert(place, hashes.to_vec());
    }

    /// Adds the next leaf of a tree that has `size` of them, and every subtree that it completes.
    pub fn push(&mut self, size: u64, leaf: Hash) {
        let mut hash = leaf;
        let mut position = size;
        for level in 0..LEVELS {
            let place = Place {
                level,
                index: position / TILE,
            };
            let tile = self.tiles.entry(place).or_default();
            tile.push(hash);
            self.changed.insert(place);
            if tile.len() as u64 != TILE {
                return;
            }
            hash = perfect(tile);
            position /= TILE;
        }
    }

    /// What has to be written, one after another as it is kept.
    pub fn take_changed(&mut self) -> Vec<(Place, Vec<u8>)> {
        std::mem::take(&mut self.changed)
            .into_iter()
            .filter_map(|place| Some((place, self.tiles.get(&place)?.concat())))
            .collect()
    }

    /// The hash of one leaf.
    pub fn leaf(&self, index: u64) -> Option<Hash> {
        self.node(0, index)
    }

    /// The hash of the complete subtree with `2^height` leaves that is the `index`th of its kind.
    fn node(&self, height: u8, index: u64) -> Option<Hash> {
        let (level, above) = (height / 8, height % 8);
        let first = index.checked_shl(u32::from(above))?;
        let place = Place {
            level,
            index: first / TILE,
        };
        let start = usize::try_from(first % TILE).ok()?;
        let count = 1_usize.checked_shl(u32::from(above))?;
        let hashes = self.tiles.get(&place)?.get(start..)?.get(..count)?;
        Some(perfect(hashes))
    }

    /// `MTH(D[from:to])`, where `from` is where a subtree of that size begins.
    fn range(&self, from: u64, to: u64) -> Option<Hash> {
        let count = to.checked_sub(from)?;
        if count == 0 {
            return Some(empty_root());
        }
        if count.is_power_of_two() {
            let height = count.trailing_zeros();
            return self.node(u8::try_from(height).ok()?, from >> height);
        }
        let middle = from.checked_add(split(count))?;
        Some(node_hash(
            &self.range(from, middle)?,
            &self.range(middle, to)?,
        ))
    }

    /// The root of the first `size` leaves.
    pub fn root(&self, size: u64) -> Option<Hash> {
        self.range(0, size)
    }

    /// `PATH(index, D[0:size])`: from the leaf's sibling up.
    pub fn inclusion(&self, index: u64, size: u64) -> Option<Vec<Hash>> {
        let mut path = Vec::new();
        let (mut from, mut to) = (0, size);
        if index >= size {
            return None;
        }
        while to.checked_sub(from)? > 1 {
            let middle = from.checked_add(split(to.checked_sub(from)?))?;
            if index < middle {
                path.push(self.range(middle, to)?);
                to = middle;
            } else {
                path.push(self.range(from, middle)?);
                from = middle;
            }
        }
        path.reverse();
        Some(path)
    }

    /// `PROOF(old, D[0:new])`: that the first `old` leaves are what they were. Empty from nothing, and
    /// from the same size.
    pub fn consistency(&self, old: u64, new: u64) -> Option<Vec<Hash>> {
        if old > new {
            return None;
        }
        if old == 0 || old == new {
            return Some(Vec::new());
        }
        let mut path = Vec::new();
        let (mut from, mut to) = (0_u64, new);
        // Whether everything so far lies within the old tree, whose root the verifier has.
        let mut is_whole = true;
        while old != to {
            let middle = from.checked_add(split(to.checked_sub(from)?))?;
            if old <= middle {
                path.push(self.range(middle, to)?);
                to = middle;
            } else {
                path.push(self.range(from, middle)?);
                from = middle;
                is_whole = false;
            }
        }
        if !is_whole {
            path.push(self.range(from, to)?);
        }
        path.reverse();
        Some(path)
    }
}

/// The root of a power of two of hashes.
fn perfect(hashes: &[Hash]) -> Hash {
    let mut edge = Edge::default();
    for hash in hashes {
        edge.push(*hash);
    }
    edge.root()
}

/// The largest power of two below `count`, which is 2 or more.
const fn split(count: u64) -> u64 {
    let below = count.saturating_sub(1);
    1 << (63_u32.saturating_sub(below.leading_zeros()))
}

/// The tiles that hold what a proof about a tree of `size` leaves needs: those of the right edge, and
/// those above each leaf in `leaves`.
pub fn needed(size: u64, leaves: &[u64]) -> Vec<Place> {
    let mut places = BTreeSet::new();
    for leaf in leaves.iter().chain([&size]) {
        let (mut position, mut entries) = (*leaf, size);
        for level in 0..LEVELS {
            let index = position / TILE;
            if index.saturating_mul(TILE) < entries {
                places.insert(Place { level, index });
            }
            position /= TILE;
            entries /= TILE;
        }
    }
    places.into_iter().collect()
}

/// Whether `path` leads from `leaf` to `root` (RFC 9162 section 2.1.3.2).
pub fn verify_inclusion(index: u64, size: u64, leaf: Hash, path: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last) = (index, size.saturating_sub(1));
    let mut hash = leaf;
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether the tree of `new` leaves begins with that of `old` (RFC 9162 section 2.1.4.2).
pub fn verify_consistency(
    old: u64,
    new: u64,
    old_root: &Hash,
    new_root: &Hash,
    path: &[Hash],
) -> bool {
    if old > new {
        return false;
    }
    if old == new {
        return path.is_empty() && old_root == new_root;
    }
    if old == 0 {
        return path.is_empty() && *old_root == empty_root();
    }
    let mut path = path.iter();
    let first = if old.is_power_of_two() {
        Some(old_root)
    } else {
        path.next()
    };
    let Some(first) = first else { return false };
    let (mut node, mut last) = (old.saturating_sub(1), new.saturating_sub(1));
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut of_old, mut of_new) = (*first, *first);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            of_old = node_hash(sibling, &of_old);
            of_new = node_hash(sibling, &of_new);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            of_new = node_hash(&of_new, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && of_old == *old_root && of_new == *new_root
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The entries and roots that implementations of RFC 6962 share as their vectors.
    const ENTRIES: [&str; 8] = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn hash(text: &str) -> Hash {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
    }

    fn tree(leaves: &[Hash]) -> Tiles {
        let mut tiles = Tiles::default();
        for (size, leaf) in leaves.iter().enumerate() {
            tiles.push(size as u64, *leaf);
        }
        tiles
    }

    /// Only what `needed` names.
    fn sparse(whole: &Tiles, size: u64, leaves: &[u64]) -> Tiles {
        let mut some = Tiles::default();
        for place in needed(size, leaves) {
            some.put(place, &whole.tiles[&place].concat());
        }
        some
    }

    /// The definition in RFC 6962, word for word.
    fn root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [one] => *one,
            many => {
                let (left, right) =
                    many.split_at(usize::try_from(split(many.len() as u64)).unwrap());
                node_hash(&root(left), &root(right))
            }
        }
    }

    #[test]
    fn roots_and_proofs_are_those_of_the_shared_vectors() {
        assert_eq!(
            empty_root(),
            hash("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        );
        let all: Vec<Hash> = ENTRIES
            .iter()
            .map(|entry| leaf_hash(&hex::decode(entry).unwrap()))
            .collect();
        let tiles = tree(&all);
        let mut edge = Edge::default();
        for ((size, expected), leaf) in (1..).zip(ROOTS).zip(&all) {
            edge.push(*leaf);
            assert_eq!(edge.root(), hash(expected), "{size}");
            assert_eq!(tiles.root(size), Some(hash(expected)));
        }
        assert_eq!(
            tiles.inclusion(0, 8).unwrap(),
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ]
            .map(hash)
        );
        assert_eq!(
            tiles.consistency(6, 8).unwrap(),
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ]
            .map(hash)
        );
    }

    #[test]
    fn every_proof_of_a_small_tree_verifies_and_no_other_does() {
        let all = leaves(40);
        let tiles = tree(&all);
        for size in 1..=40 {
            let whole = tiles.root(size).unwrap();
            assert_eq!(whole, root(&all[..usize::try_from(size).unwrap()]));
            for index in 0..size {
                let path = tiles.inclusion(index, size).unwrap();
                let leaf = all[usize::try_from(index).unwrap()];
                assert!(verify_inclusion(index, size, leaf, &path, &whole));
                assert!(!verify_inclusion(index, size, [7; 32], &path, &whole));
                assert!(!verify_inclusion(index + 1, size, leaf, &path, &whole));
                let longer = [path.as_slice(), &[[1; 32]]].concat();
                assert!(!verify_inclusion(index, size, leaf, &longer, &whole));
            }
            for old in 0..=size {
                let path = tiles.consistency(old, size).unwrap();
                let before = tiles.root(old).unwrap();
                assert!(
                    verify_consistency(old, size, &before, &whole, &path),
                    "{old} {size}"
                );
                assert!(!verify_consistency(old, size, &[7; 32], &whole, &path));
                assert!(old == 0 || !verify_consistency(old, size, &before, &[7; 32], &path));
            }
        }
        assert_eq!(tiles.inclusion(40, 40), None);
        assert_eq!(tiles.consistency(41, 40), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn the_tiles_that_are_needed_are_enough(size in 1_u64..70_000, a in any::<u64>(), b in any::<u64>()) {
            let all = leaves(size);
            let tiles = tree(&all);
            let whole = tiles.root(size).unwrap();
            let index = a % size;
            let path = sparse(&tiles, size, &[index]).inclusion(index, size).unwrap();
            prop_assert!(verify_inclusion(index, size, all[usize::try_from(index).unwrap()], &path, &whole));
            let old = 1 + b % size;
            let path = sparse(&tiles, size, &[old - 1, old]).consistency(old, size).unwrap();
            let before = tiles.root(old).unwrap();
            prop_assert!(verify_consistency(old, size, &before, &whole, &path));
        }
    }
}
