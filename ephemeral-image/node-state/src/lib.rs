//! Reads what a node's kernel holds, namespace by namespace.
