//! The one integration-test binary: a module for each subject, linked once.

mod decode_oracle;
