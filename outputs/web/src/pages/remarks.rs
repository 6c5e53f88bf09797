//! What a page says about its answer. The texts of `aw-query` name options, which a page does not have. No I/O and no clock.

/// Remedies of `aw-query`, and the same for a reader of a page.
const REMEDIES: [(&str, &str); 5] = [
    ("`ip` and `mac` with --all list them", "aw-query ip and aw-query mac list them with --all"),
    ("(--all lists them)", "(aw-query mac lists them with --all)"),
    ("(add --from 1970-01-01 to see", "(use aw-query with --from 1970-01-01 to see"),
    ("(ask for a shorter time with --from", "(ask aw-query for a shorter time with --from"),
    ("(ask for a shorter time)", "(ask aw-query for a shorter time)"),
];

/// The remarks of an answer, and one for each number of rows that is not 0: how many there are more, and a text that follows.
pub fn remarks(of_answer: Vec<String>, left_off: &[(usize, &str)]) -> Vec<String> {
    let of_page = |remark: String| {
        REMEDIES.iter().fold(remark, |remark, (option, page)| remark.replace(option, page))
    };
    let mut all: Vec<String> = Vec::new();
    for remark in of_answer.into_iter().map(of_page) {
        if !all.contains(&remark) {
            all.push(remark);
        }
    }
    let left_off = left_off.iter().filter(|(number, _)| *number > 0);
    all.extend(left_off.map(|(number, text)| format!("{number} more {text}")));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts of the questions are those that are replaced.
    #[test]
    fn no_option_of_the_command_line() {
        let texts = include_str!("../../../query/src/omitted.rs");
        for (option, page) in REMEDIES {
            assert!(texts.contains(option), "{option}");
            let found = remarks(vec![format!("1 is left out {option}")], &[]);
            assert_eq!(found, [format!("1 is left out {page}")]);
        }
    }

    #[test]
    fn each_number_is_named_once() {
        let all = remarks(vec!["a".into(), "a".into()], &[(0, "rows"), (7, "changes (x)")]);
        assert_eq!(all, ["a", "7 more changes (x)"]);
    }
}
