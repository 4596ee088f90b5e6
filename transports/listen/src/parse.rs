//! Parsers of option values.

/// Parses octal permissions: `0660`.
///
/// # Errors
///
/// Returns what was expected.
pub fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("expected permissions such as 0660".to_owned()),
    }
}

/// Parses a size in bytes: `64KiB`, `2M`, `1000`.
///
/// # Errors
///
/// Returns what was expected.
pub fn size(text: &str) -> Result<usize, String> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err("expected a size such as 1000, 64KiB or 2MiB".to_owned()),
    };
    let number = number.parse::<usize>().map_err(|_| "expected a size such as 1000, 64KiB or 2MiB".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "that is too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(size("1000"), Ok(1000));
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("2 M"), Ok(2 << 20));
        for wrong in ["", "KiB", "1.5M", "-1", "1TiB", "99999999999999999999", "99999999999999G"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(mode("0660"), Ok(0o660));
        assert_eq!(mode("600"), Ok(0o600));
        assert!(mode("0680").is_err() && mode("1777").is_err());
    }
}
