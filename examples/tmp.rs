use std::path::PathBuf;
use std::time::Duration;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    tidegate::telemetry::logging::init("info", tidegate::telemetry::logging::Format::Text, false);
    let state = PathBuf::from(&a[3]);
    let mut es = tidegate::sink::elastic::Config::new(
        vec![a[2].clone()],
        tidegate::sink::dead_letter::Config {
            dir: state.join("dl"),
            lane: "elasticsearch".into(),
            max_size: 1 << 26,
            when_full: tidegate::sink::dead_letter::WhenFull::Hold,
        },
    );
    if let Some(l) = std::env::var("LVL").ok() {
        es.compression = l.parse().unwrap();
    }
    let c = tidegate::agent::Config {
        cluster: "c".into(),
        node: "n".into(),
        sources: vec![tidegate::source::tail::SourceConfig {
            path: a[1].clone().into(),
            rotated: None,
            start: Default::default(),
        }],
        max_line: 1 << 20,
        state_dir: state,
        listen: None,
        deadline: Duration::from_secs(20),
        batch_age: Duration::from_secs(1),
        once: Some(Duration::from_secs(60)),
        elasticsearch: Some(es),
    };
    let ag = tidegate::agent::Agent::start(c, &Default::default(), Default::default(), Default::default()).unwrap();
    let ends = ag.join();
    println!("{ends:?}");
    println!(
        "{}",
        std::fs::read_to_string("/proc/self/status")
            .unwrap()
            .lines()
            .filter(|l| l.starts_with("VmHWM"))
            .next()
            .unwrap()
    );
}
