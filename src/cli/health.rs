//! `windrow health`: asks a running process whether it is well, for health
//! checks where there is no curl.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;

use crate::config::{Config, Flags};

const HELP: &str = "\
Examples:
  windrow health                                       its loop turns
  windrow health --ready                               it has partitions, and Kafka and Redis answer
  windrow health --metrics-addr 10.0.0.7:8088

Exit status: 0 when it is well, 1 when it is not or does not answer.";

/// How long the process may take: it answers from memory.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// More than any answer of ours; another server on the port is not read to its end.
const ANSWER_BYTES: u64 = 64 << 10;

/// Options of `windrow health`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct HealthArgs {
    /// Ask whether it does its work, not only whether it lives
    #[arg(long)]
    ready: bool,

    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: &HealthArgs, _stop: &AtomicBool) -> anyhow::Result<()> {
    let config = Config::load(&args.flags)?;
    let address = reachable(config.metrics_addr);
    let path = if args.ready { "/readyz" } else { "/healthz" };
    let answer = ask(address, path)
        .with_context(|| format!("no answer from http://{address}{path}: is `windrow run` running?"))?;
    match parse(&answer) {
        Some((200, body)) => {
            println!("{}", body.trim());
            Ok(())
        }
        Some((status, body)) => bail!("http://{address}{path} says {status}: {}", body.trim()),
        None => bail!("what answers on http://{address}{path} does not speak HTTP"),
    }
}

/// Where a process that listens on `address` is asked: one that listens on
/// every interface listens on loopback too.
fn reachable(address: SocketAddr) -> SocketAddr {
    let loopback = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(loopback, address.port())
}

fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut connection = TcpStream::connect_timeout(&address, ANSWER_WITHIN)?;
    connection.set_read_timeout(Some(ANSWER_WITHIN))?;
    connection.set_write_timeout(Some(ANSWER_WITHIN))?;
    write!(connection, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    connection.take(ANSWER_BYTES).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The status and the body of an answer.
fn parse(answer: &str) -> Option<(u16, &str)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/")?.split_whitespace().nth(1)?;
    Some((status.parse().ok()?, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        assert_eq!(parse("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n"), Some((200, "ok\n")));
        assert_eq!(parse("HTTP/1.1 503 Service Unavailable\r\n\r\n"), Some((503, "")));
        assert_eq!(parse("SSH-2.0-x\r\n\r\n"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn every_interface_is_asked_on_loopback() {
        let ask = |address: &str| reachable(address.parse().unwrap()).to_string();
        assert_eq!(ask("0.0.0.0:8088"), "127.0.0.1:8088");
        assert_eq!(ask("[::]:8088"), "[::1]:8088");
        assert_eq!(ask("10.0.0.7:8088"), "10.0.0.7:8088");
    }
}
