//! Marks in a session's output, by which the script in the container says that the command starts and how it ended. A stream that ends
//! without the last one was cut, or its process was killed: output before it may be missing. Pure.
//!
//! A mark is an operating system command (ECMA-48, 8.3.89) that no terminal knows: should one reach a screen, nothing is seen of it.

/// What begins a mark; a token that others cannot know, and a semicolon, follow.
const BEGIN: &str = "\u{1b}]netcheck;";
/// What ends it.
const FINISH: u8 = 0x07;
/// No mark is longer.
const LONGEST: usize = 128;

/// How the command ended, in the script's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The code.
    pub code: u8,
    /// What the code is of.
    pub word: String,
}

/// The word of a mark that answers a line, before the command.
pub const HERE: &str = "here";
/// The word of a mark before the command's output.
pub const STARTED: &str = "started";
/// The word of the mark behind it.
pub const ENDED: &str = "ended";

/// Takes marks out of a stream.
#[derive(Debug)]
pub struct Marks {
    needle: Vec<u8>,
    /// What may be the beginning of a mark.
    held: Vec<u8>,
    /// Output is the command's: the first mark has come, or none is awaited.
    begun: bool,
    /// A line was answered: what is said arrives.
    heard: bool,
    last: Option<Said>,
}

impl Marks {
    /// For a session with this token. Of one that is `fresh`, all is dropped that comes before the mark of its start.
    pub fn new(token: &str, fresh: bool) -> Self {
        Self {
            needle: format!("{BEGIN}{token};").into_bytes(),
            held: Vec::new(),
            begun: !fresh,
            heard: !fresh,
            last: None,
        }
    }

    /// Takes a piece of the stream; what is to be shown of it.
    pub fn scan(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(piece.len());
        self.held.extend_from_slice(piece);
        while self.last.is_none() {
            let Some(at) = find(&self.held, &self.needle) else {
                let kept = beginning_at_end(&self.held, &self.needle);
                let free = self.held.len() - kept;
                self.show(&mut shown, free);
                return shown;
            };
            self.show(&mut shown, at);
            let Some(end) = self.held.iter().position(|&byte| byte == FINISH) else {
                if self.held.len() > LONGEST {
                    // Not one of ours, whatever it is.
                    self.show(&mut shown, self.needle.len());
                    continue;
                }
                return shown;
            };
            match parse(&self.held[self.needle.len()..end]) {
                Some(said) => {
                    self.held.drain(..=end);
                    match said.word.as_str() {
                        HERE => self.heard = true,
                        STARTED => self.begun = true,
                        _ => self.last = Some(said),
                    }
                }
                None => self.show(&mut shown, end + 1),
            }
        }
        // What comes behind the last mark is not the command's.
        self.held.clear();
        shown
    }

    /// What was held back, when no more will come.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut shown = Vec::new();
        let all = self.held.len();
        self.show(&mut shown, all);
        shown
    }

    /// What the script says arrives here.
    pub fn has_heard(&self) -> bool {
        self.heard
    }

    /// The command has begun, so far as this stream tells.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// All has come that the command wrote: from its start on, if it was started at all, to its end.
    pub fn is_whole(&self) -> bool {
        let was_started = self.last.as_ref().is_some_and(|said| said.word == ENDED);
        self.last.is_some() && (self.begun || !was_started)
    }

    /// How the command ended, once it was said.
    pub fn last(&self) -> Option<&Said> {
        self.last.as_ref()
    }

    fn show(&mut self, shown: &mut Vec<u8>, length: usize) {
        let free = self.held.drain(..length);
        if self.begun {
            shown.extend(free);
        }
    }
}

fn parse(inner: &[u8]) -> Option<Said> {
    let (code, word) = std::str::from_utf8(inner).ok()?.split_once(';')?;
    Some(Said {
        code: code.parse().ok()?,
        word: word.to_owned(),
    })
}

fn find(stack: &[u8], needle: &[u8]) -> Option<usize> {
    stack.windows(needle.len()).position(|window| window == needle)
}

/// How many bytes at the end of `stack` are the beginning of `needle`.
fn beginning_at_end(stack: &[u8], needle: &[u8]) -> usize {
    let most = stack.len().min(needle.len() - 1);
    (1..=most)
        .rev()
        .find(|&length| stack.ends_with(&needle[..length]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: &str = "\u{1b}]netcheck;abc;0;started\u{7}";
    const END: &str = "\u{1b}]netcheck;abc;7;ended\u{7}";

    fn scan(marks: &mut Marks, pieces: &[&[u8]]) -> Vec<u8> {
        let mut shown: Vec<u8> = pieces.iter().flat_map(|piece| marks.scan(piece)).collect();
        shown.extend(marks.rest());
        shown
    }

    #[test]
    fn what_is_between_the_marks_is_shown_and_nothing_else() {
        let mut marks = Marks::new("abc", true);
        let here = "\u{1b}]netcheck;abc;0;here\u{7}";
        let stream = format!("echo\r\n{here}go\r\n{START}$ hello{END}late");
        assert!(!marks.has_heard());
        assert_eq!(scan(&mut marks, &[stream.as_bytes()]), b"$ hello");
        assert!(marks.has_heard());
        assert_eq!(
            marks.last(),
            Some(&Said {
                code: 7,
                word: "ended".to_owned()
            })
        );
    }

    #[test]
    fn without_its_last_mark_a_stream_has_no_end() {
        let mut marks = Marks::new("abc", false);
        let cut = format!("hello{}", &END[..END.len() - 1]);
        let shown = scan(&mut marks, &[cut.as_bytes()]);
        assert!(shown.starts_with(b"hello"));
        assert_eq!(marks.last(), None);
    }

    #[test]
    fn an_end_without_its_start_is_not_the_whole() {
        let whole = |stream: &str, fresh| {
            let mut marks = Marks::new("abc", fresh);
            scan(&mut marks, &[stream.as_bytes()]);
            marks.is_whole()
        };
        assert!(whole(&format!("{START}hello{END}"), true));
        assert!(!whole(&format!("hello{END}"), true));
        assert!(!whole(&format!("{START}hello"), true));
        assert!(whole(&format!("hello{END}"), false), "it was started earlier");
        assert!(
            whole("\u{1b}]netcheck;abc;127;missing\u{7}", true),
            "nothing was started"
        );
    }

    #[test]
    fn marks_of_other_sessions_and_other_commands_are_shown() {
        let mut marks = Marks::new("abc", false);
        let stream = "\u{1b}]0;title\u{7}\u{1b}]netcheck;abd;0;ended\u{7}\u{1b}]netcheck;abc;x\u{7}.";
        assert_eq!(scan(&mut marks, &[stream.as_bytes()]), stream.as_bytes());
        assert_eq!(marks.last(), None);
    }

    proptest! {
        /// However the stream is cut into pieces, the bytes between the marks arrive.
        #[test]
        fn pieces_make_no_difference(output in prop::collection::vec(any::<u8>(), 0..200), at in prop::collection::vec(0_usize..260, 0..6)) {
            let mut stream = START.as_bytes().to_vec();
            stream.extend(&output);
            stream.extend(END.as_bytes());
            let mut cuts: Vec<usize> = at.into_iter().map(|at| at.min(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|ends| &stream[ends[0]..ends[1]]).collect();
            let mut marks = Marks::new("abc", true);
            prop_assert_eq!(scan(&mut marks, &pieces), output);
            prop_assert_eq!(marks.last().map(|said| said.code), Some(7));
        }
    }
}
