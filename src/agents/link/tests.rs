//! A link against a peer whose streams break: the result is the whole one, or none.

use super::peer::{Manners, Peer};
use super::*;
use netcheck_wire::probe::{Place, Placed, Whereabouts};

fn locate(count: u32) -> Task {
    Task::Locate {
        places: (1..=count)
            .map(|id| Place {
                id,
                whereabouts: Whereabouts::Own,
            })
            .collect(),
    }
}

fn located(events: &[Event]) -> Vec<(u32, u64)> {
    let facts = |event: &Event| match event {
        Event::Located(Placed {
            place,
            outcome: Ok(facts),
        }) => (*place, facts.inode),
        other => panic!("unexpected event {other:?}"),
    };
    events.iter().map(facts).collect()
}

/// Everything one run gets out of a link.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    located: Vec<(u32, u64)>,
    watching: usize,
}

async fn whole_run(peer: Peer) -> Result<Outcome, LinkError> {
    let link = Link::open(peer, "s".to_owned(), Timing::default()).await?;
    let (events, watching) = tokio::join!(link.run(locate(3)), link.run(Task::Watch { places: vec![1, 2] }));
    let outcome = Outcome {
        located: located(&events?),
        watching: watching?.len(),
    };
    link.finish().await?;
    Ok(outcome)
}

