//! Connections between namespaces, by sockets made inside of them.

use crate::sandbox::Sandbox;
use netcheck_node_state::within;
use netcheck_trials::{PATIENCE, wait_for};
use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Enough for many segments of any size.
const PIECE: usize = 64 << 10;
/// Between two rounds of a stream. Streams without a pause keep a kernel of two processors and without preemption so busy that no
/// grace period of RCU ends for a minute ("rcu_preempt kthread starved"), and with it no namespace comes and no device goes.
const PAUSE: Duration = Duration::from_millis(5);

/// A connection, client first.
fn connect(client: &Sandbox, server: &Sandbox, ip: IpAddr) -> (TcpStream, TcpStream) {
    let listener = within(&server.netns(), || TcpListener::bind((ip, 0))).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let near = within(&client.netns(), || TcpStream::connect_timeout(&address, PATIENCE)).unwrap();
    let near = near.unwrap_or_else(|error| panic!("{address}: {error}"));
    let (far, _) = listener.accept().unwrap();
    for end in [&near, &far] {
        end.set_read_timeout(Some(PATIENCE)).unwrap();
        end.set_write_timeout(Some(PATIENCE)).unwrap();
    }
    (near, far)
}

/// Sends some there and back; as whom the server saw the client.
pub fn exchange(client: &Sandbox, server: &Sandbox, ip: IpAddr) -> IpAddr {
    let (near, far) = connect(client, server, ip);
    let seen = far.peer_addr().unwrap().ip();
    let echo = thread::spawn(move || echo(far));
    round(&near, 7).unwrap();
    drop(near);
    echo.join().unwrap().unwrap();
    seen
}

fn echo(mut end: TcpStream) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match end.read(&mut piece)? {
            0 => return Ok(()),
            length => end.write_all(&piece[..length])?,
        }
    }
}

fn round(mut end: &TcpStream, number: u64) -> io::Result<()> {
    let sent: Vec<u8> = number.to_le_bytes().repeat(PIECE / 8);
    let mut received = vec![0; PIECE];
    // The other side sends back while we send: read what fits between.
    for (out, back) in sent.chunks(PIECE / 8).zip(received.chunks_mut(PIECE / 8)) {
        end.write_all(out)?;
        end.read_exact(back)?;
    }
    assert_eq!(received, sent, "it came back otherwise");
    Ok(())
}

/// A connection on which something goes there and back all the time.
pub struct Stream {
    name: String,
    rounds: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    client: JoinHandle<io::Result<()>>,
    server: JoinHandle<io::Result<()>>,
}

impl Stream {
    pub fn start(client: &Sandbox, server: &Sandbox, ip: IpAddr) -> Self {
        let (near, far) = connect(client, server, ip);
        let (rounds, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stopped) = (rounds.clone(), stop.clone());
        let send = move || {
            while !stopped.load(SeqCst) {
                round(&near, count.fetch_add(1, SeqCst))?;
                thread::sleep(PAUSE);
            }
            Ok(())
        };
        Self {
            name: format!("stream to {ip}"),
            rounds,
            stop,
            client: thread::spawn(send),
            server: thread::spawn(move || echo(far)),
        }
    }

    /// Waits until it has made some way.
    pub fn goes_on(&self) {
        let goal = self.rounds.load(SeqCst) + 10;
        wait_for(&self.name, || {
            assert!(!self.client.is_finished(), "{} broke", self.name);
            self.rounds.load(SeqCst) >= goal
        });
    }

    pub fn end(self) {
        self.stop.store(true, SeqCst);
        self.client.join().unwrap().unwrap();
        self.server.join().unwrap().unwrap();
    }
}
