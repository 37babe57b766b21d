//! Not yet.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {}
pub fn run(_args: &DemoArgs, _stop: &std::sync::atomic::AtomicBool) -> anyhow::Result<()> {
    Ok(())
}
