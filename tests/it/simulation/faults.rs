//! What can go wrong in a simulated world.

/// Declares the faults with what a report calls them.
macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident => $label:literal,)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }
        }
    };
}

faults! {
    CrashBeforeEvaluate => "crash with events taken, before they are evaluated",
    CrashBeforePublish => "crash with a publication computed",
    CrashInPublication => "crash with a part of a publication written",
    CrashBeforeCommit => "crash with a publication written, before its commit",
    CrashBeforeCheckpoint => "crash with a position committed, before its checkpoint",
    CommitLost => "commit that never arrives",
    SuffixRepeated => "suffix delivered again",
    StoreAway => "store that is away",
    WriteBroken => "write that breaks off, and is made again",
    WriteUnheard => "write whose acknowledgement is lost",
    LettersFail => "dead letters that are not taken",
    Rebalance => "rebalance",
    RebalanceTooSlow => "rebalance before the store has answered",
    PartitionsLost => "partitions lost without being asked",
    Zombie => "process that sleeps with a publication in hand, and wakes up",
    StoreBack => "store that goes back",
    StoreLost => "store that loses everything in a restart",
    StoreFlushed => "store that is emptied and goes on",
    CheckpointTorn => "checkpoint cut or changed",
    CheckpointMissing => "object or manifest that is missing",
    ManifestBack => "older manifest in place",
    CheckpointFails => "checkpoint that cannot be written",
    /// Between an object and the manifest that names it.
    CheckpointBreaksOff => "checkpoint that breaks off before its manifest",
}
