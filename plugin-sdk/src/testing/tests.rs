//! That the harness passes columns by the host's rules, keeps the host's calls of `advance`, and finds what depends on
//! batches.

use super::*;
use crate::{Batch, Description, InputPort, NoConfig, Output};

/// Emits, for each row, everything that it can see of it.
struct Show;

impl Operator for Show {
    type Config = NoConfig;

    fn describe(_: &NoConfig) -> Result<Description, Error> {
        let port = InputPort::new("main").key().headers().int("/a").float("/b").bytes("/c/0").origin();
        Ok(Description::new().input(port).output("out"))
    }

    fn open(_: NoConfig, _: &Context) -> Result<Show, Error> {
        Ok(Show)
    }

    fn process(&mut self, _: u32, _: Watermark, batch: Batch<'_>, out: &mut Output) -> Result<(), Error> {
        for row in batch.rows() {
            let headers: Vec<_> = row.headers().map(|(name, value)| (text(name), value.map(text))).collect();
            let shown = format!(
                "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {headers:?}",
                row.key().map(text),
                row.int(0),
                row.float(1),
                row.bytes(2).map(text),
                row.bytes(3).map(text),
                row.int(4),
                row.int(5),
            );
            out.port(0).emit(None, shown.as_bytes(), row.timestamp());
        }
        Ok(())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn shown(records: &[Record]) -> Result<Vec<String>, Error> {
    let mut test = Harness::<Show>::open("{}")?;
    test.process(0, records)?;
    Ok(test.results().emitted(0).iter().map(Record::value_text).collect())
}

#[test]
fn columns_come_as_the_host_would_pass_them() {
    let records = [
        Record::at(1).key("k").value(r#"{"a":-3,"b":2.5,"c":["x"]}"#).origin("t", 2, 17),
        Record::at(2).value(r#"{"a":null,"b":4,"c":[{"y": 1}]}"#).header("h", "1").null_header("h"),
        Record::at(3).value("{}"),
    ];
    let expected = [
        r#"Some("k") Some(-3) Some(2.5) Some("x") Some("t") Some(2) Some(17) []"#,
        r#"None None Some(4.0) Some("{\"y\": 1}") None None None [("h", Some("1")), ("h", None)]"#,
        "None None None None None None None []",
    ];
    assert_eq!(shown(&records).unwrap(), expected);
}

#[test]
fn a_record_that_the_host_would_not_let_through_is_an_error_of_the_test() {
    for value in [r#"{"a":"1"}"#, r#"{"a":1.5}"#, r#"{"a":9223372036854775808}"#, r#"{"b":"x"}"#, "{", ""] {
        let error = shown(&[Record::at(1).value(value)]).unwrap_err().to_string();
        assert!(error.contains("the host would not let") && error.contains("`/"), "{value}: {error}");
    }
}

/// Asks to be called at a moment, and notes each call.
struct Alarm {
    left: u32,
}

impl Operator for Alarm {
    type Config = NoConfig;

    fn describe(_: &NoConfig) -> Result<Description, Error> {
        Ok(Description::new().input(InputPort::new("main")).output("out"))
    }

    fn open(_: NoConfig, _: &Context) -> Result<Alarm, Error> {
        Ok(Alarm { left: 3 })
    }

    fn process(&mut self, _: u32, _: Watermark, batch: Batch<'_>, out: &mut Output) -> Result<(), Error> {
        // Depends on where the batch ends: a mistake that the tests of an operator must find.
        out.port(0).emit(None, batch.len().to_string().as_bytes(), 0);
        out.next_advance(100);
        Ok(())
    }

    fn advance(&mut self, watermark: Watermark, out: &mut Output) -> Result<(), Error> {
        out.port(0).emit(None, format!("advance {}", watermark.millis()).as_bytes(), 0);
        self.left = self.left.saturating_sub(1);
        out.next_advance(if self.left == 0 { i64::MAX } else { watermark.millis() });
        Ok(())
    }
}

#[test]
fn advance_is_called_when_it_is_wanted_and_as_often_as_it_is() {
    let mut test = Harness::<Alarm>::open("{}").unwrap();
    test.process(0, &[Record::at(1)]).unwrap();
    test.advance(Watermark::at(99)).unwrap();
    assert_eq!(test.results().emitted(0).len(), 1, "not wanted yet");
    test.advance(Watermark::at(100)).unwrap();
    let calls: Vec<String> = test.results().emitted(0)[1..].iter().map(Record::value_text).collect();
    assert_eq!(calls, ["advance 100", "advance 100", "advance 100"], "three pieces");
    test.advance(Watermark::at(1_000)).unwrap();
    assert_eq!(test.results().emitted(0).len(), 4, "the end of the input only");
    test.advance(Watermark::END).unwrap();
    assert_eq!(test.results().emitted(0).len(), 5);
    let error = test.advance(Watermark::at(0)).unwrap_err().to_string();
    assert!(error.contains("never falls"), "{error}");
}

#[test]
fn an_operator_that_depends_on_batches_is_found() {
    let records = (0..10).map(Record::at).collect();
    let found = std::panic::catch_unwind(|| same_at_every_batch_size::<Alarm>("{}", &[Step::Records(0, records)]));
    let message = found.unwrap_err().downcast::<String>().unwrap();
    assert_eq!(
        *message,
        "batches of 1 rows give another result than whole ones: emitted on port 0, record 0: `@0 null = 10` \
         and `@0 null = 1`"
    );
}

#[test]
fn a_port_that_does_not_exist_is_an_error() {
    let error = Harness::<Alarm>::open("{}").unwrap().process(1, &[Record::at(1)]).unwrap_err().to_string();
    assert!(error.contains("input port `1` does not exist"), "{error}");
}
