//! The HTML report in a real browser, with any names of devices.
#![forbid(unsafe_code)]

use aw_tests::browser::Browser;
use aw_tests::rig::{program, run, wait_until};
use aw_tests::tracker::{dates, make_logs};
use std::fs;
use std::path::{Path, PathBuf};

/// Creates the report of these logs; returns the path of the HTML file.
fn report(directory: &Path, options: &[&str]) -> PathBuf {
    let mut command = program("aw-tracker", &["report"]);
    command.arg(directory).args(options);
    run(command).ok();
    directory.join("macupd_report.html")
}

fn put(directory: &Path, kind: &str, date: &str, text: &str) {
    fs::write(directory.join(format!("macupd_{kind}.{date}.log")), text).unwrap();
}

const SHOWN: &str =
    "return [...document.querySelectorAll('.devices tbody tr')].filter(row => !row.hidden)";

fn shown(browser: &mut Browser, what: &str) -> Vec<String> {
    let texts = browser.run(&format!("{SHOWN}.map(row => {what})"));
    texts
        .as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap_or_default().to_owned())
        .collect()
}

fn names(browser: &mut Browser) -> Vec<String> {
    shown(browser, "row.querySelector('bdi').textContent")
}

/// Names, interfaces, alerts and errors that contain markup.
const HOSTILE: [&str; 8] = [
    "<script>document.title='owned'</script>",
    "\"><img src=x onerror=\"document.title='owned'\">",
    "'onmouseover='document.title=1",
    "</td></tr></table><h1>owned</h1>",
    "\u{202e}gnp.exe\u{202d}",
    "&lt;b&gt; &amp;",
    "]]></style><style>*{display:none}</style>",
    "--><!-- \u{feff}\u{200b}",
];

#[test]
fn hostile_text_stays_in_its_cell() {
    let directory = tempfile::tempdir().unwrap();
    let date = &dates(1)[0];
    let mut log = "mac name ip iface date time last active-hours\n".to_owned();
    for (device, name) in HOSTILE.iter().enumerate() {
        let interface = name.replace(' ', "");
        log += &format!(
            "02:00:00:00:00:{device:02x} {name} 10.0.0.{device} {interface} {date} 0001 0101 11......................\n"
        );
    }
    log += "a corrupt line: <img src=x onerror=\"document.title='owned'\">\n";
    put(directory.path(), "tracker", date, &log);
    put(
        directory.path(),
        "alert",
        date,
        &format!("{}\nx\u{1b}[31m\u{0}x\rforged\n", HOSTILE.join("\n")),
    );
    put(directory.path(), "error", date, &HOSTILE.join("\n"));
    let option = |name: &str| name.replace('|', "");
    let page =
        report(directory.path(), &["--name", &format!("02:00:00:00:00:00|{}", option(HOSTILE[1]))]);
    let mut browser = Browser::open(1280, 1400);
    browser.go_to_file(&page);
    assert_eq!(
        browser
            .run("return document.title")
            .as_str()
            .map(|title| title.starts_with("Device activity: ")),
        Some(true)
    );
    let mut expected = HOSTILE.map(|name| name.trim_end().to_owned());
    expected[0] = HOSTILE[1].to_owned();
    let mut found = names(&mut browser);
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    // None of it became an element: the numbers of elements are those of a harmless report.
    let count = |browser: &mut Browser, selector: &str| {
        browser
            .run(&format!("return document.querySelectorAll({selector:?}).length"))
            .as_u64()
            .unwrap()
    };
    for (selector, number) in [
        ("script", 1),
        ("style", 1),
        ("img", 0),
        ("h1", 1),
        ("table", 1),
        (".devices tbody tr", 8),
        ("[onmouseover], [onerror], [onload]", 0),
    ] {
        assert_eq!(count(&mut browser, selector), number, "{selector}");
    }
    assert_eq!(
        count(&mut browser, ".log li"),
        8 + 1 + 8 + 1,
        "alerts, and errors with the one about the corrupt line"
    );
    // Text from right to left stays in its cell: all MACs begin at the same position.
    let lefts =
        shown(&mut browser, "String(row.querySelector('.mac').getBoundingClientRect().left)");
    assert!(lefts.iter().all(|left| *left == lefts[0]), "{lefts:?}");
    let wide = browser.run("return document.documentElement.scrollWidth <= innerWidth");
    assert_eq!(wide.as_bool(), Some(true), "the content fits the width");
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
    // The policy blocks scripts that are inserted into the page.
    browser.run("document.body.insertAdjacentHTML('beforeend', '<button id=evil onclick=\"document.title=1\">x</button>')");
    browser.run("document.querySelector('#evil').click(); const s = document.createElement('script'); s.textContent = 'document.title=2'; document.body.append(s)");
    assert_eq!(
        browser
            .run("return document.title")
            .as_str()
            .map(|title| title.starts_with("Device activity: ")),
        Some(true)
    );
    wait_until("the browser reports that it blocked both", || !browser.complaints().is_empty());
}

