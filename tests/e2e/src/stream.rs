//! A connection between two pods over which small rounds go at an even pace, and the longest time in which none came back.
//!
//! Paced on purpose: a thread that sends without a pause takes the kernel's own threads the processor they need to mend anything.

use crate::{
    lab::{Lab, Namespace},
    traffic::Inside,
};
use anyhow::{Context, Result, bail, ensure};
use netcheck_rig::wait_until;
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(5);
/// How often a thread that waits looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(30);
/// Bytes of a round: two packets at every MTU in use here.
const ROUND: usize = 2000;
/// So many rounds one after another: traffic flows.
const FLOWS: u64 = 20;

/// A connection at work. It ends when dropped.
#[derive(Debug)]
pub struct Stream {
    pace: Arc<Mutex<Pace>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Pace {
    rounds: u64,
    last: Instant,
    longest: Duration,
    broken: Option<String>,
}

impl Stream {
    /// From a pod to another, in one family.
    pub fn open(lab: &Lab, namespace: &Namespace<'_>, from: &str, to: &str, v6: bool) -> Result<Self> {
        let address = namespace.address(to, v6)?;
        let listener =
            Inside::pod(lab, namespace, to)?.run(|| TcpListener::bind((address, 0)).context("listen in a pod"))?;
        let at = listener.local_addr()?;
        let client = Inside::pod(lab, namespace, from)?.run(|| connect(at))?;
        let (server, _) = listener.accept().context("accept a connection")?;
        for end in [&client, &server] {
            end.set_nodelay(true)?;
            end.set_read_timeout(Some(LOOK))?;
            end.set_write_timeout(Some(LOOK))?;
        }
        let pace = Arc::new(Mutex::new(Pace {
            rounds: 0,
            last: Instant::now(),
            longest: Duration::ZERO,
            broken: None,
        }));
        let stop = Arc::new(AtomicBool::new(false));
        let echo = {
            let (stop, pace) = (stop.clone(), pace.clone());
            move || end_of(&pace, "the far end", echo(server, &stop))
        };
        let rounds = {
            let (stop, pace) = (stop.clone(), pace.clone());
            move || end_of(&pace, "the near end", rounds(client, &stop, &pace))
        };
        let stream = Self {
            pace,
            stop,
            threads: vec![thread::spawn(echo), thread::spawn(rounds)],
        };
        stream.wait_until_flowing(CONNECT)?;
        Ok(stream)
    }

    /// Does something and waits until rounds come back after it. Gives the longest time without one, from before the deed on.
    pub fn gap(&self, patience: Duration, deed: impl FnOnce() -> Result<()>) -> Result<Duration> {
        self.lock().longest = Duration::ZERO;
        deed()?;
        self.wait_until_flowing(patience)?;
        Ok(self.lock().longest)
    }

    /// Waits for some rounds, begun from now on.
    pub fn wait_until_flowing(&self, patience: Duration) -> Result<()> {
        let before = self.lock().rounds;
        wait_until("a connection's rounds to come back", patience, || {
            let pace = self.lock();
            if pace.broken.is_some() || pace.rounds >= before + FLOWS {
                return Ok(());
            }
            Err(format!(
                "{} rounds, none for {} ms",
                pace.rounds - before,
                pace.last.elapsed().as_millis()
            ))
        })?;
        match &self.lock().broken {
            Some(why) => bail!("the connection broke: {why}"),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Its panic has been a test's failure already.
            let _ = thread.join();
        }
    }
}

fn connect(to: SocketAddr) -> Result<TcpStream> {
    TcpStream::connect_timeout(&to, CONNECT).with_context(|| format!("connect to {to}"))
}

fn end_of(pace: &Mutex<Pace>, which: &str, result: Result<()>) {
    if let Err(error) = result {
        let mut pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.broken.get_or_insert(format!("{which}: {error:#}"));
    }
}

fn rounds(mut stream: TcpStream, stop: &AtomicBool, pace: &Mutex<Pace>) -> Result<()> {
    let mut number: u64 = 0;
    let mut answer = [0; ROUND];
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let mut question = [b'x'; ROUND];
        question[..8].copy_from_slice(&number.to_be_bytes());
        if !send(&mut stream, &question, stop)? || !receive(&mut stream, &mut answer, stop)? {
            return Ok(());
        }
        ensure!(answer == question, "round {number} came back changed");
        let mut pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.longest = pace.longest.max(pace.last.elapsed());
        pace.last = Instant::now();
        pace.rounds += 1;
        drop(pace);
        thread::sleep(PAUSE);
    }
    Ok(())
}

fn echo(mut stream: TcpStream, stop: &AtomicBool) -> Result<()> {
    let mut round = [0; ROUND];
    while receive(&mut stream, &mut round, stop)? && send(&mut stream, &round, stop)? {}
    Ok(())
}

/// Whole, or `false` when it is to end.
fn send(stream: &mut TcpStream, mut bytes: &[u8], stop: &AtomicBool) -> Result<bool> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if is_only_late(&error) => {}
            Err(error) => return Err(error).context("write"),
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whole, or `false` when it is to end.
fn receive(stream: &mut TcpStream, bytes: &mut [u8], stop: &AtomicBool) -> Result<bool> {
    let mut filled = 0;
    while filled < bytes.len() {
        match stream.read(&mut bytes[filled..]) {
            // The other end of ours has been told to end.
            Ok(0) if stop.load(Ordering::Relaxed) => return Ok(false),
            Ok(0) => bail!("closed"),
            Ok(count) => filled += count,
            Err(error) if is_only_late(&error) => {}
            Err(error) => return Err(error).context("read"),
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_only_late(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}
