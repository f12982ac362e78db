//! JSON Pointers (RFC 6901) and the tree that several of them make, so that one pass over a value finds them all.
//!
//! Knows nothing of JSON text. Next room: [`super::fields`], which walks a value along the tree.

/// Why a text is not a JSON Pointer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// It names something that is not a place in a value.
    #[error("`{pointer}` is not a JSON Pointer, which begins with `/`; for the top-level field write `/{pointer}`")]
    NoSlash {
        /// The text.
        pointer: String,
    },
    /// A tilde stands alone.
    #[error("`{pointer}` is not a JSON Pointer: `~` is written `~0`, and `/` inside a name `~1`")]
    Escape {
        /// The text.
        pointer: String,
    },
    /// It leads too deep.
    #[error("`{pointer}` has more than {DEPTH_MAX} parts; take the value of an outer field instead")]
    TooDeep {
        /// The text.
        pointer: String,
    },
}

/// How many parts a pointer may have: the walk along it is recursive.
pub const DEPTH_MAX: usize = 32;

/// Checks that a text is a JSON Pointer that the decoders accept: empty (the whole value) or `/name/0/...`.
pub fn check_pointer(pointer: &str) -> Result<(), PointerError> {
    parts(pointer).map(drop)
}

/// The unescaped parts of a pointer.
fn parts(pointer: &str) -> Result<Vec<String>, PointerError> {
    if pointer.is_empty() {
        return Ok(Vec::new());
    }
    let Some(rest) = pointer.strip_prefix('/') else {
        return Err(PointerError::NoSlash { pointer: pointer.to_owned() });
    };
    let parts = rest.split('/').map(unescape).collect::<Option<Vec<String>>>();
    let parts = parts.ok_or_else(|| PointerError::Escape { pointer: pointer.to_owned() })?;
    if parts.len() > DEPTH_MAX {
        return Err(PointerError::TooDeep { pointer: pointer.to_owned() });
    }
    Ok(parts)
}

fn unescape(part: &str) -> Option<String> {
    let mut name = String::with_capacity(part.len());
    let mut characters = part.chars();
    while let Some(character) = characters.next() {
        name.push(match character {
            '~' => match characters.next() {
                Some('0') => '~',
                Some('1') => '/',
                _ => return None,
            },
            other => other,
        });
    }
    Some(name)
}

/// The node of the whole value.
pub(super) const ROOT: usize = 0;

/// Several pointers merged into a tree of nodes, numbered from [`ROOT`].
#[derive(Debug, Clone)]
pub(super) struct PointerTree {
    nodes: Vec<Node>,
}

/// A place in a value that a pointer ends at or passes.
#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    /// The last part of its path; empty for the root.
    name: String,
    /// The part as an array index, if it is one.
    index: Option<usize>,
    /// Where its path goes on.
    children: Vec<usize>,
    /// The slots of the pointers that end here.
    pub(super) slots: Vec<usize>,
}

impl PointerTree {
    /// Merges pointers; the slot of each is its place in the list.
    pub(super) fn new<'a>(pointers: impl IntoIterator<Item = &'a str>) -> Result<PointerTree, PointerError> {
        let mut tree = PointerTree { nodes: vec![Node::default()] };
        for (slot, pointer) in pointers.into_iter().enumerate() {
            let end = parts(pointer)?.into_iter().fold(ROOT, |node, part| tree.child_or_new(node, part));
            tree.nodes[end].slots.push(slot);
        }
        Ok(tree)
    }

    /// How many nodes there are.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// A node by number.
    #[inline]
    pub(super) fn node(&self, node: usize) -> &Node {
        &self.nodes[node]
    }

    /// The child of a node under a name, where the value at the node is an object.
    #[inline]
    pub(super) fn named(&self, node: usize, name: &[u8]) -> Option<usize> {
        // A handful of names: comparing lengths and bytes is faster than hashing.
        self.nodes[node].children.iter().copied().find(|child| self.nodes[*child].name.as_bytes() == name)
    }

    /// The child of a node at an index, where the value at the node is an array.
    #[inline]
    pub(super) fn indexed(&self, node: usize, index: usize) -> Option<usize> {
        self.nodes[node].children.iter().copied().find(|child| self.nodes[*child].index == Some(index))
    }

    fn child_or_new(&mut self, node: usize, name: String) -> usize {
        if let Some(child) = self.named(node, name.as_bytes()) {
            return child;
        }
        let child = self.nodes.len();
        self.nodes.push(Node { index: array_index(&name), name, ..Node::default() });
        self.nodes[node].children.push(child);
        child
    }
}

impl Node {
    /// Whether no pointer leads further: the value can be skipped whole.
    #[inline]
    pub(super) fn is_leaf(&self) -> bool {
        self.children.is_empty()
    }
}

/// RFC 6901: digits without a leading zero. (`-`, the element after the last, never exists in a value.)
fn array_index(part: &str) -> Option<usize> {
    let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = digits && (part == "0" || !part.starts_with('0'));
    canonical.then(|| part.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_unescaped() {
        assert_eq!(parts(""), Ok(vec![]));
        assert_eq!(parts("/"), Ok(vec![String::new()]));
        assert_eq!(parts("/a~1b/m~0n/0"), Ok(vec!["a/b".to_owned(), "m~n".to_owned(), "0".to_owned()]));
        assert_eq!(parts("/~01"), Ok(vec!["~1".to_owned()]));
    }

    #[test]
    fn what_is_not_a_pointer_is_refused_with_the_way_out() {
        let text = check_pointer("user_id").expect_err("no slash").to_string();
        assert!(text.ends_with("write `/user_id`"), "{text}");
        assert!(matches!(check_pointer("/a~"), Err(PointerError::Escape { .. })));
        assert!(matches!(check_pointer("/a~2b"), Err(PointerError::Escape { .. })));
        assert_eq!(check_pointer(&"/a".repeat(DEPTH_MAX)), Ok(()));
        assert!(matches!(check_pointer(&"/a".repeat(DEPTH_MAX + 1)), Err(PointerError::TooDeep { .. })));
    }

    #[test]
    fn indices_have_no_leading_zero() {
        let cases = ["0", "10", "00", "01", "-", "", "1a", "99999999999999999999999"];
        let found = cases.map(array_index);
        assert_eq!(found, [Some(0), Some(10), None, None, None, None, None, None]);
    }

    #[test]
    fn pointers_share_their_common_beginning() {
        let tree = PointerTree::new(["/a/b", "/a/c", "/a", "/a/b"]).expect("pointers");
        assert_eq!(tree.len(), 4);
        let a = tree.named(0, b"a").expect("a");
        assert_eq!(tree.node(a).slots, [2]);
        let b = tree.named(a, b"b").expect("b");
        assert_eq!(tree.node(b).slots, [0, 3]);
        assert!(tree.node(b).is_leaf() && !tree.node(a).is_leaf());
        assert_eq!(tree.named(0, b"b"), None);
    }
}
