//! Identifiers and addresses, written into buffers that are used again.

/// Appends `prefix` and `number` with at least `width` digits.
pub fn push_number(text: &mut String, prefix: &str, number: u64, width: usize) {
    text.push_str(prefix);
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(number);
    for _ in digits.len()..width {
        text.push('0');
    }
    text.push_str(digits);
}

/// Appends eight hexadecimal digits.
pub fn push_hex(text: &mut String, number: u32) {
    for shift in (0..8).rev() {
        let digit = (number >> (shift * 4)) & 0xF;
        text.push(char::from_digit(digit, 16).unwrap_or('0'));
    }
}

/// Replaces the text by an identifier: `prefix`, then the number.
pub fn set_number(text: &mut String, prefix: &str, number: u64) {
    text.clear();
    push_number(text, prefix, number, 8);
}

/// Replaces the text by an identifier that no other run's and no other event's
/// is: `prefix`, the run in hexadecimal, the number.
pub fn set_unique(text: &mut String, prefix: &str, run: u32, number: u64) {
    text.clear();
    text.push_str(prefix);
    push_hex(text, run);
    push_number(text, "_", number, 10);
}

/// Replaces the text by an address: `prefix`, then four numbers, the first of
/// them `network`.
pub fn set_address(text: &mut String, prefix: &str, network: u8, host: u32) {
    text.clear();
    text.push_str(prefix);
    let [_, second, third, fourth] = host.to_be_bytes();
    let mut buffer = itoa::Buffer::new();
    text.push_str(buffer.format(network));
    for part in [second, third, fourth.max(1)] {
        text.push('.');
        text.push_str(buffer.format(part));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_and_addresses_look_like_such() {
        let mut text = "before".to_owned();
        set_number(&mut text, "card_", 42);
        assert_eq!(text, "card_00000042");
        set_unique(&mut text, "txn_", 0xBEEF, 7);
        assert_eq!(text, "txn_0000beef_0000000007");
        set_address(&mut text, "vpn_", 81, 0x0102_0300);
        assert_eq!(text, "vpn_81.2.3.1");
    }
}
