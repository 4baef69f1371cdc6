//! Writes OCI images bit for bit reproducibly and pushes them to registries.
