//! Tests of the store: what each call does, what survives a crash at any moment, what damage is noticed.

mod basics;
mod crash;
mod damage;
mod disk;
mod random;
mod support;
