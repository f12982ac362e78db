//! Checks what a plugin says of itself before anyone believes it.
//!
//! Pure. Next room: `outcome`, the same for what calls return.

use super::bindings::tidegate::plugin::types;
use super::host::cut;
use super::{ColumnSpec, Description, Port};
use crate::columns::ColumnKind;
use crate::decode::check_pointer;
use crate::printable::printable;
use std::collections::HashSet;

/// Ports of one direction.
const PORTS_MAX: usize = 64;
/// Columns wanted from one port.
const COLUMNS_MAX: usize = 256;
/// The longest name of a port, in bytes.
const PORT_NAME_BYTES_MAX: usize = 64;
/// The longest JSON Pointer, in bytes.
const POINTER_BYTES_MAX: usize = 1024;

/// The description in our types, or what is wrong with it.
pub(super) fn check(raw: types::Description) -> Result<Description, String> {
    if let Some(setting) = raw.settings.first() {
        return Err(unknown_setting("its description", setting));
    }
    if raw.inputs.is_empty() {
        return Err("it describes no input port; an operator has at least one".to_owned());
    }
    Ok(Description {
        inputs: ports("input", raw.inputs)?,
        outputs: ports("output", raw.outputs)?,
        state_version: raw.state_version,
    })
}

fn ports(direction: &str, raw: Vec<types::Port>) -> Result<Vec<Port>, String> {
    if raw.len() > PORTS_MAX {
        return Err(format!("it describes {} {direction} ports, at most {PORTS_MAX} are possible", raw.len()));
    }
    let mut names = HashSet::new();
    let mut ports = Vec::with_capacity(raw.len());
    for port in raw {
        let name = port.name;
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.is_empty() || name.len() > PORT_NAME_BYTES_MAX || !name.bytes().all(valid) {
            return Err(format!(
                "the name of its {direction} port {:?} is not 1 to {PORT_NAME_BYTES_MAX} letters, digits, `-` or `_`",
                cut(&name, PORT_NAME_BYTES_MAX),
            ));
        }
        if !names.insert(name.clone()) {
            return Err(format!("it describes the {direction} port `{name}` twice"));
        }
        if let Some(setting) = port.settings.first() {
            return Err(unknown_setting(&format!("its {direction} port `{name}`"), setting));
        }
        if direction == "output" && !port.columns.is_empty() {
            return Err(format!("its output port `{name}` wants columns, only input ports can"));
        }
        ports.push(Port { columns: columns(&name, port.columns)?, name });
    }
    Ok(ports)
}

fn columns(port: &str, raw: Vec<types::ColumnSpec>) -> Result<Vec<ColumnSpec>, String> {
    if raw.len() > COLUMNS_MAX {
        return Err(format!("its port `{port}` wants {} columns, at most {COLUMNS_MAX} are possible", raw.len()));
    }
    let mut named = HashSet::new();
    let mut specs = Vec::with_capacity(raw.len());
    for spec in raw {
        let kind = match spec.kind {
            types::ColumnKind::Bytes => ColumnKind::Bytes,
            types::ColumnKind::Int => ColumnKind::Int,
            types::ColumnKind::Float => ColumnKind::Float,
        };
        check_column(port, &spec.name, kind)?;
        if spec.name.starts_with('@') && !named.insert(spec.name.clone()) {
            return Err(format!("its port `{port}` wants the column `{}` twice", spec.name));
        }
        specs.push(ColumnSpec { name: spec.name, kind });
    }
    Ok(specs)
}

fn check_column(port: &str, name: &str, kind: ColumnKind) -> Result<(), String> {
    let wanted = match name {
        "@key" | "@value" | "@headers" | "@topic" => ColumnKind::Bytes,
        "@partition" | "@offset" => ColumnKind::Int,
        pointer if pointer.starts_with('/') && pointer.len() <= POINTER_BYTES_MAX => {
            // What the decoder of the columns would refuse when the job starts is refused here already.
            return check_pointer(pointer).map_err(|error| {
                format!(
                    "its port `{port}` wants the column {pointer:?}: {error}",
                    error = printable(&error.to_string())
                )
            });
        }
        other => {
            return Err(format!(
                "its port `{port}` wants the column {:?}; possible are @key, @value, @headers, @topic, @partition, @offset \
                 and JSON Pointers like /user/id",
                cut(other, POINTER_BYTES_MAX),
            ));
        }
    };
    if kind == wanted {
        return Ok(());
    }
    Err(format!("its port `{port}` wants the column `{name}` as {kind:?}, it is {wanted:?}"))
}

fn unknown_setting(place: &str, setting: &types::SettingResult) -> String {
    format!(
        "{place} has the setting {:?}, which this tidegate does not know; use a newer tidegate or leave it out",
        cut(&setting.name, PORT_NAME_BYTES_MAX),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, columns: &[(&str, types::ColumnKind)]) -> types::Port {
        let columns =
            columns.iter().map(|(name, kind)| types::ColumnSpec { name: (*name).to_owned(), kind: *kind }).collect();
        types::Port { name: name.to_owned(), columns, settings: Vec::new() }
    }

    fn refusal(inputs: Vec<types::Port>, outputs: Vec<types::Port>) -> String {
        check(types::Description { inputs, outputs, state_version: 0, settings: Vec::new() }).unwrap_err()
    }

    #[test]
    fn what_the_host_cannot_give_is_refused_by_name() {
        use types::ColumnKind::{Bytes, Int};
        let fine = || vec![port("in", &[("@key", Bytes), ("/a~1b/0", Int)])];
        let cases = [
            (vec![], vec![], "no input port"),
            (vec![port("", &[])], vec![], "the name of its input port \"\""),
            (vec![port("a.b", &[])], vec![], "\"a.b\""),
            (vec![port("in", &[]), port("in", &[])], vec![], "`in` twice"),
            (vec![port("in", &[("@key", Int)])], vec![], "wants the column `@key` as Int, it is Bytes"),
            (vec![port("in", &[("user", Int)])], vec![], "wants the column \"user\""),
            (vec![port("in", &[("/a~2", Int)])], vec![], "wants the column \"/a~2\""),
            (vec![port("in", &[("@headers", Int)])], vec![], "wants the column `@headers` as Int, it is Bytes"),
            (vec![port("in", &[(&"/a".repeat(33), Int)])], vec![], "more than 32 parts"),
            (vec![port("in", &[("@key", Bytes), ("@key", Bytes)])], vec![], "`@key` twice"),
            (fine(), vec![port("out", &[("@key", Bytes)])], "only input ports can"),
        ];
        for (inputs, outputs, words) in cases {
            let error = refusal(inputs, outputs);
            assert!(error.contains(words), "{error}");
        }
        let setting = types::SettingResult { name: "ordering".to_owned(), value: String::new() };
        let raw = types::Description { inputs: fine(), outputs: vec![], state_version: 7, settings: vec![setting] };
        assert!(check(raw).unwrap_err().contains("\"ordering\""));
        let raw = types::Description { inputs: fine(), outputs: vec![], state_version: 7, settings: vec![] };
        assert_eq!(check(raw).unwrap().inputs[0].columns.len(), 2);
    }
}
