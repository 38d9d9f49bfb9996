//! Charts as SVG that the server writes: no script, and a table of the same numbers for whoever reads
//! rather than looks.

use maud::{Markup, html};

/// The style of all of them, for the sheet of a page.
pub(crate) const STYLE: &str = "\
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr));gap:1.25rem}\
figure.sheet{margin:0 0 1.25rem;min-width:0}\
figcaption{display:flex;flex-wrap:wrap;gap:0 1rem;justify-content:space-between;margin-bottom:.6rem}\
.chart{display:block;width:100%;height:7rem;fill:var(--accent)}\
.chart .ground{fill:var(--soft)}\
.chart.bad{fill:var(--fault)}\
.axis{display:flex;justify-content:space-between;color:var(--quiet);font-size:.85rem;margin:.3rem 0 0}\
figure details{margin-top:.3rem}\
table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.25rem .5rem .25rem 0;border-top:1px solid var(--soft)}\
td.number,th.number{text-align:right;font-variant-numeric:tabular-nums}\
.bars{list-style:none;margin:0;padding:0}\
.bars li{margin:0;padding:.35rem 0;display:grid;grid-template-columns:1fr auto;gap:.1rem 1rem}\
.bars svg{grid-column:1/-1;width:100%;height:.5rem;fill:var(--accent)}\
.bars.bad svg{fill:var(--fault)}\
.bars .ground{fill:var(--soft)}\
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,9.5rem),1fr));gap:.75rem;margin:0 0 1.25rem}\
.tiles>div{background:var(--sheet);border:1px solid var(--soft);border-radius:.6rem;padding:.8rem 1rem}\
.tiles dt{font-weight:600}\
.tiles dd{margin:0;overflow-wrap:anywhere}\
.tiles dd.figure{font-size:1.9rem;line-height:1.3;font-variant-numeric:tabular-nums}\
.tiles dd.figure.bad a,.tiles dd.figure.bad{color:var(--fault)}\
.tiles dd.figure.good{color:var(--good)}";

/// How the columns look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Bad,
}

/// One column, or one bar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    pub label: String,
    pub value: u64,
    /// Where its label leads.
    pub href: Option<String>,
}

/// A number with its thousands apart.
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len().saturating_mul(2));
    for (position, digit) in digits.chars().enumerate() {
        let left = digits.len().saturating_sub(position);
        if position > 0 && left.is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What `part` is of `whole`, in thousandths.
fn share(part: u64, whole: u64) -> u64 {
    part.saturating_mul(1000).checked_div(whole).unwrap_or(0)
}

/// Columns side by side, from the oldest to the newest. `unit` is the word over the labels.
pub fn columns(title: &str, unit: &str, tone: Tone, columns: &[Share]) -> Markup {
    const HEIGHT: u64 = 1000;
    const STEP: usize = 100;
    let sum: u64 = columns.iter().map(|one| one.value).sum();
    let most = columns.iter().map(|one| one.value).max().unwrap_or(0);
    let class = match tone {
        Tone::Plain => "chart",
        Tone::Bad => "chart bad",
    };
    let width = columns.len().saturating_mul(STEP).max(STEP);
    let said = format!(
        "{title}: {} in all, {} at most in one column",
        number(sum),
        number(most)
    );
    html! {
        figure.sheet {
            figcaption { strong { (title) } span.quiet { (number(sum)) " in all" } }
            svg class=(class) viewBox=(format!("0 0 {width} {HEIGHT}")) preserveAspectRatio="none" role="img" aria-label=(said) {
                @for (position, one) in columns.iter().enumerate() {
                    @let height = column_height(one.value, most);
                    rect x=(position.saturating_mul(STEP)) y=(HEIGHT.saturating_sub(8)) width="86" height="8" class="ground" {}
                    @if height > 0 {
                        rect x=(position.saturating_mul(STEP)) y=(HEIGHT.saturating_sub(height)) width="86" height=(height) {
                            title { (one.label) ": " (number(one.value)) }
                        }
                    }
                }
            }
            p.axis aria-hidden="true" {
                @if let Some(first) = columns.first() { span { (first.label) } }
                @if let Some(last) = columns.last() { span { (last.label) } }
            }
            details {
                summary { "The numbers" span.away { " of: " (title) } }
                table {
                    thead { tr { th scope="col" { (unit) } th.number scope="col" { (title) } } }
                    tbody { @for one in columns { tr { td { (one.label) } td.number { (number(one.value)) } } } }
                }
            }
        }
    }
}

/// What is there is seen, however little it is.
fn column_height(value: u64, most: u64) -> u64 {
    match value {
        0 => 0,
        value => share(value, most).max(25),
    }
}

/// Bars below each other, each with its number.
pub fn bars(tone: Tone, list: &[Share]) -> Markup {
    let most = list.iter().map(|one| one.value).max().unwrap_or(0);
    let class = match tone {
        Tone::Plain => "bars",
        Tone::Bad => "bars bad",
    };
    html! {
        ul class=(class) {
            @for one in list {
                li {
                    @if let Some(href) = &one.href { a href=(href) { (one.label) } } @else { span { (one.label) } }
                    span { (number(one.value)) }
                    svg viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" {
                        rect class="ground" x="0" y="0" width="1000" height="10" {}
                        @if one.value > 0 { rect x="0" y="0" width=(share(one.value, most).max(6)) height="10" {} }
                    }
                }
            }
        }
    }
}

/// How a figure is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Plain,
    Good,
    Bad,
}

/// A figure that is seen at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    pub label: String,
    pub figure: String,
    /// What more there is to say.
    pub about: String,
    pub mood: Mood,
    pub href: Option<String>,
}

/// Figures beside each other.
pub fn tiles(list: &[Tile]) -> Markup {
    html! {
        dl.tiles {
            @for tile in list {
                @let class = match tile.mood {
                    Mood::Plain => "figure",
                    Mood::Good => "figure good",
                    Mood::Bad => "figure bad",
                };
                div {
                    dt { (tile.label) }
                    dd class=(class) {
                        @if let Some(href) = &tile.href { a href=(href) { (tile.figure) span.away { ": " (tile.label) } } } @else { (tile.figure) }
                    }
                    @if !tile.about.is_empty() { dd.quiet { (tile.about) } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        for (value, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_column_is_as_high_as_its_share_and_what_is_there_is_seen() {
        let of = |value| Share {
            label: format!("<{value}>"),
            value,
            href: None,
        };
        let text = columns(
            "Refused",
            "Hour",
            Tone::Bad,
            &[of(0), of(1), of(1000), of(500)],
        );
        let text = text.into_string();
        assert_eq!(text.matches("<rect").count(), 4 + 3);
        for height in ["height=\"25\"", "height=\"1000\"", "height=\"500\""] {
            assert!(text.contains(height), "{height}: {text}");
        }
        assert!(text.contains("Refused: 1,501 in all, 1,000 at most"));
        assert!(!text.contains("<1000>"), "labels are escaped");
    }

    #[test]
    fn nothing_at_all_is_no_fault() {
        assert!(
            columns("None", "Hour", Tone::Plain, &[])
                .into_string()
                .contains("0 in all")
        );
        assert_eq!(
            bars(Tone::Plain, &[]).into_string(),
            "<ul class=\"bars\"></ul>"
        );
    }
}
