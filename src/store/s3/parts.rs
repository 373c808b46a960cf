//! How an object that comes in pieces is cut into parts.

/// An object of up to this many bytes goes in one PutObject: two requests fewer than in parts.
const WHOLE_MAX_BYTES: u64 = 16 << 20;
/// Bytes of a part. Memory of an upload is two of them; S3 wants 5 MiB at least.
const PART_BYTES: u64 = 8 << 20;
/// S3's limit ("Amazon S3 multipart upload limits").
const PARTS_MAX: u64 = 10_000;
/// Sizes are multiples of this, so that a hint that differs a little gives the same parts.
const PART_STEP_BYTES: u64 = 1 << 20;
/// S3's limit on a part.
const PART_MAX_BYTES: u64 = 5 << 30;
/// All parts of an upload have one size, which some servers demand. Only an object that outgrows its hint so far that this
/// many parts are gone gets larger ones, each twice the one before.
const EVEN_PARTS_MAX: u64 = PARTS_MAX - 100;

/// Bytes that are gathered before any request, of an object that is expected to have `size_hint` bytes: what is expected to be
/// large need not be gathered until it is.
pub(super) fn first_bytes(size_hint: u64) -> u64 {
    match size_hint > WHOLE_MAX_BYTES {
        true => part_bytes(size_hint, 1),
        false => WHOLE_MAX_BYTES,
    }
}

/// Bytes of part `number` (from 1) of an object that is expected to have `size_hint` bytes.
///
/// Twice the hint still fits in even parts, because the hint is a guess at how well a file compresses.
pub(super) fn part_bytes(size_hint: u64, number: u64) -> u64 {
    let even = size_hint
        .saturating_mul(2)
        .div_ceil(EVEN_PARTS_MAX)
        .next_multiple_of(PART_STEP_BYTES)
        .clamp(PART_BYTES, PART_MAX_BYTES);
    let doublings = number.saturating_sub(EVEN_PARTS_MAX).min(63) as u32;
    even.saturating_mul(1 << doublings).min(PART_MAX_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_eight_mebibytes_until_ten_thousand_would_not_do() {
        const GIB: u64 = 1 << 30;
        assert_eq!(part_bytes(0, 1), 8 << 20);
        assert_eq!(part_bytes(38 * GIB, 1), 8 << 20);
        assert_eq!(part_bytes(38 * GIB, 9_900), 8 << 20);
        assert_eq!(part_bytes(100 * GIB, 1), 21 << 20);
        for hint in [0, 1, 16 << 20, 38 * GIB, 100 * GIB, 2500 * GIB] {
            let even: u64 = (1..=EVEN_PARTS_MAX).map(|n| part_bytes(hint, n)).sum();
            assert!(even >= hint * 2, "{hint}");
            assert!(part_bytes(hint, 1) <= PART_MAX_BYTES);
        }
    }

    #[test]
    fn an_object_that_outgrows_its_hint_still_ends_within_ten_thousand_parts() {
        let five_tebibytes = 5u64 << 40;
        let capacity = (1..=PARTS_MAX)
            .map(|n| part_bytes(0, n))
            .fold(0u64, u64::saturating_add);
        // The even parts and seven doublings reach 80 GiB; part by part of 5 GiB the rest holds 450 GiB more.
        assert!(capacity > 500 << 30, "{capacity}");
        let hinted: u64 = (1..=PARTS_MAX)
            .map(|n| part_bytes(five_tebibytes / 2, n))
            .sum();
        assert!(hinted >= five_tebibytes);
    }
}