#[test]
fn sorting_searching_and_filtering() {
    let directory = tempfile::tempdir().unwrap();
    let days = dates(3);
    let log = |rows: &[(&str, &str)], date: &str| {
        let rows = rows.iter().map(|(start, rest)| format!("{start} br0 {date} {rest}\n"));
        put(
            directory.path(),
            "tracker",
            date,
            &("mac name ip iface date time last active-hours\n".to_owned()
                + &rows.collect::<String>()),
        );
    };
    let hours = "1.......................";
    let at = |clock: &str| format!("{clock} {clock} {hours}");
    log(
        &[
            ("00:00:5e:00:00:01 beta 10 10.0.0.10", &at("0800")),
            ("00:00:5e:00:00:02 Alpha 10.0.0.9", &at("0900")),
        ],
        &days[0],
    );
    log(&[("00:00:5e:00:00:01 beta 10 10.0.0.10", &at("0700"))], &days[1]);
    log(
        &[
            ("00:00:5e:00:00:01 beta 10 10.0.0.10", &at("1000")),
            ("00:00:5e:00:00:03 beta 9 10.0.1.1", &at("0600")),
            ("d2:00:00:00:00:04 unknown 2001:db8::4", &at("0001")),
        ],
        &days[2],
    );
    let page = report(directory.path(), &[]);
    let mut browser = Browser::open(1280, 900);
    browser.go_to_file(&page);
    let tiles = browser.run(
        "return [...document.querySelectorAll('.tile dd')].map(tile => tile.textContent).join('|')",
    );
    assert_eq!(tiles, "3 of 4|2|1|10:00");
    assert_eq!(
        names(&mut browser),
        ["beta 10", "beta 9", "unknown", "Alpha"],
        "the most recently seen first"
    );
    for (key, once, twice) in [
        (
            "name",
            ["Alpha", "beta 9", "beta 10", "unknown"],
            ["unknown", "beta 10", "beta 9", "Alpha"],
        ),
        (
            "address",
            ["Alpha", "beta 10", "beta 9", "unknown"],
            ["unknown", "beta 9", "beta 10", "Alpha"],
        ),
        (
            "first",
            ["beta 9", "unknown", "Alpha", "beta 10"],
            ["beta 10", "Alpha", "unknown", "beta 9"],
        ),
        (
            "last",
            ["beta 10", "beta 9", "unknown", "Alpha"],
            ["Alpha", "unknown", "beta 9", "beta 10"],
        ),
    ] {
        for expected in [once, twice] {
            browser.click(&format!("th[data-k={key}] button"));
            assert_eq!(names(&mut browser), expected, "{key}");
        }
    }
    browser.click("th[data-k=days] button");
    assert_eq!(names(&mut browser)[0], "beta 10");
    browser.click("th[data-k=name] button");
    for (value, expected) in [
        ("t", &["beta 9", "beta 10", "unknown"][..]),
        ("n", &["beta 9", "unknown"]),
        ("u", &["unknown"]),
        ("p", &["unknown"]),
        ("", &["Alpha", "beta 9", "beta 10", "unknown"]),
    ] {
        browser.click(&format!("button[value='{value}']"));
        assert_eq!(names(&mut browser), expected, "filter {value}");
    }
    for (text, expected) in [
        ("BETA", &["beta 9", "beta 10"][..]),
        ("beta 10.0.1", &["beta 9"]),
        ("5e:00:00:02", &["Alpha"]),
        ("2001:db8", &["unknown"]),
        ("nobody", &[]),
    ] {
        browser.type_into("input[type=search]", text);
        wait_until("it is filtered", || names(&mut browser) == expected);
        let status = browser.run("return document.querySelector('output').textContent");
        assert_eq!(status, format!("{} of 4 devices", expected.len()));
    }
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
    // Without scripts all devices are shown, and the controls are hidden.
    let source = fs::read_to_string(&page).unwrap();
    let no_scripts =
        "<head>\n<meta http-equiv=Content-Security-Policy content=\"script-src 'none'\">";
    let without = page.with_extension("without-scripts.html");
    fs::write(&without, source.replacen("<head>", no_scripts, 1)).unwrap();
    browser.go_to_file(&without);
    wait_until("the browser reports that it ran no script", || !browser.complaints().is_empty());
    assert_eq!(names(&mut browser).len(), 4);
    assert_eq!(
        browser.run("return document.querySelector('.tools').getBoundingClientRect().height"),
        0
    );
}

