//! Spark's `xxhash64`: <https://xxhash.com>'s XXH64, each value's hash being the seed of the next.

use spark_connect::types::DataType;

use super::value::{Value, unknown};
use crate::Result;

const PRIMES: [u64; 5] =
    [0x9E37_79B1_85EB_CA87, 0xC2B2_AE3D_27D4_EB4F, 0x1656_67B1_9E37_79F9, 0x85EB_CA77_C2B2_AE63, 0x27D4_EB2F_1656_67C5];

/// The seed that Spark begins with.
pub(super) const SEED: u64 = 42;

/// Returns the hash of a value of a type, after the previous hash; null leaves that unchanged.
pub(super) fn hash(value: &Value, of: &DataType, seed: u64) -> Result<u64> {
    Ok(match (value, of) {
        (Value::Null, _) => seed,
        (Value::Whole(number), DataType::Long) => long(*number as u64, seed),
        (Value::Whole(number), DataType::Byte | DataType::Short | DataType::Integer) => int(*number as u32, seed),
        (Value::Bool(truth), _) => int(u32::from(*truth), seed),
        (Value::Date(days), _) => int(*days as u32, seed),
        (Value::Micros(micros), _) => long(*micros as u64, seed),
        // Both zeros are one, and so is every NaN.
        (Value::Float(number), _) => int(if number.is_nan() { 0x7FC0_0000 } else { (number + 0.0).to_bits() }, seed),
        (Value::Double(number), _) => {
            long(if number.is_nan() { 0x7FF8_0000_0000_0000 } else { (number + 0.0).to_bits() }, seed)
        }
        (Value::Text(text), _) => bytes(text.as_bytes(), seed),
        (Value::Binary(binary), _) => bytes(binary, seed),
        // Longer ones Spark hashes by their bytes.
        (Value::Decimal { digits, .. }, DataType::Decimal { precision: ..=18, .. }) => long(*digits as u64, seed),
        (Value::Array(list), DataType::Array { element_type, .. }) => {
            list.iter().try_fold(seed, |seed, element| hash(element, element_type, seed))?
        }
        _ => return Err(unknown("xxhash64", [value])),
    })
}

fn round(sum: u64, input: u64) -> u64 {
    sum.wrapping_add(input.wrapping_mul(PRIMES[1])).rotate_left(31).wrapping_mul(PRIMES[0])
}

fn finished(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(PRIMES[1]);
    hash = (hash ^ (hash >> 29)).wrapping_mul(PRIMES[2]);
    hash ^ (hash >> 32)
}

fn with_int(hash: u64, input: u32) -> u64 {
    let hash = hash ^ u64::from(input).wrapping_mul(PRIMES[0]);
    hash.rotate_left(23).wrapping_mul(PRIMES[1]).wrapping_add(PRIMES[2])
}

fn with_long(hash: u64, input: u64) -> u64 {
    (hash ^ round(0, input)).rotate_left(27).wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3])
}

fn int(input: u32, seed: u64) -> u64 {
    finished(with_int(seed.wrapping_add(PRIMES[4]).wrapping_add(4), input))
}

fn long(input: u64, seed: u64) -> u64 {
    finished(with_long(seed.wrapping_add(PRIMES[4]).wrapping_add(8), input))
}

fn bytes(input: &[u8], seed: u64) -> u64 {
    let (blocks, rest) = input.as_chunks::<32>();
    let (words, rest) = rest.as_chunks::<8>();
    let (halves, rest) = rest.as_chunks::<4>();
    let mut hash = match blocks {
        [] => seed.wrapping_add(PRIMES[4]),
        _ => {
            let first = seed.wrapping_add(PRIMES[0]);
            let mut sums =
                [first.wrapping_add(PRIMES[1]), seed.wrapping_add(PRIMES[1]), seed, seed.wrapping_sub(PRIMES[0])];
            for block in blocks {
                for (sum, word) in sums.iter_mut().zip(block.as_chunks::<8>().0) {
                    *sum = round(*sum, u64::from_le_bytes(*word));
                }
            }
            let turned = sums.iter().zip([1, 7, 12, 18]).map(|(sum, by)| sum.rotate_left(by));
            sums.iter().fold(turned.fold(0, u64::wrapping_add), |hash, sum| {
                (hash ^ round(0, *sum)).wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3])
            })
        }
    };
    hash = hash.wrapping_add(input.len() as u64);
    hash = words.iter().fold(hash, |hash, word| with_long(hash, u64::from_le_bytes(*word)));
    hash = halves.iter().fold(hash, |hash, half| with_int(hash, u32::from_le_bytes(*half)));
    hash = rest.iter().fold(hash, |hash, byte| {
        (hash ^ u64::from(*byte).wrapping_mul(PRIMES[4])).rotate_left(11).wrapping_mul(PRIMES[0])
    });
    finished(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_sparks_documentation() {
        // SELECT xxhash64('Spark', array(123), 2)
        let string = DataType::String { collation: "UTF8_BINARY".into() };
        let list = DataType::Array { element_type: Box::new(DataType::Integer), contains_null: false };
        let hashed = hash(&Value::Text("Spark".into()), &string, SEED).unwrap();
        let hashed = hash(&Value::Array([Value::Whole(123)].into()), &list, hashed).unwrap();
        assert_eq!(hash(&Value::Whole(2), &DataType::Integer, hashed).unwrap() as i64, 5602566077635097486);
    }

    #[test]
    fn bytes_of_every_length_are_hashed_as_xxh64_hashes_them() {
        // From python3 -c 'import xxhash; …xxhash.xxh64_intdigest(bytes(range(n)), seed=42)'
        let input: Vec<u8> = (0..100).collect();
        let expected: [(usize, u64); 13] = [
            (0, 11002672306508523268),
            (1, 9486749600008296231),
            (3, 6019482000716350659),
            (4, 11821466516360965344),
            (7, 4522324563441226749),
            (8, 11303505167653032870),
            (12, 10870600017846262272),
            (31, 9457807973980583769),
            (32, 9802614321847619698),
            (33, 2046936095001747419),
            (47, 6710910171520780908),
            (64, 14863999917739982478),
            (100, 9339668972473275655),
        ];
        for (length, expected) in expected {
            assert_eq!(bytes(&input[..length], SEED), expected, "{length}");
        }
    }
}
