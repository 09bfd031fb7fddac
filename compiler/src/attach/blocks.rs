//! What a policy says, block by block. A new block is one field, one [`BlockKind`] and one arm in each match.

use portreeve_policy::{Authentication, Authorization, LimitRules, Refusal};

/// What a policy says.
#[derive(Debug, Clone)]
pub(crate) enum Blocks {
    /// It cannot be enforced, so wherever one of these blocks would be taken from it, everything is refused.
    Broken(Refusal, Vec<BlockKind>),
    /// Its blocks.
    Valid(BlockSet),
}

/// The blocks that a policy sets; what it leaves out is for less specific policies to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BlockSet {
    pub(crate) authentication: Option<Authentication>,
    pub(crate) authorization: Option<Authorization>,
    pub(crate) limits: Option<LimitRules>,
}

/// The kinds of block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlockKind {
    Authentication,
    Authorization,
    Limits,
}

impl BlockKind {
    pub(crate) const ALL: [Self; 3] = [Self::Authentication, Self::Authorization, Self::Limits];
}

impl Blocks {
    /// The same of a policy of which it cannot be told which blocks it set.
    pub(crate) fn of_any_kind(self) -> Self {
        match self {
            Self::Broken(refusal, _) => Self::Broken(refusal, BlockKind::ALL.to_vec()),
            valid @ Self::Valid(_) => valid,
        }
    }

    /// Whether less specific policies are not asked for this block.
    pub(crate) fn says(&self, kind: BlockKind) -> bool {
        match self {
            Self::Broken(_, blocks) => blocks.contains(&kind),
            Self::Valid(set) => match kind {
                BlockKind::Authentication => set.authentication.is_some(),
                BlockKind::Authorization => set.authorization.is_some(),
                BlockKind::Limits => set.limits.is_some(),
            },
        }
    }

    /// Whether requests are refused for this block that would pass without it.
    pub(crate) fn restricts(&self, kind: BlockKind) -> bool {
        match self {
            Self::Broken(_, blocks) => blocks.contains(&kind),
            Self::Valid(set) => match kind {
                BlockKind::Authentication => {
                    set.authentication.as_ref().is_some_and(|who| *who != Authentication::Anonymous)
                }
                BlockKind::Authorization => set.authorization.is_some(),
                BlockKind::Limits => set.limits.is_some(),
            },
        }
    }
}
