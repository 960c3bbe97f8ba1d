//! Policy strings: what policy decided a flow.
