//! Against a store in memory: whatever happened to a byte of it, a checkpoint is
//! whole or refused, and what is needed stays.

use std::collections::BTreeMap;

use object_store::ListResult;
use object_store::memory::InMemory;

use super::*;

/// Long after whatever was written.
const LATER: EventTime = EventTime(i64::MAX);

fn identity() -> Identity {
    let views = BTreeMap::from([("spending".to_owned(), "1".to_owned())]);
    Identity { group: "a group".to_owned(), topic: "pay/events".to_owned(), views }
}

fn saved(position: i64) -> SavedPartition {
    SavedPartition { position, clock: Some(EventTime(5)), chunks: Vec::new(), views: Vec::new() }
}

fn store() -> Store {
    Store::over(Arc::new(InMemory::new())).unwrap()
}

fn names(store: &Store) -> Vec<String> {
    let place = place(&identity(), 3);
    let listed: ListResult = store.wait(0, store.objects.list_with_delimiter(Some(&place))).unwrap();
    let names = listed.objects.iter().filter_map(|meta| meta.location.filename());
    names.filter(|name| *name != MANIFEST).map(str::to_owned).collect()
}

fn write(store: &Store, chain: &[Entry], position: i64, is_whole: bool) -> Vec<Entry> {
    store.write(&identity(), 3, chain, &saved(position), is_whole, EventTime(0)).unwrap()
}

fn position(store: &Store, committed: i64) -> Option<i64> {
    store.read(&identity(), 3, 0, committed).unwrap().map(|found| found.saved.position)
}

#[test]
fn the_newest_that_was_committed_is_read() {
    let store = store();
    assert_eq!(position(&store, 100), None);
    let chain = write(&store, &[], 10, true);
    write(&store, &chain, 20, false);
    assert_eq!((position(&store, 100), position(&store, 19)), (Some(20), Some(10)));
    assert!(matches!(store.read(&identity(), 3, 0, 9), Err(Error::Refused(Refusal::Ahead { .. }))));
    assert_eq!(store.read(&identity(), 4, 0, 100).unwrap().map(|found| found.chain), None);
}

#[test]
fn what_is_not_needed_is_removed_and_nothing_else() {
    let store = store();
    let mut chain = Vec::new();
    for (position, is_whole, objects) in
        [(1, true, 1), (2, false, 2), (3, true, 3), (4, false, 2), (5, false, 3), (6, true, 4), (7, true, 2)]
    {
        chain = write(&store, &chain, position, is_whole);
        assert_eq!(names(&store).len(), objects, "at {position}");
        assert_eq!(chain.len(), objects);
        assert_eq!(super::tests::position(&store, 100), Some(position));
    }
    // Another process goes on from there, and has named nothing yet.
    let other = Store::over(Arc::clone(&store.objects)).unwrap();
    other.put(&place(&identity(), 3), "stranger", vec![1]).unwrap();
    let chain = write(&store, &chain, 8, false);
    assert!(names(&store).contains(&"stranger".to_owned()));
    store.write(&identity(), 3, &chain[..1], &saved(9), true, LATER).unwrap();
    write(&store, &[], 10, true);
    assert!(names(&store).contains(&"stranger".to_owned()));
    store.write(&identity(), 3, &[], &saved(11), true, LATER).unwrap();
    assert_eq!(names(&store).len(), 1);
}

#[test]
fn it_is_whole_or_refused() {
    let store = store();
    let chain = write(&store, &[], 10, true);
    let chain = write(&store, &chain, 20, false);
    let place = place(&identity(), 3);
    let names = chain.iter().map(|entry| entry.object.as_str()).chain([MANIFEST]);
    for name in names {
        let bytes = store.get(&place, name, 0).unwrap().unwrap();
        for length in 0..bytes.len() {
            let mut other = bytes.clone();
            other[length] ^= 0x10;
            for wrong in [other, bytes[..length].to_vec()] {
                store.put(&place, name, wrong).unwrap();
                let read = store.read(&identity(), 3, 0, 100);
                assert!(matches!(read, Err(Error::Refused(_))), "{name} at {length}: {read:?}");
            }
        }
        store.put(&place, name, bytes).unwrap();
        assert_eq!(position(&store, 100), Some(20));
    }
    store.delete(&place, &chain[0].object).unwrap();
    let read = store.read(&identity(), 3, 0, 100);
    assert!(matches!(read, Err(Error::Refused(Refusal::Damaged(_)))), "{read:?}");
}

#[test]
fn what_is_disowned_is_not_read_again() {
    let store = store();
    let chain = write(&store, &[], 10, true);
    // Another process wrote them: those that the manifest names go all the same.
    let other = Store::over(Arc::clone(&store.objects)).unwrap();
    write(&other, &chain, 20, false);
    let third = Store::over(Arc::clone(&store.objects)).unwrap();
    third.put(&place(&identity(), 3), "stranger", vec![1]).unwrap();
    assert!(third.disown(&identity(), 3, EventTime(0)).unwrap());
    assert_eq!(position(&store, 100), None);
    assert!(names(&store).iter().all(|name| name == "stranger"), "{:?}", names(&store));
    assert!(!third.disown(&identity(), 3, EventTime(0)).unwrap());
    assert!(!third.disown(&identity(), 4, EventTime(0)).unwrap());
    // One that is damaged, too.
    write(&store, &[], 30, true);
    store.put(&place(&identity(), 3), MANIFEST, b"damaged".to_vec()).unwrap();
    assert!(store.disown(&identity(), 3, EventTime(0)).unwrap());
    assert_eq!(position(&store, 100), None);
}

#[test]
fn directories_are_opened_by_path_and_by_url() {
    let directory = tempfile::tempdir().unwrap();
    let url: Location = format!("file://{}/a/b", directory.path().display()).parse().unwrap();
    let store = Store::open(url).unwrap();
    write(&store, &[], 10, true);
    let again = Store::open(directory.path().join("a/b").as_path()).unwrap();
    assert_eq!(position(&again, 10), Some(10));
}

#[test]
fn a_refusal_is_told_by_its_code() {
    let answer = "Server returned non-2xx status code: 403 Forbidden: <Error><Code>AccessDenied</Code>\
                  <StringToSign>a-secret</StringToSign></Error>";
    let denied = object_store::Error::PermissionDenied { path: "p".to_owned(), source: answer.into() };
    let error = Error::of(denied);
    let said = "the checkpoint store refuses access, its credentials or rights are wrong: AccessDenied";
    assert_eq!(error.to_string(), said);
    assert_eq!(error.trouble(), Some(Trouble::Denied));
    let unknown = object_store::Error::Unauthenticated { path: "p".to_owned(), source: "no".into() };
    assert!(Error::of(unknown).to_string().ends_with(": not authenticated"));
}
