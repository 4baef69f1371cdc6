//! As much of an API server as a failing request needs: plain HTTP on loopback, one answer per request, and every request kept.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET /version HTTP/1.1`.
    pub line: String,
    /// Lower-case names, in the order they came.
    pub headers: Vec<(String, String)>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn headers_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }
}

/// What to answer.
pub enum Answer {
    /// Status code and JSON body.
    Json(u16, String),
    /// Accept the request and stay silent until the client leaves.
    Silence,
    /// Begin to answer, and stop in the middle of the body until the client leaves.
    Stall,
    /// Close the connection without a word.
    HangUp,
    /// Say yes to CONNECT and read the next request of the same connection.
    Tunnel,
}

/// A listening fake. It lives until the test's process ends.
pub struct FakeApi {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl FakeApi {
    pub fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(answer);
        let kept = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, seen) = (Arc::clone(&answer), Arc::clone(&kept));
                thread::spawn(move || serve(stream, answer.as_ref(), &seen));
            }
        });
        Self { address, seen }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

/// A Kubernetes `Status` of failure.
pub fn status(code: u16, reason: &str, message: &str) -> Answer {
    let body = serde_json::json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message});
    Answer::Json(code, body.to_string())
}

/// What `/version` answers.
pub fn version() -> Answer {
    Answer::Json(
        200,
        serde_json::json!({"major": "1", "minor": "34", "gitVersion": "v1.34.0", "gitCommit": "", "gitTreeState": "", "buildDate": "",
            "goVersion": "", "compiler": "", "platform": ""})
        .to_string(),
    )
}

/// An address on loopback where nothing listens.
pub fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn serve(mut stream: TcpStream, answer: &(impl Fn(&Request) -> Answer + ?Sized), seen: &Mutex<Vec<Request>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(request) = read_request(&mut reader) {
        seen.lock().unwrap().push(request.clone());
        match answer(&request) {
            Answer::Json(code, body) => {
                let head = format!(
                    "HTTP/1.1 {code} Answer\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                if stream.write_all((head + &body).as_bytes()).is_err() {
                    return;
                }
            }
            Answer::Stall => {
                let head = "HTTP/1.1 200 Answer\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
                let _ = stream.write_all(head.as_bytes());
                let _ = reader.read_to_end(&mut Vec::new());
                return;
            }
            Answer::Silence => {
                // Ends when the client gives up.
                let _ = reader.read_to_end(&mut Vec::new());
                return;
            }
            Answer::HangUp => return,
            Answer::Tunnel => {
                if stream
                    .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    .is_err()
                {
                    return;
                }
            }
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let (first, headers) = lines.split_first()?;
    let headers = headers
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let request = Request {
        line: first.clone(),
        headers,
    };
    let length: u64 = request
        .header("content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    reader.take(length).read_to_end(&mut Vec::new()).ok()?;
    Some(request)
}
