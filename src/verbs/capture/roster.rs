//! Who is captured, who is to be, and who is gone, by what the API says of pods. Pure.

use crate::{
    capture::source::Source,
    cluster::inventory::{End, Inventory, Pod, Subject},
    verbs::targets::Wanted,
};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// This pod becomes the source with this number.
    Claim {
        /// Its number.
        source: usize,
        /// How it is called: a pod that bears an earlier one's name gets a number behind it.
        as_source: Source,
        /// The pod.
        pod: Pod,
    },
    /// More is known of a pod that was claimed: its addresses.
    ClaimAgain {
        /// Its source's number.
        source: usize,
        /// The pod.
        pod: Pod,
    },
    /// It is gone: its capture ends, and why.
    Release {
        /// Its source's number.
        source: usize,
        /// `pod shop/web-1 was deleted at …: captured until then`.
        remark: String,
    },
}

/// The pods of a capture.
#[derive(Debug, Default)]
pub struct Roster {
    /// What may still join; `None` for a capture of what was there at its beginning.
    wanted: Option<Wanted>,
    /// By UID.
    pods: BTreeMap<String, Known>,
    /// How many sources have borne a name.
    bearers: BTreeMap<String, usize>,
    sources: usize,
}

#[derive(Debug)]
struct Known {
    source: usize,
    title: String,
    namespace: String,
    has_addresses: bool,
    is_over: bool,
}

impl Roster {
    /// With the sources that are captured from the beginning, and pods that could not be.
    pub fn new<'a>(sources: &[Source], left_out: impl Iterator<Item = &'a Source>, wanted: Option<Wanted>) -> Self {
        let mut roster = Self {
            wanted,
            ..Self::default()
        };
        for source in sources {
            roster.add(source, true, false);
        }
        for source in left_out {
            roster.add(source, true, true);
            roster.sources -= 1;
        }
        roster
    }

    fn add(&mut self, source: &Source, has_addresses: bool, is_over: bool) -> usize {
        let number = self.sources;
        self.sources += 1;
        *self.bearers.entry(source.name.clone()).or_default() += 1;
        if let Subject::Pod(uid) = &source.subject {
            let namespace = source.name.split('/').next().unwrap_or_default().to_owned();
            let known = Known {
                source: number,
                title: source.title.clone(),
                namespace,
                has_addresses,
                is_over,
            };
            self.pods.insert(uid.clone(), known);
        }
        number
    }

    /// A pod is there, in this state.
    pub fn is(&mut self, pod: &Pod, at: Timestamp) -> Option<Step> {
        if let Some(known) = self.pods.get_mut(&pod.uid) {
            if known.is_over {
                return None;
            }
            // A pod that is deleted ends first, and may say something after that.
            if let Some(end) = pod.end.filter(|_| !pod.is_leaving) {
                let how = match end {
                    End::Completed => "completed",
                    End::Failed => "failed",
                };
                return Some(known.release(&format!("ended ({how})"), at));
            }
            if !known.has_addresses && !pod.ips.is_empty() {
                known.has_addresses = true;
                let source = known.source;
                return Some(Step::ClaimAgain {
                    source,
                    pod: pod.clone(),
                });
            }
            return None;
        }
        let is_wanted = self.wanted.as_ref().is_some_and(|wanted| wanted.has(pod));
        if !is_wanted || pod.node.is_none() || pod.end.is_some() {
            return None;
        }
        let alone = Inventory {
            pods: vec![pod.clone()],
            ..Inventory::default()
        };
        let mut source = Source::of(&alone, &Subject::Pod(pod.uid.clone()))?;
        let earlier = self.bearers.get(&source.name).copied().unwrap_or(0);
        let name = source.name.clone();
        if earlier > 0 {
            source.name = format!("{name}#{}", earlier + 1);
            source.title = format!("{}#{}", source.title, earlier + 1);
        }
        let number = self.add(&source, !pod.ips.is_empty(), false);
        if earlier > 0 {
            *self.bearers.entry(name).or_default() += 1;
        }
        Some(Step::Claim {
            source: number,
            as_source: source,
            pod: pod.clone(),
        })
    }

    /// A pod was deleted.
    pub fn gone(&mut self, uid: &str, at: Timestamp) -> Option<Step> {
        let known = self.pods.get_mut(uid).filter(|known| !known.is_over)?;
        Some(known.release("was deleted", at))
    }

    /// These are all pods of a namespace, or with `None` of all: who is missing went while nobody looked.
    pub fn listed(&mut self, namespace: Option<&str>, uids: &BTreeSet<String>, at: Timestamp) -> Vec<Step> {
        let missing = self
            .pods
            .iter_mut()
            .filter(|(uid, known)| !known.is_over && !uids.contains(*uid))
            .filter(|(_, known)| namespace.is_none_or(|namespace| namespace == known.namespace));
        missing
            .map(|(_, known)| known.release("was deleted, seen", at))
            .collect()
    }

    /// Whether pods have been captured and all of them are gone.
    pub fn is_over(&self) -> bool {
        !self.pods.is_empty() && self.pods.values().all(|known| known.is_over)
    }

    /// Namespaces and names of the pods that are captured.
    pub fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        let pods = self.pods.values().filter(|known| !known.is_over);
        pods.filter_map(|known| known.title.strip_prefix("pod ")?.split_once('/'))
    }
}

