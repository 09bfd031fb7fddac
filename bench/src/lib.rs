//! Measurements. `figures` (a script beside this crate's manifest, run by `make figures`) measures whole processes;
//! load profiles beside peers and micro-benchmarks join it here.
