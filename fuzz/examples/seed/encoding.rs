//! The layout of `arbitrary`'s derive: a variant is four bytes that stand for its share of their range, a field what
//! it is, integers little-endian.

use keystow_fuzz::harness::action::{Action, Damage, Forgery, Lie, Mishap, Operation, Randomness, Tamper, Wait};

fn variant(index: u64, count: u64, fields: &[&[u8]]) -> Vec<u8> {
    let share = u32::try_from((index << 32).div_ceil(count)).expect("below 2^32");
    [&share.to_le_bytes()[..], &fields.concat()].concat()
}

pub(crate) fn action(action: Action) -> Vec<u8> {
    let variant = |index, fields: &[&[u8]]| variant(index, 14, fields);
    match action {
        Action::Register { person, randomness: drawn } => variant(0, &[&[person], &randomness(drawn)]),
        Action::LogIn { person, guess, randomness: drawn } => {
            variant(1, &[&[person, guess.into()], &randomness(drawn)])
        }
        Action::Generate { device, kinds, randomness: drawn } => variant(2, &[&[device, kinds], &randomness(drawn)]),
        Action::Store { device, batch, take } => variant(3, &[&[device, batch, take]]),
        Action::Retrieve { device, first, count } => variant(4, &[&[device, first, count]]),
        Action::Operate { device, operation: begun, randomness: drawn } => {
            variant(5, &[&[device], &operation(begun), &randomness(drawn)])
        }
        Action::Forge { device, forgery: forged } => variant(6, &[&[device], &forgery(forged)]),
        Action::Run { exchange } => variant(7, &[&[exchange]]),
        Action::Send { exchange, tamper: tampered, mishap: met, answered } => {
            variant(8, &[&[exchange], &tamper(tampered), &mishap(met), &[answered.into()]])
        }
        Action::Replay { message, tamper: tampered, mishap: met } => {
            variant(9, &[&[message], &tamper(tampered), &mishap(met)])
        }
        Action::Answer { exchange, answer, tamper: tampered } => variant(10, &[&[exchange, answer], &tamper(tampered)]),
        Action::Wait(time) => variant(11, &[&wait(time)]),
        Action::Purge => variant(12, &[]),
        Action::Crash => variant(13, &[]),
    }
}

fn operation(operation: Operation) -> Vec<u8> {
    match operation {
        Operation::Import { kind, byte } => variant(0, 8, &[&[kind, byte]]),
        Operation::List { limit } => variant(1, 8, &[&[limit]]),
        Operation::Delete { first, count } => variant(2, 8, &[&[first, count]]),
        Operation::ChangePassword => variant(3, 8, &[]),
        Operation::Audit { limit } => variant(4, 8, &[&[limit]]),
        Operation::Status => variant(5, 8, &[]),
        Operation::LogOut => variant(6, 8, &[]),
        Operation::DeleteAccount => variant(7, 8, &[]),
    }
}

fn randomness(randomness: Randomness) -> Vec<u8> {
    variant(u64::from(randomness == Randomness::Repeated), 2, &[])
}

fn tamper(tamper: Tamper) -> Vec<u8> {
    match tamper {
        Tamper::No => variant(0, 5, &[]),
        Tamper::Flip { at, xor } => variant(1, 5, &[&at.to_le_bytes(), &[xor]]),
        Tamper::Cut { at } => variant(2, 5, &[&at.to_le_bytes()]),
        Tamper::Append { byte } => variant(3, 5, &[&[byte]]),
        Tamper::Reroute { session } => variant(4, 5, &[&[session]]),
    }
}

fn mishap(mishap: Mishap) -> Vec<u8> {
    match mishap {
        Mishap::No => variant(0, 9, &[]),
        Mishap::ReadFails => variant(1, 9, &[]),
        Mishap::ReadMissing => variant(2, 9, &[]),
        Mishap::ReadForeign { query } => variant(3, 9, &[&[query]]),
        Mishap::ReadDamaged { at, xor } => variant(4, 9, &[&at.to_le_bytes(), &[xor]]),
        Mishap::WriteFailsBefore => variant(5, 9, &[]),
        Mishap::WriteFailsAfter => variant(6, 9, &[]),
        Mishap::Denied { read } => variant(7, 9, &[&[read.into()]]),
        Mishap::Lie { lie: told, applied } => variant(8, 9, &[&lie(told), &[applied.into()]]),
    }
}

fn lie(lie: Lie) -> Vec<u8> {
    const ALL: [Lie; 9] = [
        Lie::Credential,
        Lie::NameTaken,
        Lie::UserIdTaken,
        Lie::AttemptLimit,
        Lie::KeyIdTaken,
        Lie::OtherKeyIdTaken,
        Lie::SecretGone,
        Lie::Head,
        Lie::Repeated,
    ];
    variant(place(&ALL, &lie), 9, &[])
}

fn forgery(forgery: Forgery) -> Vec<u8> {
    match forgery {
        Forgery::Generate { count, len } => variant(0, 10, &[&count.to_le_bytes(), &len.to_le_bytes()]),
        Forgery::Store { batch, change } => variant(1, 10, &[&[batch], &damage(change)]),
        Forgery::StoreHeavy { seed } => variant(2, 10, &[&[seed]]),
        Forgery::Retrieve { first, count, twice } => variant(3, 10, &[&[first, count, twice.into()]]),
        Forgery::RetrieveAll => variant(4, 10, &[]),
        Forgery::List { limit } => variant(5, 10, &[&limit.to_le_bytes()]),
        Forgery::Audit { limit } => variant(6, 10, &[&limit.to_le_bytes()]),
        Forgery::Delete { first, count, twice } => variant(7, 10, &[&[first, count, twice.into()]]),
        Forgery::StartChange { byte } => variant(8, 10, &[&[byte]]),
        Forgery::FinishChange => variant(9, 10, &[]),
    }
}

fn damage(damage: Damage) -> Vec<u8> {
    match damage {
        Damage::No => variant(0, 7, &[]),
        Damage::Emptied => variant(1, 7, &[]),
        Damage::Doubled => variant(2, 7, &[]),
        Damage::Header { at, xor } => variant(3, 7, &[&[at, xor]]),
        Damage::Ciphertext { at, xor } => variant(4, 7, &[&[at, xor]]),
        Damage::Shortened => variant(5, 7, &[]),
        Damage::Lengthened => variant(6, 7, &[]),
    }
}

fn wait(wait: Wait) -> Vec<u8> {
    const ALL: [Wait; 5] = [Wait::Second, Wait::Handshake, Wait::Idle, Wait::Window, Wait::Lifetime];
    variant(place(&ALL, &wait), 5, &[])
}

fn place<T: PartialEq>(all: &[T], item: &T) -> u64 {
    all.iter().zip(0..).find_map(|(other, place)| (other == item).then_some(place)).expect("one of all")
}
