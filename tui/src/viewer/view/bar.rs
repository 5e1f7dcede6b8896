//! A bar of verdicts: `=` moved, `x` copied, `?` unknown. Glyphs carry the meaning; colors only
//! help.

use std::cmp::Ordering;

use ratatui::layout::Rect;
use zctrace_report::Account;

use super::cell_writer::CellWriter;
use crate::viewer::theme::Role;

/// Divides a number of cells among moved, copied and unknown. Every non-zero part gets at least one
/// cell, as long as there are enough cells, so that one copied byte among a million is visible.
pub(super) fn cells(account: &Account, width: u16) -> [u16; 3] {
    let parts = [account.moved, account.copied, account.unknown];
    let whole: u128 = parts.iter().map(|&part| u128::from(part)).sum();
    if whole == 0 || width == 0 {
        return [0; 3];
    }
    let mut cells = parts.map(|part| {
        let share = (u128::from(part) * u128::from(width) / whole) as u16;
        if part > 0 { share.max(1) } else { 0 }
    });
    // Cells are rounded down and small parts were rounded up, so the largest part takes the
    // difference. If there is no space for all parts, bad ones come first: copied, unknown, moved.
    loop {
        let sum: u16 = cells.iter().sum();
        let largest = (0..3).max_by_key(|&part| (cells[part], parts[part])).unwrap_or(0);
        match sum.cmp(&width) {
            Ordering::Equal => return cells,
            Ordering::Less => cells[largest] += width - sum,
            Ordering::Greater if cells[largest] > 1 => cells[largest] -= 1,
            Ordering::Greater => {
                let least_bad = [0, 2, 1].into_iter().find(|&part| cells[part] > 0);
                cells[least_bad.unwrap_or(0)] -= 1;
            }
        }
    }
}

/// Draws the bar.
pub(super) fn draw(writer: &mut CellWriter<'_>, area: Rect, account: &Account) {
    let mut at = area;
    for (cells, (glyph, role)) in
        cells(account, area.width)
            .into_iter()
            .zip([("=", Role::Moved), ("x", Role::Copied), ("?", Role::Unknown)])
    {
        at = writer.write(at, &glyph.repeat(cells.into()), role);
    }
    if account.delivered() == 0 && account.excluded.total() > 0 {
        writer.write(area, &"-".repeat(area.width.into()), Role::Excluded);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_parts_are_visible() {
        assert_eq!(cells(&Account::new(1 << 40, 1, 0), 10), [9, 1, 0]);
        assert_eq!(cells(&Account::new(1 << 40, 1, 1), 10), [8, 1, 1]);
        assert_eq!(cells(&Account::new(1, 1, 1), 2), [0, 1, 1], "what is bad is told first");
        assert_eq!(cells(&Account::new(9, 1, 0), 1), [0, 1, 0]);
        assert_eq!(cells(&Account::default(), 10), [0; 3]);
        assert_eq!(cells(&Account::new(50, 50, 0), 10), [5, 5, 0]);
    }

    proptest! {
        #[test]
        fn cells_add_up_to_the_width(moved: u64, copied: u64, unknown: u64, width in 1..200_u16) {
            let account = Account::new(moved, copied, unknown);
            let cells = cells(&account, width);
            let parts = [moved, copied, unknown];
            if parts == [0; 3] {
                prop_assert_eq!(cells, [0; 3]);
            } else {
                prop_assert_eq!(cells.iter().sum::<u16>(), width);
                for (part, cells) in parts.into_iter().zip(cells) {
                    prop_assert!(part > 0 || cells == 0);
                    prop_assert!(part == 0 || cells > 0 || width < 3);
                }
            }
        }
    }
}
