//! A Spark Connect server that follows a script, for faults that a real one does not produce on demand.
