//! The `platypush-userd` command.

fn main() {}
