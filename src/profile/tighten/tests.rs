//! What a tightened configuration is.
