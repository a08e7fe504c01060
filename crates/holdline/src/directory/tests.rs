use admin::Password;
use store::StoreOptions;

use super::*;

async fn directory(folder: &tempfile::TempDir) -> Directory {
    let url = format!("sqlite:{}", folder.path().join("t.db").display());
    Directory::new(
        Store::open(&url, StoreOptions::default())
            .await
            .expect("a new file"),
    )
}

fn new_user(aor: &str, password: &str) -> NewUser {
    let credential = Credential::Password(Password::new(password.to_owned()));
    NewUser {
        aor: aor.to_owned(),
        credential,
        later: false,
    }
}

fn query(limit: usize, after: Option<String>) -> Query {
    Query {
        aor: None,
        after,
        limit,
    }
}

#[test]
fn an_address_of_record_is_read_with_its_domain_in_small_letters() {
    let aor = Aor::parse("sip:Alice@Example.ORG").expect("valid");
    assert_eq!(aor.to_string(), "Alice@example.org");
    for bad in [
        "alice",
        "@example.org",
        "a b@example.org",
        "a:b@example.org",
        "alice@",
        "a@b c",
    ] {
        assert!(
            matches!(Aor::parse(bad), Err(Refusal::Invalid { .. })),
            "{bad}"
        );
    }
}

#[test]
fn a_password_becomes_ha1_for_every_algorithm_with_the_domain_as_realm() {
    // RFC 2617 section 3.5's user with a domain for a realm.
    let aor = Aor::parse("Mufasa@host.com").expect("valid");
    let password = Credential::Password(Password::new("Circle Of Life".into()));
    let kept = credentials(&aor, &password).expect("valid");
    let ha1 = Ha1::compute(Algorithm::Md5, b"Mufasa", b"host.com", b"Circle Of Life");
    assert_eq!(kept.ha1_md5.expect("kept"), ha1.as_bytes());
    assert!(kept.ha1_sha256.is_some() && kept.ha1_sha512_256.is_some());
    let hex = Password::new(ha1.to_hex().as_str().to_owned());
    let moved = Credential::Ha1([("MD5".to_owned(), hex)].into());
    let moved = credentials(&aor, &moved).expect("valid");
    assert_eq!(moved.ha1_md5, kept.ha1_md5);
    assert_eq!(algorithms(&moved), ["MD5"]);
    for bad in [("MD5", "00"), ("MD4", "00112233445566778899aabbccddeeff")] {
        let bad = Credential::Ha1([(bad.0.to_owned(), Password::new(bad.1.into()))].into());
        assert!(matches!(
            credentials(&aor, &bad),
            Err(Refusal::Invalid { .. })
        ));
    }
}

#[tokio::test]
async fn users_are_paged_in_an_order_that_pages_agree_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = directory(&folder).await;
    for aor in ["bob@b.org", "alice@b.org", "zoe@a.org", "carol@b.org"] {
        directory.add_user(&new_user(aor, "x")).await.expect("new");
    }
    let first = directory.users(&query(3, None)).await.expect("listed");
    let names: Vec<&str> = first.items.iter().map(|user| user.aor.as_str()).collect();
    assert_eq!(names, ["zoe@a.org", "alice@b.org", "bob@b.org"]);
    let second = directory
        .users(&query(3, first.next))
        .await
        .expect("listed");
    assert_eq!(second.items.len(), 1);
    assert_eq!(
        (second.items[0].aor.as_str(), second.next),
        ("carol@b.org", None)
    );
    let one = Query {
        aor: Some("bob@b.org".into()),
        after: None,
        limit: 10,
    };
    assert_eq!(directory.users(&one).await.expect("listed").items.len(), 1);
}

#[tokio::test]
async fn users_and_domains_that_are_there_or_not_there_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = directory(&folder).await;
    let alice = new_user("alice@example.org", "x");
    directory.add_user(&alice).await.expect("new");
    let name = "alice@example.org".to_owned();
    let exists = Refusal::Exists {
        kind: "user",
        name: name.clone(),
    };
    assert_eq!(directory.add_user(&alice).await, Err(exists));
    directory
        .set_credential(&name, &alice.credential)
        .await
        .expect("there");
    directory.delete_user(&name).await.expect("there");
    let gone = Refusal::NotFound { kind: "user", name };
    assert_eq!(
        directory.delete_user("alice@example.org").await,
        Err(gone.clone())
    );
    let set = directory
        .set_credential("alice@example.org", &alice.credential)
        .await;
    assert_eq!(set, Err(gone));
    directory.add_domain("Example.org").await.expect("new");
    assert_eq!(directory.domains().await.expect("listed"), ["example.org"]);
    assert!(matches!(
        directory.add_domain("example.org").await,
        Err(Refusal::Exists { .. })
    ));
    directory.add_user(&alice).await.expect("new");
    let used = directory.delete_domain("example.org").await;
    assert!(matches!(used, Err(Refusal::Invalid { .. })), "{used:?}");
}
