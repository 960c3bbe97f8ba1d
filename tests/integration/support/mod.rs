//! What tests share: real peers, or a loud word about each that is missing.