impl Known {
    fn release(&mut self, what: &str, at: Timestamp) -> Step {
        self.is_over = true;
        Step::Release {
            source: self.source,
            remark: format!("{} {what} at {}: captured until then", self.title, seconds(at)),
        }
    }
}

/// To whole milliseconds, in UTC.
pub fn seconds(at: Timestamp) -> String {
    let rounded = at.round(jiff::Unit::Millisecond).unwrap_or(at);
    rounded.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::resolve::{Select, Target};

    fn at() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    fn pod(name: &str, uid: &str) -> Pod {
        Pod {
            namespace: "shop".into(),
            name: name.into(),
            uid: uid.into(),
            node: Some("n1".into()),
            ips: vec!["10.0.0.1".parse().unwrap()],
            running: true,
            ..Pod::default()
        }
    }

    fn source(pod: &Pod) -> Source {
        let inventory = Inventory {
            pods: vec![pod.clone()],
            ..Inventory::default()
        };
        Source::of(&inventory, &Subject::Pod(pod.uid.clone())).unwrap()
    }

    fn wanted(select: Select) -> Wanted {
        Wanted::only(Target {
            label: "it".into(),
            namespace: Some("shop".into()),
            select,
        })
    }

    #[test]
    fn a_pod_that_is_deleted_or_ends_is_let_go_once() {
        let (one, other) = (pod("a", "1"), pod("b", "2"));
        let mut roster = Roster::new(&[source(&one), source(&other)], [].iter(), None);
        assert_eq!(roster.is(&one, at()), None);
        let gone = roster.gone("1", at());
        assert_eq!(
            gone,
            Some(Step::Release {
                source: 0,
                remark: "pod shop/a was deleted at 2026-01-02T03:04:05Z: captured until then".into()
            })
        );
        assert_eq!(roster.gone("1", at()), None);
        assert!(!roster.is_over());
        let deleted = Pod {
            end: Some(End::Completed),
            is_leaving: true,
            ..other.clone()
        };
        assert_eq!(roster.is(&deleted, at()), None, "it is not gone yet");
        let ended = Pod {
            end: Some(End::Failed),
            ..other
        };
        let Some(Step::Release { source: 1, remark }) = roster.is(&ended, at()) else {
            panic!("it has ended")
        };
        assert!(remark.contains("pod shop/b ended (failed)"), "{remark}");
        assert!(roster.is_over());
        assert_eq!(roster.is(&pod("c", "3"), at()), None, "nobody asked for more");
    }

    #[test]
    fn who_is_missing_from_a_list_went_unseen() {
        let mut roster = Roster::new(&[source(&pod("a", "1")), source(&pod("b", "2"))], [].iter(), None);
        let there = BTreeSet::from(["2".to_owned()]);
        assert_eq!(roster.listed(Some("other"), &there, at()), []);
        assert!(matches!(
            roster.listed(Some("shop"), &there, at())[..],
            [Step::Release { source: 0, .. }]
        ));
        assert_eq!(roster.listed(None, &there, at()), []);
    }

    #[test]
    fn a_pod_that_comes_and_is_wanted_is_claimed_once_it_is_bound() {
        let mut roster = Roster::new(&[source(&pod("a", "1"))], [].iter(), Some(wanted(Select::AllPods)));
        let unbound = Pod {
            node: None,
            ..pod("b", "2")
        };
        assert_eq!(roster.is(&unbound, at()), None);
        let bound = Pod {
            ips: Vec::new(),
            running: false,
            ..pod("b", "2")
        };
        let Some(Step::Claim {
            source: 1, as_source, ..
        }) = roster.is(&bound, at())
        else {
            panic!("it is wanted")
        };
        assert_eq!(as_source.title, "pod shop/b");
        assert_eq!(roster.is(&bound, at()), None);
        // Its addresses help to find it; once is enough.
        let addressed = pod("b", "2");
        assert!(matches!(
            roster.is(&addressed, at()),
            Some(Step::ClaimAgain { source: 1, .. })
        ));
        assert_eq!(roster.is(&addressed, at()), None);
        let elsewhere = Pod {
            namespace: "other".into(),
            ..pod("b", "9")
        };
        assert_eq!(roster.is(&elsewhere, at()), None);
    }

    #[test]
    fn a_pod_with_an_earlier_ones_name_is_told_from_it() {
        let mut roster = Roster::new(
            &[source(&pod("db-0", "1"))],
            [].iter(),
            Some(wanted(Select::Pod("db-0".into()))),
        );
        roster.gone("1", at());
        for (uid, title) in [("2", "pod shop/db-0#2"), ("3", "pod shop/db-0#3")] {
            let Some(Step::Claim { as_source, .. }) = roster.is(&pod("db-0", uid), at()) else {
                panic!("it is wanted")
            };
            assert_eq!(as_source.title, title);
            assert_eq!(as_source.file_stem(), title.replace("pod shop/", "shop_"));
            roster.gone(uid, at());
        }
    }

    #[test]
    fn what_could_not_be_captured_is_not_tried_again_and_takes_no_number() {
        let left_out = [source(&pod("a", "1"))];
        let mut roster = Roster::new(&[], left_out.iter(), Some(wanted(Select::AllPods)));
        assert_eq!(roster.is(&pod("a", "1"), at()), None);
        assert!(matches!(
            roster.is(&pod("b", "2"), at()),
            Some(Step::Claim { source: 0, .. })
        ));
    }
}
