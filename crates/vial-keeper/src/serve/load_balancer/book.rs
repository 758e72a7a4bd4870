//! Which Service has which addresses: one number each, pure.
//!
//! The number is the last part of all addresses of a Service: with 5 it has 10.89.128.5, fd89:0:0:128::5 and, where the
//! cluster has 127.89.7.0/24, 127.89.7.5. So one list says everything, and people see what belongs together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

/// The addresses of a cluster's load balancers. What is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Book {
    /// The cluster's part of the host's loopback network: 127.89.BLOCK.0/24.
    pub(super) block: u8,
    /// Numbers by the UID of the Service, 1 to 254.
    #[serde(default)]
    services: BTreeMap<String, u8>,
}

/// All addresses of one Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) block: u8,
    pub(super) number: u8,
}

/// Every number is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("all 254 addresses are taken")]
pub(super) struct Full;

impl Book {
    pub(super) fn new(block: u8) -> Self {
        Self {
            block,
            services: BTreeMap::new(),
        }
    }

    /// The addresses of a Service: those it has, unless it wishes for one that is free; the lowest free ones at first.
    pub(super) fn assign(&mut self, uid: &str, wish: Option<IpAddr>) -> Result<Addresses, Full> {
        let taken: BTreeSet<u8> = self
            .services
            .iter()
            .filter(|(other, _)| *other != uid)
            .map(|(_, number)| *number)
            .collect();
        let wished = wish
            .and_then(|address| self.number_of(address))
            .filter(|number| !taken.contains(number));
        let number = wished
            .or_else(|| self.services.get(uid).copied())
            .or_else(|| (1..=254).find(|number| !taken.contains(number)))
            .ok_or(Full)?;
        self.services.insert(uid.to_owned(), number);
        Ok(Addresses {
            block: self.block,
            number,
        })
    }

    /// The Service's addresses are free.
    pub(super) fn release(&mut self, uid: &str) {
        self.services.remove(uid);
    }

    /// Frees the addresses of all Services but these.
    pub(super) fn keep_only(&mut self, uids: &BTreeSet<String>) {
        self.services.retain(|uid, _| uids.contains(uid));
    }

    /// Which number an address of ours means.
    fn number_of(&self, address: IpAddr) -> Option<u8> {
        let block = self.block;
        (1..=254).find(|&number| Addresses { block, number }.contains(address))
    }
}

impl Addresses {
    /// For nodes and pods. See [`vial_spec::LOAD_BALANCER_CIDRS`].
    pub(super) fn v4(self) -> IpAddr {
        IpAddr::from([10, 89, 128, self.number])
    }

    /// For nodes and pods; the decimal digits of the number as they are, as nodes' addresses have it.
    pub(super) fn v6(self) -> IpAddr {
        let digits = u16::from_str_radix(&self.number.to_string(), 16).unwrap_or_default();
        IpAddr::from([0xfd89, 0, 0, 0x128, 0, 0, 0, digits])
    }

    /// For the host.
    pub(super) fn loopback(self) -> Ipv4Addr {
        Ipv4Addr::new(127, 89, self.block, self.number)
    }

    /// Is it one of them?
    pub(super) fn contains(self, address: IpAddr) -> bool {
        [self.v4(), self.v6(), self.loopback().into()].contains(&address)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wish(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn the_number_is_the_end_of_every_address() {
        let all = Addresses {
            block: 7,
            number: 101,
        };
        assert_eq!(all.v4().to_string(), "10.89.128.101");
        assert_eq!(all.v6().to_string(), "fd89:0:0:128::101");
        assert_eq!(all.loopback().to_string(), "127.89.7.101");
    }

    #[test]
    fn all_addresses_lie_in_the_ranges_that_are_kept_free() {
        for number in 1..=254 {
            let all = Addresses { block: 1, number };
            for (address, range) in [all.v4(), all.v6()]
                .iter()
                .zip(vial_spec::LOAD_BALANCER_CIDRS)
            {
                let range: ipnet::IpNet = range.parse().expect("a range");
                assert!(range.contains(address), "{address}");
            }
        }
    }

    #[test]
    fn a_free_address_that_is_wished_for_is_given() {
        let mut book = Book::new(7);
        assert_eq!(book.assign("a", None).map(|all| all.number), Ok(1));
        assert_eq!(book.assign("b", wish("10.89.128.9")).unwrap().number, 9);
        assert_eq!(book.assign("c", wish("127.89.7.8")).unwrap().number, 8);
        assert_eq!(
            book.assign("d", wish("fd89:0:0:128::70")).unwrap().number,
            70
        );
        // Taken, of another cluster, of nobody: the next free one.
        assert_eq!(book.assign("e", wish("10.89.128.9")).unwrap().number, 2);
        assert_eq!(book.assign("f", wish("127.89.8.9")).unwrap().number, 3);
        assert_eq!(book.assign("g", wish("192.0.2.1")).unwrap().number, 4);
        assert_eq!(book.assign("h", wish("10.89.128.255")).unwrap().number, 5);
        // A wish may come later, and one that cannot be had changes nothing.
        assert_eq!(book.assign("a", wish("10.89.128.33")).unwrap().number, 33);
        assert_eq!(book.assign("a", wish("10.89.128.9")).unwrap().number, 33);
        assert_eq!(book.assign("a", None).unwrap().number, 33);
    }

    #[test]
    fn when_all_are_taken_one_is_free_again_after_a_release() {
        let mut book = Book::new(1);
        for number in 0..254 {
            book.assign(&format!("s{number}"), None).expect("free");
        }
        assert_eq!(book.assign("more", None), Err(Full));
        book.release("s100");
        assert_eq!(book.assign("more", None).unwrap().number, 101);
    }

    #[derive(Debug, Clone)]
    enum Act {
        Assign(u8, Option<u8>),
        Release(u8),
        Restart,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (0..20u8, proptest::option::of(1..=254u8))
                .prop_map(|(uid, wish)| Act::Assign(uid, wish)),
            (0..20u8).prop_map(Act::Release),
            Just(Act::Restart),
        ]
    }

    proptest! {
        #[test]
        fn nobody_shares_and_everybody_keeps(acts in proptest::collection::vec(act(), 0..200)) {
            let mut book = Book::new(3);
            let mut have: BTreeMap<u8, u8> = BTreeMap::new();
            for act in acts {
                match act {
                    Act::Assign(uid, number) => {
                        let wish = number.map(|number| IpAddr::from([10, 89, 128, number]));
                        let given = book.assign(&uid.to_string(), wish).unwrap().number;
                        prop_assert!(have.iter().all(|(other, theirs)| *other == uid || *theirs != given));
                        // Moved only to where it wished to be.
                        if let Some(before) = have.insert(uid, given) {
                            prop_assert!(given == before || Some(given) == number);
                        }
                    }
                    Act::Release(uid) => {
                        have.remove(&uid);
                        book.release(&uid.to_string());
                    }
                    Act::Restart => {
                        let text = serde_json::to_string(&book).unwrap();
                        book = serde_json::from_str(&text).unwrap();
                        book.keep_only(&have.keys().map(u8::to_string).collect());
                    }
                }
            }
        }
    }
}
