use super::*;

#[test]
fn kinds_of_failures() {
    let same = |a, b| kind(a) == kind(b);
    assert!(same("exit status: 1: 10:00:01 no way", "exit status: 1: 11:30:00 no way"));
    assert!(!same("exit status: 126: no", "exit status: 127: no"));
    assert!(!same("no such file or directory", "permission denied"));
}

#[test]
fn texts_for_a_shell() {
    let hook = |text: &str| HookCommand {
        words: text.split(' ').map(str::to_owned).collect(),
        is_text: true,
    };
    for text in ["on-change r5 | mail noc", "a > /tmp/x", "a; b", "echo \"a b\"", "a && b"] {
        let why = hook(text).shell_text().expect(text);
        assert!(why.contains("no shell runs it") && why.contains("\"/bin/sh\", \"-c\""), "{why}");
    }
    assert_eq!(hook("curl http://192.0.2.1/?a=b&c=d").shell_text(), None);
    let list = HookCommand { words: vec!["/bin/sh".into(), "a | b".into()], is_text: false };
    assert_eq!(list.shell_text(), None);
}

/// Another cause is reported too, and each names hook, router and remedy.
#[test]
fn another_cause_of_a_failure() {
    let (to, _events) = sync_channel(1);
    let (send, results) = channel();
    let hooks = Hooks {
        to,
        waiting: Arc::default(),
        results: Mutex::new(results),
        names: vec!["/x/hook".into()],
        faults: Mutex::default(),
    };
    let reports = |failure: Option<&str>| {
        let failure = failure.map(str::to_owned);
        send.send(HookResult { hook: 0, router: "core1".into(), is_looked_for: false, failure })
            .unwrap();
        let reports = hooks.reports();
        reports.into_iter().map(|one| (one.subject, one.text)).collect::<Vec<_>>()
    };
    for (why, remedy) in [
        ("no such file or directory", "create it"),
        ("permission denied", "chmod +x /x/hook"),
        ("exit status: 3: no luck", "try it, without the limits of the unit: sudo -u "),
        (
            "exit status: 2: cannot create /var/log/x: Read-only file system",
            "the unit lets hooks write only where aw-routeros may: ",
        ),
    ] {
        let [(subject, text)] = &*reports(Some(why)) else { panic!("{why}") };
        assert_eq!(subject, "hook /x/hook fails");
        let begin = format!("hook /x/hook: {why}; at a change of core1 ({remedy}");
        assert!(text.starts_with(&begin), "{text}");
        assert_eq!(reports(Some(why)), []);
        assert_eq!(hooks.failing(), [format!("hook /x/hook fails: {why}")]);
    }
    let [(subject, _)] = &*reports(None) else { panic!() };
    assert_eq!(subject, "hook /x/hook works again");
    assert!(hooks.failing().is_empty() && reports(None).is_empty());
}

/// What an earlier process mailed is known: it is no news, and has its end. A program that is found ends only that it was not.
#[test]
fn failures_of_an_earlier_process() {
    let (to, _events) = sync_channel(1);
    let (send, results) = channel();
    let names = ["/x/a", "/x/b", "/x/b"].map(str::to_owned).to_vec();
    let (results, faults) = (Mutex::new(results), Mutex::default());
    let hooks = Hooks { to, waiting: Arc::default(), results, names, faults };
    let known = ["a fails: no such file or directory", "b fails: exit status: 1: no luck"];
    let known = known.map(|text| format!("hook /x/{text}")).to_vec();
    let gone = vec!["hook /x/c fails: permission denied".to_owned(), ENDED.to_owned()];
    assert_eq!(hooks.restore([&*known, &*gone].concat()), gone);
    assert_eq!(hooks.failing(), known);
    let result = |hook, is_looked_for, failure: Option<&str>| {
        let (router, failure) = (String::new(), failure.map(str::to_owned));
        send.send(HookResult { hook, router, is_looked_for, failure }).unwrap();
        hooks.reports().into_iter().map(|one| one.subject).collect::<Vec<_>>()
    };
    assert_eq!(result(0, true, None), ["hook /x/a works again"]);
    assert!(result(1, true, None).is_empty() && result(2, true, None).is_empty());
    assert!(result(1, false, Some("exit status: 1: no luck")).is_empty());
    assert_eq!(result(1, false, None), ["hook /x/b works again"]);
    assert!(hooks.failing().is_empty());
}

#[test]
fn commands() {
    let parse = |text: &str| {
        let value: toml::Value = toml::from_str(&format!("hook = {text}")).unwrap();
        value["hook"].clone().try_into::<HookCommand>().map(|command| command.words)
    };
    assert_eq!(parse("\"git push\"").unwrap(), ["git", "push"]);
    assert_eq!(parse("[\"/bin/sh\", \"-c\", \"a b\"]").unwrap(), ["/bin/sh", "-c", "a b"]);
    for text in ["\"\"", "[]", "\"./x\"", "\"bin/x\""] {
        assert!(parse(text).unwrap_err().to_string().contains("absolute path"), "{text}");
    }
}
