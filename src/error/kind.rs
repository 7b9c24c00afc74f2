//! Kinds of errors, for programs that decide by them.

use super::Error;

/// Kind of an [`Error`], by who can do something about it.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A parameter, an address or a network description is wrong. The program must change.
    Usage,
    /// A column or its values do not fit. The data must change.
    Data,
    /// The server cannot be reached, is silent, or a result is incomplete.
    Connection,
    /// The server refused the identity.
    Access,
    /// Spark failed the request.
    Server,
    /// Spark, or this machine, lacks something.
    Environment,
    /// A file or a model table is unreadable, or cannot be written.
    Storage,
    /// Training diverged.
    Training,
    /// A conversion or a tensor operation failed.
    Internal,
    /// The caller cancelled the work.
    Cancelled,
}

impl ErrorKind {
    /// Returns the exit code for a program that ends with such an error: BSD's `sysexits.h`, and 130 as after Ctrl-C.
    pub fn exit_code(self) -> u8 {
        match self {
            ErrorKind::Usage => 64,
            ErrorKind::Data => 65,
            ErrorKind::Connection => 69,
            ErrorKind::Internal | ErrorKind::Training => 70,
            ErrorKind::Environment => 71,
            ErrorKind::Storage => 74,
            ErrorKind::Server => 76,
            ErrorKind::Access => 77,
            ErrorKind::Cancelled => 130,
        }
    }
}

impl Error {
    /// Returns the kind of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::BadAddress { .. } | Error::Param { .. } | Error::Network { .. } | Error::Job(_) => ErrorKind::Usage,
            Error::Schema { .. } | Error::Data { .. } => ErrorKind::Data,
            Error::Unreachable { .. } | Error::Incomplete { .. } | Error::Silent { .. } => ErrorKind::Connection,
            Error::RowsLost { .. } | Error::KeptRowsLost { .. } => ErrorKind::Connection,
            Error::Interrupted { source, .. } => source.kind(),
            Error::Unauthenticated { .. } => ErrorKind::Access,
            Error::Server(_) => ErrorKind::Server,
            Error::Unsupported { .. } | Error::LocalSpark { .. } => ErrorKind::Environment,
            Error::ModelTable { .. } | Error::Io { .. } => ErrorKind::Storage,
            Error::Diverged { .. } => ErrorKind::Training,
            Error::Arrow { .. } | Error::Tensor { .. } => ErrorKind::Internal,
            Error::Cancelled { .. } => ErrorKind::Cancelled,
        }
    }

    /// Returns whether the same call may succeed later without a change: after a failure of the network or the server,
    /// other than a refusal or one of the data, such as a division by zero.
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Interrupted { source, .. } => source.is_retryable(),
            Error::Server(server) => server.is_retryable(),
            _ => self.kind() == ErrorKind::Connection,
        }
    }
}
