use super::*;
use crate::{change::Credit, diff::Difference, log_record::LogRecord};

fn report(diff: &str, message: &str, secrets: bool) -> Report {
    let record = LogRecord {
        time: "12:00:00".into(),
        topics: "system,info".into(),
        message: message.into(),
        doubtful: false,
    };
    let claims = crate::attribution::LogClaim::of(&record).into_iter().collect();
    let difference = Difference { text: diff.into(), added: 2, removed: 1 };
    let time = Timestamp::from_second(1_700_000_000).unwrap();
    let snapshots = ("a.rsc".into(), "b.rsc".into());
    let credit = Credit { claims, ..Credit::default() };
    let change = Change::new(time, ("core1", "192.0.2.1:22"), credit, difference, snapshots);
    let (users, changes) = (BTreeMap::new(), Vec::new());
    let mut report = Report { since: time, until: time, routers: 3, users, changes };
    report.add(&change, secrets);
    report
}

const HOSTILE: &str = "@@ -1 +1 @@\n+/system note set note=\"</pre><script>alert('x')</script>\"\n+/x add comment=\"&lt; \u{1b}[2J\u{202e}\"\n";
const FORGED: &str =
    "item added by ssh:<img src=x onerror=y>@192.0.2.7 (/user add password=geheim)";

#[test]
fn a_page_has_no_element_of_a_router() {
    let page = report(HOSTILE, FORGED, false).html();
    for text in ["<script", "<img", "onerror=y>", "\u{1b}", "\u{202e}", "geheim", "src=\"", "href"]
    {
        assert!(!page.contains(text), "{text}: {page}");
    }
    assert!(page.contains("&lt;/pre&gt;&lt;script&gt;alert(&#39;x&#39;)"), "{page}");
    assert!(page.contains("&amp;lt; ?[2J?"), "{page}");
    assert_eq!(page.matches("</pre>").count(), 2);
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn secrets_and_limits() {
    let lines: String =
        (0..600).map(|n| format!("+/ppp secret add name=n{n} password=geheim\n")).collect();
    let diff = format!("@@ -1 +600 @@\n{lines}");
    let masked = report(&diff, FORGED, false);
    let json = serde_json::to_string(&masked).unwrap();
    for text in [masked.text(), masked.html(), json] {
        assert!(!text.contains("geheim"), "{text}");
    }
    assert_eq!(
        (masked.changes[0].diff.lines().count(), masked.changes[0].further_lines),
        (500, 101)
    );
    assert!(masked.html().contains("and 101 more lines: aw-routeros diff core1"));
    assert!(report(&diff, FORGED, true).html().contains("password=geheim"));
}

#[test]
fn text() {
    let diff = "@@ -1 +1 @@\n-/ip dns set servers=192.0.2.53\n+/ip dns set servers=192.0.2.54\n+/ip firewall filter add chain=input\n /x add\n";
    let text = report(diff, "item changed by alice", false).text();
    let lines: Vec<_> = text.lines().collect();
    assert!(
        lines[0].starts_with("1 change of 1 router, of 3 that are configured, from 2023-"),
        "{text}"
    );
    assert_eq!(lines[2..4], ["USER   CHANGES  LINES  ROUTERS", "alice  1        +2 -1  core1"]);
    assert!(
        lines[6].ends_with("core1   alice  +2 -1  b         /ip dns, /ip firewall filter"),
        "{text}"
    );
}