/// The content fits the width of a phone. Screenshots go to the directory AW_PICTURES, if it is set.
#[test]
fn on_a_phone_and_on_paper() {
    let directory = tempfile::tempdir().unwrap();
    make_logs(directory.path(), 24, 31);
    let date = &dates(1)[0];
    put(
        directory.path(),
        "alert",
        date,
        &format!(
            "d2:11:4f:00:00:0d unknown 10.0.0.13 eth0.20 {date} 0743 0743 .......1................\n"
        ),
    );
    put(
        directory.path(),
        "error",
        date,
        &format!("{date}:1200:2 sightings were not recorded: their days have no log\n"),
    );
    let page = report(directory.path(), &[]);
    let mut browser = Browser::open(1280, 1000);
    for (width, height, media, scheme, name) in [
        (1280, 1000, "screen", "light", "wide"),
        (1280, 1000, "screen", "dark", "dark"),
        (800, 1000, "screen", "light", "tablet"),
        (390, 844, "screen", "light", "phone"),
        (390, 844, "screen", "dark", "phone-dark"),
        (320, 700, "screen", "light", "small"),
        (780, 1100, "print", "dark", "print"),
    ] {
        browser.resize(width, height);
        browser.media(media, scheme);
        browser.go_to_file(&page);
        let fits = browser.run("return document.documentElement.scrollWidth <= innerWidth");
        assert_eq!(fits, true, "{name}");
        if let Ok(pictures) = std::env::var("AW_PICTURES") {
            fs::write(Path::new(&pictures).join(format!("{name}.png.base64")), browser.picture())
                .unwrap();
        }
    }
    let text = browser.run("return getComputedStyle(document.querySelector('.tools')).display");
    assert_eq!(text, "none", "no controls on paper");
}

/// With ten thousand devices over a month, the page is no larger than it must be, filters and sorts.
#[test]
fn a_page_of_ten_thousand_devices() {
    let directory = tempfile::tempdir().unwrap();
    make_logs(directory.path(), 10_000, 31);
    let page = report(directory.path(), &[]);
    let size = fs::metadata(&page).unwrap().len();
    assert!(size <= 15_000_000, "{size} bytes");
    let mut browser = Browser::open(1280, 1000);
    browser.go_to_file(&page);
    let all = names(&mut browser);
    assert!(all.len() > 9_000, "{}", all.len());
    browser.run("document.querySelector('th[data-k=name] button').click()");
    assert_ne!(names(&mut browser)[0], all[0], "it is sorted");
    browser.type_into("input[type=search]", "kitchen");
    let few = |browser: &mut Browser| (101..1000).contains(&shown(browser, "''").len());
    wait_until("it is filtered", || few(&mut browser));
    browser.type_into("input[type=search]", " ");
    wait_until("all are shown", || shown(&mut browser, "''").len() == all.len());
}
