//! Tests of windlass against models, scripts and real registries.
