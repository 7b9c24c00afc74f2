//! Starts a Spark Connect server on this machine and keeps it until Ctrl-C.
//!
//! ```sh
//! cargo run --example local_spark
//! ```

#[path = "support/arguments.rs"]
mod arguments;

use arguments::Arguments;
use tinderbox::connect::LocalSpark;

#[tokio::main]
async fn main() -> tinderbox::Result<()> {
    Arguments::read(include_str!("local_spark.rs"));
    let spark = LocalSpark::builder().start().await?;
    println!("Spark {} listens at {}; Ctrl-C ends it", spark.version(), spark.remote());
    // Whatever ends this process ends the server, so a failure to listen for Ctrl-C does no harm.
    _ = tokio::signal::ctrl_c().await;
    spark.stop().await;
    Ok(())
}
