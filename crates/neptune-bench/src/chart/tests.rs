//! Every kind of chart is drawn, is well-formed XML, and says what it was told to say.

use super::*;

fn bars() -> Chart {
    let group = |name: &str, values: &[f64]| BarGroup {
        name: name.to_owned(),
        values: values.to_vec(),
    };
    Chart::Bars(BarChart {
        name: "preempt-latency".to_owned(),
        title: "Probe latency beside a batch load".to_owned(),
        subtitle: "TPC-H SF 1, a probe every 20 ms, 2 slots, 30 s per design".to_owned(),
        series: ["p50", "p90", "p99", "p99.9", "max"]
            .map(str::to_owned)
            .to_vec(),
        groups: vec![
            group("alone", &[1.5, 1.8, 2.1, 3.0, 3.6]),
            group("shared_runtime", &[1.6, 5.0, 33.0, 512.0, 724.0]),
            group("two_runtimes", &[1.5, 3.0, 5.4, 8.8, 9.5]),
            group("os_only", &[1.5, 2.5, 4.5, 7.0, 9.1]),
            group("coroutine_only", &[1.7, 3.2, 9.0, 40.0, 48.0]),
            group("fifo <&> fair", &[1.5, 0.0, f64::NAN, 2.0, 2.0]),
            group("neptune", &[1.3, 1.4, 1.5, 1.9, 2.0]),
        ],
    })
}

fn curve(name: &str, middle: f64, tail: f64, samples: u32) -> Curve {
    let points = (1..=samples).map(|n| {
        let share = f64::from(n) / f64::from(samples);
        let left = (1.0 - share).max(1e-4);
        (
            middle * (1.0 + 0.1 * share) + tail * (1e-4 / left).sqrt(),
            share,
        )
    });
    Curve {
        name: name.to_owned(),
        points: points.collect(),
        samples: samples.into(),
        emphasis: name == "neptune",
    }
}

fn cdf() -> Chart {
    let names = [
        "alone",
        "shared_runtime",
        "two_runtimes",
        "os_only",
        "coroutine_only",
        "fifo",
        "fair",
        "static",
        "priority",
        "kill",
        "neptune",
    ];
    let curves = names.iter().enumerate().map(|(index, name)| {
        let index = index as f64;
        curve(
            name,
            1.3 + 0.1 * index,
            5.0 * (index + 0.2) * (index + 0.2),
            3000,
        )
    });
    Chart::Cdf(CdfChart {
        name: "preempt-distribution".to_owned(),
        title: "Distribution of probe latencies".to_owned(),
        subtitle: "TPC-H SF 1, a probe every 20 ms, 2 slots, 30 s per design".to_owned(),
        curves: curves.collect(),
    })
}

fn ratios() -> Chart {
    let ratio = |number: u32| {
        let median = 1.0 + f64::from((number * 37) % 23) * 6e-4 - 0.003;
        Ratio {
            name: format!("q{number:02}"),
            median,
            range: (median - 0.004, median + 0.003),
        }
    };
    Chart::Ratios(RatioChart {
        name: "overhead".to_owned(),
        title: "What gates and yield nodes cost".to_owned(),
        subtitle: "TPC-H SF 1, median and range of 20 interleaved pairs".to_owned(),
        axis: "time over plain DataFusion".to_owned(),
        ratios: (1..=22).map(ratio).collect(),
        target: Some(Target {
            ratio: 1.01,
            label: "target: at most +1 %".to_owned(),
        }),
    })
}

/// Refuses text that is not well-formed XML: tags must nest and every `<` and `&` must mean something.
fn check_xml(text: &str) -> Result<usize, String> {
    let mut open = Vec::new();
    let mut elements = 0;
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        check_references(&rest[..start])?;
        let end = rest[start..].find('>').ok_or("a tag does not end")? + start;
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if tag.starts_with('?') || tag.starts_with('!') {
            continue;
        }
        if !tag.matches('"').count().is_multiple_of(2) || tag.contains('<') {
            return Err(format!("broken tag <{tag}>"));
        }
        let name = |tag: &str| tag.split_whitespace().next().unwrap_or("").to_owned();
        if let Some(closed) = tag.strip_prefix('/') {
            let opened = open.pop();
            if opened.as_deref() != Some(closed.trim()) {
                return Err(format!("</{closed}> closes {opened:?}"));
            }
        } else {
            elements += 1;
            check_references(tag)?;
            if !tag.ends_with('/') {
                open.push(name(tag));
            }
        }
    }
    check_references(rest)?;
    if open.is_empty() {
        Ok(elements)
    } else {
        Err(format!("never closed: {open:?}"))
    }
}

fn check_references(text: &str) -> Result<(), String> {
    for (at, _) in text.match_indices('&') {
        let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&apos;", "&#"];
        if !known
            .iter()
            .any(|reference| text[at..].starts_with(reference))
        {
            return Err(format!("a bare & in {text:?}"));
        }
    }
    Ok(())
}

#[test]
fn the_xml_check_refuses_what_is_broken() {
    assert_eq!(check_xml("<a x=\"1\"><b/>t &amp; u</a>\n"), Ok(2));
    for bad in ["<a>", "<a></b>", "<a>&</a>", "<a x=\"1></a>", "<a", "</a>"] {
        assert!(check_xml(bad).is_err(), "{bad}");
    }
}

#[test]
fn charts_are_written_as_well_formed_svg_with_their_texts() {
    let temporary = tempfile::tempdir().unwrap();
    // A person who wants to look at them names a directory.
    let dir = std::env::var_os("NEPTUNE_CHARTS");
    let dir = dir.map_or_else(|| temporary.path().join("charts"), PathBuf::from);
    let texts: [(Chart, &[&str]); 3] = [
        (
            bars(),
            &[
                "shared_runtime",
                "Probe latency",
                "p99.9",
                "724 ms",
                "fifo &lt;&amp;&gt; fair",
            ],
        ),
        (cdf(), &["neptune", "99.9 %", "kill", "latency"]),
        (
            ratios(),
            &["q22", "target: at most +1 %", "time over plain DataFusion"],
        ),
    ];
    for (chart, texts) in texts {
        let path = chart.write(&dir).unwrap();
        assert_eq!(path, dir.join(format!("{}.svg", chart.name())));
        let svg = fs::read_to_string(&path).unwrap();
        let elements = check_xml(&svg).unwrap();
        assert!(svg.contains("<svg") && elements > 50, "{elements} elements");
        for text in texts {
            assert!(svg.contains(text), "{text:?} is not in {}", path.display());
        }
    }
}

#[test]
fn a_chart_of_nothing_is_an_error() {
    let Chart::Bars(mut bars) = bars() else {
        unreachable!()
    };
    for group in &mut bars.groups {
        group.values = vec![0.0, f64::NAN];
    }
    let error = Chart::Bars(bars.clone()).svg().unwrap_err().to_string();
    assert!(
        error.contains("preempt-latency") && error.contains("no figures"),
        "{error}"
    );
    bars.groups.clear();
    assert!(Chart::Bars(bars).svg().is_err());
}

#[test]
fn an_unwritable_directory_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = bars().write(file.path()).unwrap_err().to_string();
    assert!(
        error.contains(&file.path().display().to_string()),
        "{error}"
    );
}