fn expected() -> Outcome {
    Outcome {
        located: vec![(1, 10), (2, 20), (3, 30)],
        watching: 2,
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_stream_gives_the_whole_result_and_lets_the_agent_go() {
    let peer = Peer::new(Manners::Good);
    let (dialled, released) = (peer.dialled(), peer.released());
    assert_eq!(whole_run(peer).await, Ok(expected()));
    assert_eq!(*dialled.lock().unwrap(), 1);
    assert!(released());
}

#[tokio::test(start_paused = true)]
async fn a_link_says_how_often_it_was_resumed() {
    for (cuts, times) in [(vec![], 0), (vec![(usize::MAX, 400), (usize::MAX, 400)], 2)] {
        let peer = Peer::new(Manners::Good).cutting(cuts);
        let link = Link::open(peer, "s".to_owned(), Timing::default()).await.unwrap();
        link.run(locate(3)).await.unwrap();
        link.finish().await.unwrap();
        assert_eq!(link.resumed(), times);
    }
}

#[tokio::test(start_paused = true)]
async fn more_than_a_frame_holds_gives_the_whole_result() {
    let link = Link::open(Peer::new(Manners::Good), "s".to_owned(), Timing::default())
        .await
        .unwrap();
    let task = Task::Locate {
        places: (0..20_000)
            .map(|id| Place {
                id,
                whereabouts: Whereabouts::Pod {
                    uid: "0".repeat(36),
                    ips: vec!["2001:db8::1".parse().unwrap()],
                },
            })
            .collect(),
    };
    let events = link.run(task).await.unwrap();
    let places = (0..20_000).map(|place| (place, u64::from(place) * 10));
    assert_eq!(located(&events), places.collect::<Vec<_>>());
    link.finish().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn cut_once_at_every_byte_of_either_direction_the_result_is_the_same() {
    // More bytes than the run carries: the last cuts never happen.
    for bytes in 0..1600 {
        for plan in [(bytes, usize::MAX), (usize::MAX, bytes)] {
            let outcome = whole_run(Peer::new(Manners::Good).cutting(vec![plan])).await;
            assert_eq!(outcome, Ok(expected()), "cut after {plan:?} bytes");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_stream_cut_the_result_is_the_same_or_lost() {
    let mut whole = 0;
    for bytes in (1..600).step_by(7) {
        match whole_run(Peer::new(Manners::Good).cutting(vec![(bytes, bytes); 400])).await {
            Ok(outcome) => {
                assert_eq!(outcome, expected(), "every stream cut after {bytes} bytes");
                whole += 1;
            }
            Err(LinkError::Lost(_)) => {}
            Err(other) => panic!("every stream cut after {bytes} bytes: {other}"),
        }
    }
    assert!(whole > 20, "only {whole} lengths led to the end");
}

#[tokio::test(start_paused = true)]
async fn cut_for_good_at_every_byte_the_run_is_lost_and_never_partial() {
    for bytes in (0..1600).step_by(11) {
        let outcome = whole_run(Peer::new(Manners::Good).cutting(vec![(usize::MAX, bytes)]).then_gone()).await;
        match outcome {
            Err(LinkError::Lost(_)) => {}
            Ok(outcome) => assert_eq!(outcome, expected()),
            Err(other) => panic!("cut for good after {bytes} bytes: {other}"),
        }
    }
    let early = whole_run(Peer::new(Manners::Good).cutting(vec![(usize::MAX, 400)]).then_gone()).await;
    assert!(matches!(early, Err(LinkError::Lost(_))), "{early:?}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_miscounts_is_incomplete() {
    let link = Link::open(Peer::new(Manners::Miscounts), "s".to_owned(), Timing::default())
        .await
        .unwrap();
    assert_eq!(
        link.run(locate(3)).await,
        Err(LinkError::Incomplete {
            announced: 4,
            arrived: 3
        })
    );
}

#[tokio::test(start_paused = true)]
async fn totals_that_do_not_match_are_incomplete() {
    let outcome = whole_run(Peer::new(Manners::WrongTotals)).await;
    assert_eq!(
        outcome,
        Err(LinkError::Incomplete {
            announced: 6,
            arrived: 5
        })
    );
}

#[tokio::test(start_paused = true)]
async fn another_protocol_is_named() {
    let error = Link::open(Peer::new(Manners::OtherProtocol), "s".to_owned(), Timing::default())
        .await
        .unwrap_err();
    assert!(matches!(error, LinkError::Version { .. }));
    assert!(
        error
            .to_string()
            .contains("use the agent image that belongs to this plugin"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_reported_after_patience_ran_out() {
    let peer = Peer::new(Manners::Refuses);
    let dialled = peer.dialled();
    let error = Link::open(peer, "s".to_owned(), Timing::default()).await.unwrap_err();
    assert_eq!(error, LinkError::Refused("busy".to_owned()));
    assert!(
        *dialled.lock().unwrap() > 1,
        "right after its start the agent may not listen yet"
    );
}

#[tokio::test(start_paused = true)]
async fn silence_is_a_cut() {
    let peer = Peer::new(Manners::Silent);
    let dialled = peer.dialled();
    let link = Link::open(peer, "s".to_owned(), Timing::default()).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(65), link.run(locate(1))).await;
    assert!(answer.is_err(), "{answer:?}");
    assert!(*dialled.lock().unwrap() >= 2, "no new stream was tried");
}

#[tokio::test(start_paused = true)]
async fn a_task_the_agent_cannot_do_says_why() {
    let link = Link::open(Peer::new(Manners::Good), "s".to_owned(), Timing::default())
        .await
        .unwrap();
    let answer = link.run(Task::Look { queries: Vec::new() }).await;
    assert_eq!(answer, Err(LinkError::Task("cannot do that".to_owned())));
    link.finish().await.unwrap();
    assert_eq!(link.run(locate(1)).await, Err(LinkError::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_link_lets_the_agent_go() {
    let peer = Peer::new(Manners::Good);
    let released = peer.released();
    let link = Link::open(peer, "s".to_owned(), Timing::default()).await.unwrap();
    link.run(Task::Watch { places: vec![1] }).await.unwrap();
    drop(link);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !released() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the agent was never told that it may go"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn every_end_of_a_link_has_its_page() {
    let lost = || LinkError::Lost("cut".to_owned());
    let refused = |words: &str| LinkError::Refused(words.to_owned());
    let version = LinkError::Version {
        version: "9".to_owned(),
        theirs: 9,
        ours: 1,
    };
    for (error, obstacle) in [
        (version, Obstacle::VersionMismatch),
        (
            refused("the agent (version 9) speaks protocol 9, the plugin (version 1) 1"),
            Obstacle::VersionMismatch,
        ),
        (refused("busy"), Obstacle::NotStarted),
        (
            LinkError::Forbidden("exec is forbidden".to_owned()),
            Obstacle::Forbidden,
        ),
        (lost(), Obstacle::StreamIncomplete),
        (
            LinkError::Incomplete {
                announced: 6,
                arrived: 5,
            },
            Obstacle::StreamIncomplete,
        ),
        (LinkError::Protocol("nonsense".to_owned()), Obstacle::StreamIncomplete),
        (LinkError::Timeout(Duration::from_secs(1)), Obstacle::StreamIncomplete),
        (LinkError::Closed, Obstacle::StreamIncomplete),
        (LinkError::Task("no such place".to_owned()), Obstacle::Untested),
    ] {
        let words = error.to_string();
        assert_eq!(Absence::from(error), obstacle.because(words));
    }
}
