//! The media store in a bucket, beside a server that speaks S3.
#![allow(clippy::unwrap_used, reason = "this is how a test fails")]

#[path = "../../holdline/tests/support/bucket.rs"]
#[allow(dead_code, clippy::expect_used, reason = "it is shared")]
mod bucket;

use std::time::Duration;

use store::{Mailboxes, Message, ObjectError, Objects, Place, recording};

const SOUND: recording::Sound = recording::Sound {
    header: |_, _| Vec::new(),
    rate_hz: 8_000,
};

fn opened(key: &str, timeout: Duration) -> (std::sync::Arc<bucket::Bucket>, Objects) {
    let (bucket, address) = bucket::serve();
    let place = Place::S3 {
        bucket: "media".into(),
        prefix: "of/holdline".into(),
        endpoint: Some(format!("http://{address}")),
        region: "eu-central-1".into(),
        credentials: Some((key.into(), "secret".into())),
    };
    (bucket, Objects::open(&place, timeout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_keeps_lists_and_removes_what_a_folder_does() {
    let (bucket, objects) = opened("key", Duration::from_secs(10));
    let names: Vec<String> = (0..8).map(|n| format!("a/{n} \u{e4}+.wav")).collect();
    for name in &names {
        objects.put(name, vec![7; 100_000]).await.unwrap();
    }
    objects.put("b/1", vec![1]).await.unwrap();
    objects.put("b/1", vec![1, 2]).await.unwrap();
    assert_eq!(bucket.names()[0], "of/holdline/a/0 \u{e4}+.wav");
    let listed = objects.list("a").await.unwrap();
    let found: Vec<_> = listed.iter().map(|one| one.name.clone()).collect();
    assert_eq!(found, names);
    assert!(
        listed
            .iter()
            .all(|one| one.size_bytes == 100_000 && one.written_unix_ms > 0)
    );
    assert_eq!(objects.read(&names[3]).await.unwrap(), vec![7; 100_000]);
    assert_eq!(objects.read("b/1").await.unwrap(), [1, 2]);
    for _ in 0..2 {
        objects.remove("b/1").await.unwrap();
    }
    let gone = objects.read("b/1").await;
    assert!(matches!(gone, Err(ObjectError::NotFound)), "{gone:?}");
    assert_eq!(bucket.refused(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_a_bucket_is_saved_in_pieces_kept_heard_and_deleted() {
    let (bucket, objects) = opened("key", Duration::from_secs(10));
    let path = "voicemail/100/1.wav".to_owned();
    let begun = recording::Recording::begin(objects.clone(), path.clone(), SOUND, false);
    let mut recording = begun.await.unwrap();
    for piece in ["one ", "two ", "three ", "four ", "five"] {
        recording.append(piece.into()).await.unwrap();
    }
    let found = recording::unfinished(&objects, "voicemail", u64::MAX).await;
    assert_eq!(found.unwrap(), [(path.clone(), 23)]);
    recording.finish().await.unwrap();
    let mailboxes = Mailboxes::new(objects.clone());
    let message = Message {
        name: "1".into(),
        path: path.clone(),
        caller_user: "ann".into(),
        caller_host: "example.org".into(),
        caller_display: String::new(),
        left_unix_ms: 1,
        length_ms: 2,
        is_heard: false,
    };
    mailboxes.keep("100", &message).await.unwrap();
    let held = bucket.object("of/holdline/voicemail/100/1.wav").unwrap();
    assert_eq!(held, b"one two three four five");
    mailboxes.mark_heard("100", "1").await.unwrap();
    assert!(mailboxes.messages("100").await.unwrap()[0].is_heard);
    mailboxes.delete("100", "1").await.unwrap();
    assert!(bucket.names().is_empty(), "{:?}", bucket.names());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_away_for_a_moment_is_waited_for_and_one_that_stays_away_is_told() {
    let (bucket, objects) = opened("key", Duration::from_secs(3));
    bucket.goes_away(true);
    let back = bucket.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(150)).await;
        back.goes_away(false);
    });
    objects.put("a/1", vec![1]).await.unwrap();
    assert!(bucket.refused() > 0);
    bucket.goes_away(true);
    let refused = objects.read("a/1").await;
    let is_told = matches!(
        refused,
        Err(ObjectError::Store { .. } | ObjectError::TimedOut)
    );
    assert!(is_told, "{refused:?}");
    bucket.goes_away(false);
    assert_eq!(objects.read("a/1").await.unwrap(), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_taken_is_told() {
    let (_bucket, objects) = opened("another", Duration::from_secs(3));
    let refused = objects.put("a/1", vec![1]).await;
    assert!(
        matches!(refused, Err(ObjectError::Store { .. })),
        "{refused:?}"
    );
}
