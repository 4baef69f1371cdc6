//! Figures from many measurements.

/// The value that `percent` in a hundred do not exceed; of none it is NaN.
pub fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (sorted.len() * percent).div_ceil(100);
    sorted.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

pub fn median(values: &[f64]) -> f64 {
    percentile(values, 50)
}

#[cfg(test)]
mod tests {
    use super::{median, percentile};

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(
            (median(&values), percentile(&values, 99), percentile(&values, 100)),
            (50.0, 99.0, 100.0)
        );
        assert!(median(&[3.0, 1.0, 2.0]).to_bits() == 2.0_f64.to_bits());
        assert!(median(&[]).is_nan());
    }
}
