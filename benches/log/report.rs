//! One line for each figure, with its ratio to a floor of the same run.

/// What the machine can do at most.
pub fn floor(name: &str, value: f64, unit: &str) {
    println!("  floor   {name:<46} {:>14} {unit}", thousands(value));
}

/// What the log does, and how that stands to a floor; `NAN` where there is none.
pub fn result(name: &str, value: f64, unit: &str, floor: f64) {
    let ratio = if floor.is_nan() { String::new() } else { format!("  {:.2} of the floor", value / floor) };
    println!("  result  {name:<46} {:>14} {unit}{ratio}", thousands(value));
}

/// More about the last result.
pub fn also(text: &str) {
    println!("          {text}");
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
