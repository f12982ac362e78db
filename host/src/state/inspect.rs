//! Says what is in a store, for people.
