//! What all fuzz targets share: how often they run and from which seed, the corpus, mutated bytes, measured memory.
//!
//! The targets are the modules named `fuzz`, each beside the code that it attacks, because most of that code is private.
//! Every target runs a fixed number of iterations from a fixed seed in the normal test run; `TIDEGATE_FUZZ_ITERATIONS` and
//! `TIDEGATE_FUZZ_SEED` change both, and `cargo xtask fuzz` runs them with other seeds for as long as it is told.
//!
//! This is proptest and not a coverage-guided fuzzer. Coverage needs a nightly compiler with sanitizer runtimes, which
//! whoever runs the tests may not have; it would build librdkafka and Wasmtime once more; and most of what is attacked
//! here refuses random bytes at a checksum or a magic number, so generators that know the format reach further. A failing
//! input is shrunk, printed, and its seed appended to `host/fuzz/<target>.txt`, which every later run replays first.
//! A seed says as much as its generator: who changes a generator first writes the bug as a test of its own.
//! An input that ends the process (an overflowed stack) is neither shrunk nor kept; the seed that `cargo xtask fuzz` names
//! meets it again.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, FileFailurePersistence, RngSeed, TestCaseResult, TestError, TestRunner};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::{self, Debug};
use std::time::Instant;

/// How long a failing input is shrunk, in milliseconds.
const SHRINK_MS_MAX: u32 = 60_000;

/// Runs a target: first its corpus, then new inputs. `iterations` is what the test run has time for.
pub(crate) fn run<S: Strategy>(
    target: &str,
    iterations: u32,
    inputs: &S,
    property: impl Fn(S::Value) -> TestCaseResult,
) {
    if std::env::var("TIDEGATE_FUZZ_TARGET").is_ok_and(|wanted| !target.contains(&wanted)) {
        return;
    }
    let iterations = from_environment("TIDEGATE_FUZZ_ITERATIONS").map_or(iterations, |number| number as u32);
    let corpus = format!("{}/fuzz/{target}.txt", env!("CARGO_MANIFEST_DIR"));
    run_with(target, iterations, corpus, inputs, property);
}

fn run_with<S: Strategy>(
    target: &str,
    iterations: u32,
    corpus: String,
    inputs: &S,
    property: impl Fn(S::Value) -> TestCaseResult,
) {
    let seed = from_environment("TIDEGATE_FUZZ_SEED").unwrap_or(0);
    let mut runner = TestRunner::new(Config {
        cases: iterations,
        rng_seed: RngSeed::Fixed(seed),
        // The path must live for ever; there are a few dozen targets.
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(Box::leak(corpus.into_boxed_str())))),
        max_shrink_time: SHRINK_MS_MAX,
        max_shrink_iters: 1_000_000,
        ..Config::default()
    });
    let began = Instant::now();
    match runner.run(inputs, property) {
        // `cargo xtask fuzz` reads this line.
        Ok(()) => println!("fuzz {target}: {iterations} iterations in {:.1} s", began.elapsed().as_secs_f64()),
        Err(TestError::Fail(why, input)) => panic!("{target}, seed {seed}: {why}\nthe smallest input: {input:?}"),
        Err(TestError::Abort(why)) => panic!("{target}, seed {seed}: no inputs could be made: {why}"),
    }
}

/// How many inputs went one way. A generator that never makes the other kind tests half of what its target says.
#[derive(Debug, Default)]
pub(crate) struct Share {
    yes: Cell<u64>,
    all: Cell<u64>,
}

impl Share {
    /// Counts an input.
    pub(crate) fn count(&self, yes: bool) {
        self.yes.set(self.yes.get() + u64::from(yes));
        self.all.set(self.all.get() + 1);
    }

    /// Fails if fewer than `percent` of the inputs went either way. A few inputs say nothing.
    pub(crate) fn assert_both(&self, percent: u64) {
        let (yes, all) = (self.yes.get(), self.all.get());
        let enough = |count: u64| count * 100 >= all * percent;
        assert!(all < 100 || (enough(yes) && enough(all - yes)), "{yes} of {all} inputs went one way");
    }
}

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("`{name}` is `{text}`: {error}")))
}

/// Bytes that a person can read in a failure.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

/// Any bytes, at most `length_max` of them.
pub(crate) fn arbitrary_bytes(length_max: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=length_max).prop_map(Bytes)
}

/// One of the bases with a few things changed; sometimes unchanged. `fragments` are pieces of the format to be put in.
pub(crate) fn mutated(bases: Vec<Vec<u8>>, fragments: &'static [&'static [u8]]) -> impl Strategy<Value = Bytes> {
    (prop::sample::select(bases), vec(mutation(fragments), 0..6)).prop_map(|(mut bytes, mutations)| {
        for mutation in mutations {
            mutation.apply(&mut bytes);
        }
        Bytes(bytes)
    })
}

/// A change of some bytes.
#[derive(Debug, Clone)]
pub(crate) enum Mutation {
    Flip { at: Index, bit: u8 },
    Set { at: Index, value: u8 },
    Number { at: Index, width: usize, value: u64 },
    Insert { at: Index, bytes: Vec<u8> },
    Remove { at: Index, count: usize },
    Repeat { at: Index, count: usize, times: usize },
    Copy { from: Index, to: Index, count: usize },
    Cut { at: Index },
}

