//! The layout of `arbitrary`'s derive: a variant is four bytes that stand for its share of their range, a field what
//! it is, integers little-endian.

use keystow_fuzz::harness::action::{
    Action, Damage, Forgery, Head, Lie, Mishap, Operation, Randomness, Settle, Tamper, Wait,
};

fn variant(index: u64, count: u64, fields: &[&[u8]]) -> Vec<u8> {
    let share = u32::try_from((index << 32).div_ceil(count)).expect("below 2^32");
    [&share.to_le_bytes()[..], &fields.concat()].concat()
}

fn option(value: Option<Vec<u8>>) -> Vec<u8> {
    value.map_or_else(|| vec![0], |value| [&[1][..], &value].concat())
}

pub(crate) fn action(action: Action) -> Vec<u8> {
    let variant = |index, fields: &[&[u8]]| variant(index, 15, fields);
    match action {
        Action::Register { person, randomness: drawn } => variant(0, &[&[person], &randomness(drawn)]),
        Action::LogIn { person, guess, pin, randomness: drawn } => {
            let pin = option(pin.map(|pin| vec![pin]));
            variant(1, &[&[person, guess.into()], &pin, &randomness(drawn)])
        }
        Action::Generate { device, kinds, randomness: drawn } => variant(2, &[&[device, kinds], &randomness(drawn)]),
        Action::Store { device, batch, rebased, settle: when } => {
            variant(3, &[&[device, batch, rebased.into()], &settle(when)])
        }
        Action::Retrieve { device, first, count } => variant(4, &[&[device, first, count]]),
        Action::Operate { device, operation: begun, settle: when, randomness: drawn } => {
            variant(5, &[&[device], &operation(begun), &settle(when), &randomness(drawn)])
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
        Action::Settle { unsettled } => variant(11, &[&[unsettled]]),
        Action::Wait(time) => variant(12, &[&wait(time)]),
        Action::Purge => variant(13, &[]),
        Action::Crash => variant(14, &[]),
    }
}

fn operation(operation: Operation) -> Vec<u8> {
    match operation {
        Operation::Import { kind, byte } => variant(0, 9, &[&[kind, byte]]),
        Operation::List { verified } => variant(1, 9, &[&[verified.into()]]),
        Operation::Delete { first, count } => variant(2, 9, &[&[first, count]]),
        Operation::VerifyPin { pin } => variant(3, 9, &[&[pin]]),
        Operation::ChangePassword => variant(4, 9, &[]),
        Operation::Audit { limit } => variant(5, 9, &[&[limit]]),
        Operation::Status => variant(6, 9, &[]),
        Operation::LogOut => variant(7, 9, &[]),
        Operation::DeleteAccount => variant(8, 9, &[]),
    }
}

fn settle(settle: Settle) -> Vec<u8> {
    const ALL: [Settle; 3] = [Settle::AtOnce, Settle::Late, Settle::Never];
    variant(place(&ALL, &settle), 3, &[])
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
        Mishap::No => variant(0, 10, &[]),
        Mishap::ReadFails => variant(1, 10, &[]),
        Mishap::ReadMissing => variant(2, 10, &[]),
        Mishap::ReadForeign { query } => variant(3, 10, &[&[query]]),
        Mishap::ReadDamaged { at, xor } => variant(4, 10, &[&at.to_le_bytes(), &[xor]]),
        Mishap::Meanwhile { exchange } => variant(5, 10, &[&[exchange]]),
        Mishap::WriteFailsBefore => variant(6, 10, &[]),
        Mishap::WriteFailsAfter => variant(7, 10, &[]),
        Mishap::Denied { read } => variant(8, 10, &[&[read.into()]]),
        Mishap::Lie { lie: told, applied } => variant(9, 10, &[&lie(told), &[applied.into()]]),
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
        Forgery::Generate { count, len } => variant(0, 12, &[&count.to_le_bytes(), &len.to_le_bytes()]),
        Forgery::Store { batch, change, head: with } => variant(1, 12, &[&[batch], &damage(change), &head(with)]),
        Forgery::StoreHeavy { seed, head: with } => variant(2, 12, &[&[seed], &head(with)]),
        Forgery::Retrieve { first, count, twice } => variant(3, 12, &[&[first, count, twice.into()]]),
        Forgery::RetrieveAll => variant(4, 12, &[]),
        Forgery::List { limit } => variant(5, 12, &[&limit.to_le_bytes()]),
        Forgery::Audit { limit } => variant(6, 12, &[&limit.to_le_bytes()]),
        Forgery::Delete { first, count, twice, head: with } => {
            variant(7, 12, &[&[first, count, twice.into()], &head(with)])
        }
        Forgery::StartChange { byte } => variant(8, 12, &[&[byte]]),
        Forgery::FinishChange { head: with } => variant(9, 12, &[&head(with)]),
        Forgery::Heads { from } => variant(10, 12, &[&option(from.map(|from| from.to_le_bytes().to_vec()))]),
        Forgery::DeleteAccount { head: with } => variant(11, 12, &[&option(with.map(head))]),
    }
}

fn head(head: Head) -> Vec<u8> {
    match head {
        Head::Sealed => variant(0, 2, &[]),
        Head::Garbage { after, byte } => variant(1, 2, &[&[after, byte]]),
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
