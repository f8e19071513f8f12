//! The two slots of a cursor's file: whatever byte of them is wrong, it is noticed, and one good slot is enough.

use std::path::PathBuf;

use annals::testkit::Crash;
use annals::{Append, ConsumerError, Event, Offset};

use crate::world::World;

const SLOT: usize = 4096;

fn world() -> (World, PathBuf) {
    let world = World::new(1);
    let log = world.open();
    log.append(Append::new().events((0..20).map(|n| Event::new(format!("s-{n}"), "T")))).unwrap().wait().unwrap();
    log.close().unwrap();
    let mut consumer = world.reader().consumer("c").unwrap();
    (5..9).for_each(|next| consumer.commit(Offset::from_raw(next)).unwrap());
    drop(consumer);
    let file = PathBuf::from("/log/cursors").join(world.cursor_file());
    assert_eq!(world.bytes(&file).len(), 2 * SLOT);
    assert!(world.verify().is_sound());
    (world, file)
}

#[test]
fn a_flipped_bit_in_a_slot_is_damage_that_affects_no_event_and_the_other_slot_counts() {
    let (world, file) = world();
    let files = world.snapshot();
    for at in (0..2 * SLOT).step_by(61).chain([0, 15, 40, SLOT - 1, SLOT, 2 * SLOT - 1]) {
        let world = world.copy_of(&files);
        world.mem.flip_bit(&file, at, (at % 8) as u8);
        let report = world.verify();
        assert_eq!(report.damage.len(), 1, "byte {at}: {report:?}");
        let damage = &report.damage[0];
        assert_eq!((&damage.file, damage.at), (&file, (at / SLOT * SLOT) as u64));
        assert!(damage.first == damage.end && damage.what.contains("no event is affected"), "{damage}");
        assert!(world.try_open().is_ok());
        let consumer = world.reader().consumer("c").unwrap();
        assert!([7, 8].contains(&consumer.cursor().raw()));
        drop(consumer);
        assert!(world.verify().is_sound(), "using it mends it");
    }
}

#[test]
fn a_file_without_a_good_slot_is_refused_until_the_cursor_is_set() {
    let (world, file) = world();
    world.mem.flip_bit(&file, 100, 1);
    world.mem.flip_bit(&file, SLOT + 100, 1);
    assert!(!world.verify().is_sound());
    assert!(world.try_open().is_ok(), "no event is affected");
    let reader = world.reader();
    assert!(matches!(reader.consumer("c"), Err(ConsumerError::Damaged(_))));
    assert!(matches!(reader.consumers().unwrap()[0].refusal, Some(ConsumerError::Damaged(_))));
    let mut consumer = reader.consumer_at("c", Offset::from_raw(2)).unwrap();
    consumer.commit(Offset::from_raw(3)).unwrap();
    drop(consumer);
    assert_eq!(reader.consumer("c").unwrap().cursor().raw(), 3);
    assert!(world.verify().is_sound());
}

#[test]
fn what_does_not_belong_among_the_cursors_is_noticed() {
    let (world, file) = world();
    let bytes = world.bytes(&file);
    let cases: [(&str, Vec<u8>, bool); 6] = [
        ("LOCK", b"x".to_vec(), false),
        ("0123.cur", bytes.clone(), true),
        (&format!("{:032x}.cur", 5), bytes.clone(), false),
        (&format!("{:032x}.tmp", 5), bytes[..100].to_vec(), true),
        ("notes.txt", b"x".to_vec(), true),
        (file.file_name().unwrap().to_str().unwrap(), [&bytes[..], b"more"].concat(), false),
    ];
    let files = world.snapshot();
    for (name, bytes, is_sound) in cases {
        let world = world.copy_of(&files);
        world.mem.write_file(&PathBuf::from("/log/cursors").join(name), &bytes);
        let report = world.verify();
        assert_eq!(report.is_sound(), is_sound, "{name}: {report:?}");
        assert!(!is_sound || report.notes.len() == 1, "{name}: {report:?}");
        assert!(world.try_open().is_ok(), "{name}");
    }
}

#[test]
fn a_consumer_gets_its_name_only_when_it_is_durable() {
    let mut world = World::new(1);
    let log = world.open();
    log.append(Event::new("s", "T")).unwrap().wait().unwrap();
    let consumer = log.consumer("c").unwrap();
    world.power_cut(Some(log), Crash::LoseUnsynced);
    drop(consumer);
    assert_eq!(world.reader().consumers().unwrap().len(), 1);
}
