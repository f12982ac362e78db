//! Tests of the tumbling windows: lateness, the ends of time, closing in pieces, order.

use super::*;

const END: Watermark = Watermark::END;

fn windows(millis: i64) -> TumblingWindows<u64> {
    TumblingWindows::new(Period::from_millis(millis).unwrap())
}

/// Closes what is over in one call, and says what came out as `(start, key, value)`.
fn close(windows: &mut TumblingWindows<u64>, watermark: Watermark) -> Vec<(i64, Vec<u8>, u64)> {
    let mut out = Output::new(1);
    let mut closed = Vec::new();
    windows
        .close(watermark, &mut out, |each, _| {
            closed.push((each.window.start, each.key.to_vec(), *each.value));
            Ok(())
        })
        .unwrap();
    closed
}

fn add(windows: &mut TumblingWindows<u64>, watermark: Watermark, timestamp: i64, key: &[u8]) -> bool {
    windows.value(watermark, timestamp, key).map(|count| *count += 1).is_some()
}

#[test]
fn windows_before_the_epoch_begin_at_multiples_of_their_size() {
    let size = Period::from_millis(10).unwrap();
    for (timestamp, start) in [(-21, -30), (-20, -20), (-11, -20), (-10, -10), (-1, -10), (0, 0), (9, 0), (10, 10)] {
        assert_eq!(Window::of(timestamp, size), Window { start, end: start + 10 }, "{timestamp}");
    }
}

#[test]
fn the_ends_of_time_do_not_overflow() {
    for size in [1, 7, 60_000, i64::MAX - 1, i64::MAX] {
        let mut windows = windows(size);
        let moments = [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX];
        for timestamp in moments {
            let window = windows.window(timestamp);
            assert!(window.start <= timestamp && window.start < window.end, "{size} {timestamp}");
            assert!(window.holds(timestamp), "{size} {timestamp}");
            assert!(add(&mut windows, Watermark::NONE, timestamp, b"k"), "nothing is late before the first watermark");
        }
        let total: u64 = close(&mut windows, END).iter().map(|(_, _, count)| count).sum();
        assert_eq!(total, moments.len() as u64, "size {size}");
        assert_eq!(windows.open_windows(), 0);
    }
}

#[test]
fn at_the_end_of_the_input_everything_is_late() {
    let mut windows = windows(60_000);
    assert!(!add(&mut windows, END, i64::MAX, b"k"));
    assert!(!add(&mut windows, END, 0, b"k"));
    assert_eq!(windows.open_windows(), 0, "a late record opens no window");
}

#[test]
fn a_window_closes_when_its_end_is_reached_and_not_before() {
    let mut windows = windows(10);
    assert!(add(&mut windows, Watermark::NONE, 5, b"k"));
    assert_eq!(close(&mut windows, Watermark::at(9)), []);
    assert!(add(&mut windows, Watermark::at(9), 0, b"k"), "the window is open until its end");
    assert_eq!(close(&mut windows, Watermark::at(10)), [(0, b"k".to_vec(), 2)]);
    assert!(!add(&mut windows, Watermark::at(10), 9, b"k"));
}

#[test]
fn a_record_is_late_by_the_watermark_even_while_its_window_waits_to_be_closed() {
    let mut windows = windows(10);
    assert!(add(&mut windows, Watermark::at(0), 5, b"k"));
    assert!(!add(&mut windows, Watermark::at(10), 5, b"k"));
    assert_eq!(close(&mut windows, Watermark::at(10)), [(0, b"k".to_vec(), 1)]);
}

#[test]
fn windows_close_by_time_and_keys_in_order_of_arrival() {
    let mut windows = windows(10);
    for (timestamp, key) in [(25, b"z"), (5, b"m"), (26, b"a"), (6, b"b"), (15, b"q"), (7, b"m"), (27, b"z")] {
        assert!(add(&mut windows, Watermark::NONE, timestamp, key));
    }
    assert_eq!(windows.next_advance(), 10);
    let closed = close(&mut windows, Watermark::at(29));
    assert_eq!(closed, [(0, b"m".to_vec(), 2), (0, b"b".to_vec(), 1), (10, b"q".to_vec(), 1)]);
    assert_eq!(windows.next_advance(), 30);
    assert_eq!(close(&mut windows, Watermark::at(30)), [(20, b"z".to_vec(), 2), (20, b"a".to_vec(), 1)]);
    assert_eq!(windows.next_advance(), i64::MAX);
}

#[test]
fn many_open_windows_are_kept_apart_and_their_places_are_used_again() {
    let mut windows = windows(1);
    for round in 0..3_i64 {
        for timestamp in (0..5_000).rev() {
            assert!(add(&mut windows, Watermark::at(round * 5_000), round * 5_000 + timestamp, b"k"));
        }
        assert_eq!(windows.open_windows(), 5_000);
        let closed = close(&mut windows, Watermark::at((round + 1) * 5_000));
        assert!(closed.iter().map(|(start, _, _)| *start).eq(round * 5_000..(round + 1) * 5_000));
    }
    assert_eq!(windows.open.len(), 5_000);
}

#[test]
fn closing_comes_in_pieces_that_together_are_everything_once() {
    let mut windows = windows(10);
    let records = 100_000_u64;
    for number in 0..records {
        assert!(add(&mut windows, Watermark::NONE, (number % 30) as i64, &number.to_be_bytes()));
    }
    let (mut calls, mut given) = (0, Vec::new());
    while windows.next_advance() <= 30 {
        let mut out = Output::new(1);
        windows
            .close(Watermark::at(30), &mut out, |each, out| {
                given.push((each.window.start, each.key.to_vec()));
                out.port(0).emit(each.key, each.key, each.window.last());
                Ok(())
            })
            .unwrap();
        let outcome = out.into_contract();
        assert!(outcome.outputs[0].batch.rows <= 1024);
        calls += 1;
    }
    assert_eq!(calls, records.div_ceil(1024));
    assert_eq!(given.len() as u64, records);
    assert!(given.is_sorted(), "windows by time, keys as they came");
    given.dedup();
    assert_eq!(given.len() as u64, records);
}

#[test]
fn closing_much_that_emits_nothing_is_bounded_too() {
    let mut windows = windows(10);
    for number in 0..40_000_u32 {
        assert!(add(&mut windows, Watermark::NONE, 0, &number.to_be_bytes()));
    }
    assert_eq!(close(&mut windows, END).len(), CLOSED_MAX);
    assert!(windows.next_advance() <= 10, "another call is asked for");
    assert_eq!(close(&mut windows, END).len(), CLOSED_MAX);
    assert_eq!(close(&mut windows, END).len(), 40_000 - 2 * CLOSED_MAX);
    assert_eq!(windows.next_advance(), i64::MAX);
}

#[test]
fn large_values_fill_a_piece_by_bytes() {
    let mut windows = windows(10);
    for number in 0..100_u32 {
        assert!(add(&mut windows, Watermark::NONE, 0, &number.to_be_bytes()));
    }
    let mut out = Output::new(1);
    let large = vec![b'x'; 100 * 1024];
    windows
        .close(END, &mut out, |each, out| {
            out.port(0).emit(each.key, large.as_slice(), each.window.last());
            Ok(())
        })
        .unwrap();
    assert_eq!(out.into_contract().outputs[0].batch.rows, 3, "the third value passes 256 KiB");
}