/// A change of some bytes; see [`mutated`].
pub(crate) fn mutation(fragments: &'static [&'static [u8]]) -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    let insert = prop_oneof![
        vec(any::<u8>(), 1..16),
        prop::sample::select(if fragments.is_empty() { &[b"\0" as &[u8]] } else { fragments }).prop_map(<[u8]>::to_vec),
    ];
    let number = prop_oneof![
        Just(0),
        Just(u64::MAX),
        Just(u64::from(u32::MAX)),
        Just(1 << 31),
        (0_u32..64).prop_map(|bit| 1 << bit),
        any::<u64>()
    ];
    prop_oneof![
        3 => (at(), 0_u8..8).prop_map(|(at, bit)| Mutation::Flip { at, bit }),
        3 => (at(), any::<u8>()).prop_map(|(at, value)| Mutation::Set { at, value }),
        2 => (at(), prop::sample::select(vec![2_usize, 4, 8]), number)
            .prop_map(|(at, width, value)| Mutation::Number { at, width, value }),
        4 => (at(), insert).prop_map(|(at, bytes)| Mutation::Insert { at, bytes }),
        2 => (at(), 1_usize..64).prop_map(|(at, count)| Mutation::Remove { at, count }),
        1 => (at(), 1_usize..16, 1_usize..300).prop_map(|(at, count, times)| Mutation::Repeat { at, count, times }),
        1 => (at(), at(), 1_usize..64).prop_map(|(from, to, count)| Mutation::Copy { from, to, count }),
        1 => at().prop_map(|at| Mutation::Cut { at }),
    ]
}

impl Mutation {
    /// Changes the bytes. Places count from the start and never lie outside.
    pub(crate) fn apply(self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        let place = |at: Index| at.index(length + 1);
        let range = |at: Index, count: usize| place(at)..length.min(place(at) + count);
        match self {
            Mutation::Flip { at, bit } => {
                if let Some(byte) = bytes.get_mut(place(at)) {
                    *byte ^= 1 << bit;
                }
            }
            Mutation::Set { at, value } => {
                if let Some(byte) = bytes.get_mut(place(at)) {
                    *byte = value;
                }
            }
            Mutation::Number { at, width, value } => {
                let range = range(at, width);
                let written = range.len();
                bytes[range].copy_from_slice(&value.to_le_bytes()[..written]);
            }
            Mutation::Insert { at, bytes: new } => _ = bytes.splice(place(at)..place(at), new),
            Mutation::Remove { at, count } => _ = bytes.drain(range(at, count)),
            Mutation::Repeat { at, count, times } => {
                let piece = bytes[range(at, count)].repeat(times);
                bytes.splice(place(at)..place(at), piece);
            }
            Mutation::Copy { from, to, count } => {
                let piece = bytes[range(from, count)].to_vec();
                bytes.splice(place(to)..place(to), piece);
            }
            Mutation::Cut { at } => bytes.truncate(place(at)),
        }
    }
}

/// Runs something and measures how much more memory its thread held at once, in bytes. What other threads allocate does
/// not count. A length that is believed shows here even where the system hands out memory that is never touched.
pub(crate) fn peak_bytes<R>(action: impl FnOnce() -> R) -> (R, usize) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = action();
    (result, usize::try_from(PEAK.get() - before).expect("the peak is never below where it began"))
}

thread_local! {
    /// Bytes that this thread allocated and has not freed; below zero if it frees what others allocated.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    /// The largest value of `LIVE` since it was last set.
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, counted a thread. For the unit tests of this crate alone.
struct Counted;

#[global_allocator]
static ALLOCATOR: Counted = Counted;

impl Counted {
    fn count(change: isize) {
        // A thread that is ending has no locals any more, and nobody asks it.
        let _ = LIVE.try_with(|live| {
            live.set(live.get() + change);
            PEAK.with(|peak| peak.set(peak.get().max(live.get())));
        });
    }
}

// SAFETY: every call goes to `System` unchanged, and what is counted beside it neither allocates (the locals are
// constants without a destructor) nor unwinds.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Counted::count(layout.size() as isize);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Counted::count(layout.size() as isize);
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Counted::count(size as isize - layout.size() as isize);
        // SAFETY: as in `alloc`; what `alloc` gave came from `System`.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Counted::count(-(layout.size() as isize));
        // SAFETY: as in `realloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

mod tests {
    use super::{arbitrary_bytes, peak_bytes, run_with};
    use proptest::prelude::*;

    #[test]
    fn memory_that_is_only_reserved_is_measured() {
        let ((), peak) = peak_bytes(|| drop(Vec::<u8>::with_capacity(1 << 30)));
        assert!((1 << 30..(1 << 30) + 4096).contains(&peak), "{peak}");
        let (_, peak) = peak_bytes(|| 7);
        assert_eq!(peak, 0);
    }

    #[test]
    fn a_target_that_fails_says_its_smallest_input_and_keeps_its_seed() {
        let folder = tempfile::tempdir().unwrap();
        let corpus = folder.path().join("holds-no-x.txt").display().to_string();
        let failure = |iterations| {
            let outcome = std::panic::catch_unwind(|| {
                run_with("holds-no-x", iterations, corpus.clone(), &arbitrary_bytes(100), |bytes| {
                    prop_assert!(!bytes.0.contains(&b'x'), "it holds an x");
                    Ok(())
                });
            });
            *outcome.unwrap_err().downcast::<String>().unwrap()
        };
        for iterations in [1000, 0] {
            let text = failure(iterations);
            assert!(text.contains("it holds an x") && text.ends_with("the smallest input: b\"x\""), "{text}");
        }
    }
}
