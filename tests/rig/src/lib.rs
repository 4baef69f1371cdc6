//! A real multi-node Kubernetes on one machine.
