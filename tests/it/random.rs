//! Random numbers that a seed gives again.

/// The variable that gives a seed, decimal or 0x...; unset, every run has its own.
const SEED: &str = "BINLOGFS_TEST_SEED";

/// SplitMix64.
pub struct Random(u64);

impl Random {
    /// The numbers of a seed.
    pub fn of(seed: u64) -> Random {
        Random(seed)
    }

    /// Seeded from `BINLOGFS_TEST_SEED`, else anew; prints which.
    pub fn seeded() -> Random {
        let seed = Random::asked().unwrap_or_else(|| getrandom::u64().expect("random numbers"));
        println!("{SEED}={seed:#x}");
        Random(seed)
    }

    /// The seed that is asked for, if one is.
    pub fn asked() -> Option<u64> {
        let text = std::env::var(SEED).ok()?;
        let seed = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        Some(seed.unwrap_or_else(|e| panic!("{SEED}={text}: {e}")))
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to 1.
    pub fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True once in so many times.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}
