//! What an operator is: its ports, and the columns that it wants of each.
//!
//! A builder over the contract's `description`. Next room: [`crate::operator`].

use crate::bindings::tidegate::plugin::types as wit;

/// Says which ports an operator has. A port's number is its place: the first input is 0, and so is the first output.
///
/// ```
/// use tidegate_sdk::{Description, InputPort};
///
/// let description = Description::new()
///     .input(InputPort::new("main").key().int("/amount"))
///     .output("alerts")
///     .output("late");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    inputs: Vec<wit::Port>,
    outputs: Vec<wit::Port>,
    state_version: u32,
}

impl Default for Description {
    fn default() -> Description {
        Description::new()
    }
}

impl Description {
    /// Begins a description without ports.
    ///
    /// ```
    /// let description = tidegate_sdk::Description::new().output("alerts");
    /// ```
    #[must_use]
    pub fn new() -> Description {
        Description { inputs: Vec::new(), outputs: Vec::new(), state_version: 0 }
    }

    /// Adds the next input port.
    ///
    /// ```
    /// use tidegate_sdk::{Description, InputPort};
    ///
    /// let join = Description::new().input(InputPort::new("left").key()).input(InputPort::new("right").key());
    /// ```
    #[must_use]
    pub fn input(mut self, port: InputPort) -> Description {
        self.inputs.push(wit::Port { name: port.name, columns: port.columns, settings: Vec::new() });
        self
    }

    /// Adds the next output port. A job file refers to it as `operator.name`.
    ///
    /// ```
    /// let description = tidegate_sdk::Description::new().output("alerts").output("late");
    /// ```
    #[must_use]
    pub fn output(mut self, name: &str) -> Description {
        self.outputs.push(wit::Port { name: name.to_owned(), columns: Vec::new(), settings: Vec::new() });
        self
    }

    /// Sets the version of the state's layout, 0 if it is never called. Raise it when new code keeps its state
    /// differently.
    ///
    /// ```
    /// let description = tidegate_sdk::Description::new().state_version(2);
    /// ```
    #[must_use]
    pub fn state_version(mut self, version: u32) -> Description {
        self.state_version = version;
        self
    }

    pub(crate) fn outputs(&self) -> usize {
        self.outputs.len()
    }

    pub(crate) fn into_contract(self) -> wit::Description {
        wit::Description {
            inputs: self.inputs,
            outputs: self.outputs,
            state_version: self.state_version,
            settings: Vec::new(),
        }
    }
}

/// An input port and what it wants of its records. Timestamps always come; what is not asked for here is neither
/// decoded nor copied, so ask for little.
///
/// [`int`](InputPort::int), [`float`](InputPort::float), [`bytes`](InputPort::bytes) and [`origin`](InputPort::origin)
/// add columns that a [`crate::Row`] gives by number, counted from 0 in the order of these calls.
///
/// ```
/// use tidegate_sdk::InputPort;
///
/// const AMOUNT: usize = 0;
/// const CURRENCY: usize = 1;
/// let port = InputPort::new("main").key().int("/amount").bytes("/currency");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct InputPort {
    name: String,
    columns: Vec<wit::ColumnSpec>,
}

impl InputPort {
    /// Names a port that wants timestamps only.
    ///
    /// ```
    /// let port = tidegate_sdk::InputPort::new("main");
    /// ```
    #[must_use]
    pub fn new(name: &str) -> InputPort {
        InputPort { name: name.to_owned(), columns: Vec::new() }
    }

    /// Wants keys, for [`crate::Row::key`].
    ///
    /// ```
    /// let port = tidegate_sdk::InputPort::new("main").key();
    /// ```
    #[must_use]
    pub fn key(self) -> InputPort {
        self.column("@key", wit::ColumnKind::Bytes)
    }

    /// Wants whole values, for [`crate::Row::value`] and [`crate::Row::json`].
    ///
    /// ```
    /// let port = tidegate_sdk::InputPort::new("main").value();
    /// ```
    #[must_use]
    pub fn value(self) -> InputPort {
        self.column("@value", wit::ColumnKind::Bytes)
    }

    /// Wants headers, for [`crate::Row::headers`].
    ///
    /// ```
    /// let port = tidegate_sdk::InputPort::new("main").headers();
    /// ```
    #[must_use]
    pub fn headers(self) -> InputPort {
        self.column("@headers", wit::ColumnKind::Bytes)
    }

    /// Wants where each record was read, as three columns: topic (bytes), partition (int), offset (int). All three are
    /// null on records that an operator emitted.
    ///
    /// ```
    /// let port = tidegate_sdk::InputPort::new("main").origin();
    /// ```
    #[must_use]
    pub fn origin(self) -> InputPort {
        self.column("@topic", wit::ColumnKind::Bytes)
            .column("@partition", wit::ColumnKind::Int)
            .column("@offset", wit::ColumnKind::Int)
    }

    /// Wants the integer at a JSON Pointer into the value, decoded by the host. A record whose field is there but no
    /// integer is a bad record, and never gets here.
    ///
    /// ```
    /// let port = tidegate_sdk::InputPort::new("main").int("/amount");
    /// ```
    #[must_use]
    pub fn int(self, pointer: &str) -> InputPort {
        self.column(pointer, wit::ColumnKind::Int)
    }

    /// Wants the number at a JSON Pointer into the value, decoded by the host.
    ///
    /// ```
    /// let port = tidegate_sdk::InputPort::new("main").float("/position/latitude");
    /// ```
    #[must_use]
    pub fn float(self, pointer: &str) -> InputPort {
        self.column(pointer, wit::ColumnKind::Float)
    }

    /// Wants the string at a JSON Pointer into the value, decoded by the host; of anything else its JSON text.
    ///
    /// ```
    /// let port = tidegate_sdk::InputPort::new("main").bytes("/currency");
    /// ```
    #[must_use]
    pub fn bytes(self, pointer: &str) -> InputPort {
        self.column(pointer, wit::ColumnKind::Bytes)
    }

    fn column(mut self, name: &str, kind: wit::ColumnKind) -> InputPort {
        self.columns.push(wit::ColumnSpec { name: name.to_owned(), kind });
        self
    }
}
