//! Real events, imported by the command: byte for byte, in the right streams, with the known answers, whatever
//! kills the import.
//!
//! The files are in the directory ANNALS_TEST_DATA; without it these tests say that they are skipped.
//! ANNALS_TEST_SEED repeats the moments of the kills of a run that failed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use annals::{Event, LogReader};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::common::{annals, over, run};

/// One of the files, how it is imported, and what must come of it.
pub struct Set {
    name: &'static str,
    options: &'static [&'static str],
    pub streams: u64,
    pub types: u64,
    /// An import is killed after so many milliseconds at most.
    kill_ms_max: f64,
    kills: u32,
}

pub const WIKIPEDIA: Set = Set {
    name: "wikipedia-edits",
    options: &["--stream", "{channel}/{page}", "--type", "edited", "--time", "time"],
    streams: 35_278,
    types: 1,
    kill_ms_max: 100.0,
    kills: 5,
};

pub const RETAIL: Set = Set {
    name: "online-retail",
    options: &["--stream", "customer-{CustomerID}", "--type", "sold", "--time", "InvoiceDate"],
    streams: 4_373,
    types: 1,
    kill_ms_max: 400.0,
    kills: 20,
};

pub const WEBHOOKS: Set = Set {
    name: "github-webhooks",
    options: &["--stream", "repo-{/payload/repository/full_name}", "--type", "{event}"],
    streams: 15,
    types: 64,
    kill_ms_max: 40.0,
    kills: 5,
};

/// The files; says so when there are none.
pub fn data(test: &str) -> Option<PathBuf> {
    let dir = std::env::var_os("ANNALS_TEST_DATA").map(PathBuf::from);
    if dir.is_none() {
        // Not by `eprintln`, which would only be shown if the test failed.
        let skipped = format!("\n{test}: SKIPPED, ANNALS_TEST_DATA names no directory with the real events\n");
        let _ = std::io::stderr().write_all(skipped.as_bytes());
    }
    dir
}

impl Set {
    fn answers(&self, data: &Path) -> Value {
        let path = data.join(format!("{}.answers.json", self.name));
        serde_json::from_slice(&std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
            .unwrap()
    }

    /// The lines of the file, each without its LF.
    pub fn lines(&self, data: &Path) -> Vec<Vec<u8>> {
        let file = std::fs::File::open(data.join(format!("{}.ndjson.zst", self.name))).unwrap();
        let plain = zstd::decode_all(file).unwrap();
        let lines = plain.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n');
        lines.map(<[u8]>::to_vec).collect()
    }

    pub fn import(&self, data: &Path, log: &Path) -> Command {
        let mut command = annals(["import"]);
        command.arg(log).arg(data.join(format!("{}.ndjson.zst", self.name))).args(self.options);
        command
    }

    /// Every event of the log is a line of the file, all are there, once, in order, in the right streams.
    fn assert_whole(&self, answers: &Value, log: &Path) {
        let mut cat = over(log, "cat", &["-o", "raw"]).spawn().unwrap();
        let mut stdout = cat.stdout.take().unwrap();
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match stdout.read(&mut buffer).unwrap() {
                0 => break,
                bytes => hash.update(&buffer[..bytes]),
            }
        }
        assert!(cat.wait().unwrap().success());
        assert_eq!(hex(hash), answers["sha256_of_ndjson"]);
        let stat = run(over(log, "stat", &["--json"])).exits(0).json();
        assert_eq!(stat["events"], answers["events"]);
        assert_eq!((&stat["streams"], &stat["types"]), (&self.streams.into(), &self.types.into()));
    }
}

/// The log comes back through `export | import`.
fn assert_comes_back(log: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let mut export = over(log, "export", &[]).stderr(Stdio::null()).spawn().unwrap();
    let mut import = over(dir.path(), "import", &["-", "--format", "envelope"]);
    import.stdin(export.stdout.take().unwrap());
    run(import).exits(0);
    assert!(export.wait().unwrap().success());
    let mut same = annals(["same"]);
    same.arg(log).arg(dir.path());
    run(same).exits(0);
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The digest of a projection: fields joined by TAB, rows ended by LF and sorted by their bytes.
fn digest(rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut rows: Vec<String> = rows.map(|fields| fields.join("\t") + "\n").collect();
    rows.sort_unstable();
    let mut hash = Sha256::new();
    rows.iter().for_each(|row| hash.update(row));
    hex(hash)
}

fn row<const N: usize>(fields: [&dyn Display; N]) -> Vec<String> {
    fields.iter().map(ToString::to_string).collect()
}

/// A projection with known answers.
trait Fold: Default {
    fn take(&mut self, event: &Event);
    fn answer(&self) -> Value;
}

/// Imports a set, reads it back, and compares the fold with the answers wherever they are known.
fn imports_whole<F: Fold>(set: &Set, data: &Path) -> (tempfile::TempDir, F) {
    let answers = set.answers(data);
    let dir = tempfile::tempdir().unwrap();
    run(set.import(data, dir.path())).exits(0);
    set.assert_whole(&answers, dir.path());
    run(set.import(data, dir.path())).exits(0).says("nothing new");
    set.assert_whole(&answers, dir.path());
    let (mut fold, mut compared) = (F::default(), 0);
    for (event, n) in LogReader::open(dir.path()).unwrap().read(..).zip(1u64..) {
        fold.take(&event.unwrap());
        if let Some(expected) = answers["after_n_events"].get(n.to_string()) {
            assert_eq!(fold.answer(), *expected, "{} after {n} events", set.name);
            compared += 1;
        }
    }
    let known = answers["after_n_events"].as_object().map_or(0, serde_json::Map::len);
    assert_eq!(compared, known, "all answers were compared");
    assert_comes_back(dir.path());
    (dir, fold)
}

#[derive(Default)]
struct Wikipedia {
    added: i64,
    deleted: i64,
    delta: i64,
    pages: HashMap<(String, String), (u64, i64, String, String)>,
    users: HashMap<String, (u64, i64, i64)>,
    channels: HashMap<String, (u64, i64, i64, i64)>,
}

#[derive(Deserialize)]
struct Edit {
    time: String,
    channel: String,
    page: String,
    user: String,
    added: i64,
    deleted: i64,
    delta: i64,
}

impl Fold for Wikipedia {
    fn take(&mut self, event: &Event) {
        let edit: Edit = event.json().unwrap();
        assert_eq!(event.stream(), format!("{}/{}", edit.channel, edit.page));
        self.added += edit.added;
        self.deleted += edit.deleted;
        self.delta += edit.delta;
        let user = self.users.entry(edit.user.clone()).or_default();
        *user = (user.0 + 1, user.1 + edit.added, user.2 + edit.deleted);
        let channel = self.channels.entry(edit.channel.clone()).or_default();
        *channel = (channel.0 + 1, channel.1 + edit.added, channel.2 + edit.deleted, channel.3 + edit.delta);
        let page = self.pages.entry((edit.channel, edit.page)).or_default();
        *page = (page.0 + 1, page.1 + edit.delta, edit.time, edit.user);
        assert_eq!(event.version().raw() + 1, page.0);
    }

    fn answer(&self) -> Value {
        serde_json::json!({
            "added": self.added,
            "deleted": self.deleted,
            "delta": self.delta,
            "distinct_channel_and_page": self.pages.len(),
            "distinct_user": self.users.len(),
            "distinct_channel": self.channels.len(),
            "digest_pages(channel,page,events,sum_delta,last_time,last_user)":
                digest(self.pages.iter().map(|((c, p), v)| row([c, p, &v.0, &v.1, &v.2, &v.3]))),
            "digest_users(user,events,sum_added,sum_deleted)":
                digest(self.users.iter().map(|(u, v)| row([u, &v.0, &v.1, &v.2]))),
            "digest_channels(channel,events,sum_added,sum_deleted,sum_delta)":
                digest(self.channels.iter().map(|(c, v)| row([c, &v.0, &v.1, &v.2, &v.3]))),
        })
    }
}

#[derive(Default)]
struct Retail {
    quantity: i64,
    amount: i64,
    customers: HashMap<u64, (u64, i64, i64, String)>,
    stock: HashMap<String, (u64, i64, i64, String)>,
    invoices: HashMap<String, (u64, i64, i64)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Sold {
    invoice_no: String,
    stock_code: String,
    quantity: i64,
    invoice_date: String,
    unit_price: f64,
    #[serde(rename = "CustomerID")]
    customer: Option<u64>,
}

impl Fold for Retail {
    fn take(&mut self, event: &Event) {
        let sold: Sold = event.json().unwrap();
        let price = (sold.unit_price * 1000.0).round() as i64;
        let amount = price * sold.quantity;
        self.quantity += sold.quantity;
        self.amount += amount;
        match sold.customer {
            None => assert_eq!(event.stream(), "customer-"),
            Some(customer) => {
                assert_eq!(event.stream(), format!("customer-{customer}"));
                let known = self.customers.entry(customer).or_default();
                *known = (known.0 + 1, known.1 + sold.quantity, known.2 + amount, sold.invoice_no.clone());
                assert_eq!(event.version().raw() + 1, known.0);
            }
        }
        let stock = self.stock.entry(sold.stock_code).or_default();
        *stock = (stock.0 + 1, stock.1 + sold.quantity, price, sold.invoice_date);
        let invoice = self.invoices.entry(sold.invoice_no).or_default();
        *invoice = (invoice.0 + 1, invoice.1 + sold.quantity, invoice.2 + amount);
    }

    fn answer(&self) -> Value {
        let (sign, amount) = (if self.amount < 0 { "-" } else { "" }, self.amount.abs());
        serde_json::json!({
            "quantity": self.quantity,
            "amount": format!("{sign}{}.{:03}", amount / 1000, amount % 1000),
            "distinct_CustomerID": self.customers.len(),
            "distinct_StockCode": self.stock.len(),
            "distinct_InvoiceNo": self.invoices.len(),
            "digest_customers(CustomerID,lines,sum_quantity,sum_amount_thousandths,last_InvoiceNo)":
                digest(self.customers.iter().map(|(c, v)| row([c, &v.0, &v.1, &v.2, &v.3]))),
            "digest_stock(StockCode,lines,net_quantity,last_price_thousandths,last_InvoiceDate)":
                digest(self.stock.iter().map(|(s, v)| row([s, &v.0, &v.1, &v.2, &v.3]))),
            "digest_invoices(InvoiceNo,lines,sum_quantity,sum_amount_thousandths)":
                digest(self.invoices.iter().map(|(i, v)| row([i, &v.0, &v.1, &v.2]))),
        })
    }
}

#[derive(Default)]
struct Webhooks {
    names: BTreeMap<String, (u64, BTreeSet<String>)>,
    releases: BTreeMap<String, u64>,
    repositories: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Delivery {
    release: String,
    event: String,
    #[allow(dead_code)] // it has to be there
    payload: IgnoredAny,
}

impl Fold for Webhooks {
    fn take(&mut self, event: &Event) {
        let delivery: Delivery = event.json().unwrap();
        assert_eq!(event.event_type(), delivery.event);
        let name = self.names.entry(delivery.event).or_default();
        name.0 += 1;
        name.1.insert(delivery.release.clone());
        *self.releases.entry(delivery.release).or_default() += 1;
        let repository = event.stream().strip_prefix("repo-").unwrap().to_owned();
        let count = self.repositories.entry(repository).or_default();
        assert_eq!(event.version().raw(), *count);
        *count += 1;
    }

    fn answer(&self) -> Value {
        let per_name: BTreeMap<_, _> = self.names.iter().map(|(name, v)| (name, v.0)).collect();
        serde_json::json!({
            "events_per_name": per_name,
            "events_per_release": self.releases,
            "digest_names(event,events,releases)":
                digest(self.names.iter().map(|(name, v)| row([name, &v.0, &v.1.len()]))),
        })
    }
}

#[test]
fn wikipedia_edits_come_back_whole_and_give_the_known_answers() {
    let Some(data) = data("wikipedia-edits") else { return };
    let (_dir, fold) = imports_whole::<Wikipedia>(&WIKIPEDIA, &data);
    assert_eq!(fold.pages.len(), 35_278);
}

#[test]
fn online_retail_comes_back_whole_and_gives_the_known_answers() {
    let Some(data) = data("online-retail") else { return };
    let (_dir, fold) = imports_whole::<Retail>(&RETAIL, &data);
    assert_eq!(fold.customers.len(), 4_372);
}

#[test]
fn github_webhooks_come_back_whole_and_give_the_known_answers() {
    let Some(data) = data("github-webhooks") else { return };
    let (_dir, fold) = imports_whole::<Webhooks>(&WEBHOOKS, &data);
    let answers = WEBHOOKS.answers(&data);
    for (name, value) in fold.answer().as_object().unwrap() {
        assert_eq!(*value, answers[name], "{name}");
    }
    for repository in answers["top_repositories"].as_array().unwrap() {
        assert_eq!(repository[1], fold.repositories[repository[0].as_str().unwrap()]);
    }
}

/// Another seed for each run, unless ANNALS_TEST_SEED gives it.
pub fn seed() -> u64 {
    let seed = std::env::var("ANNALS_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(0));
    // Shown when the test fails.
    println!("ANNALS_TEST_SEED={seed}");
    seed
}

/// Moments to kill at, from one seed (splitmix64).
struct Moments(u64);

impl Moments {
    fn new() -> Self {
        Moments(seed())
    }

    /// From the first millisecond on; early ones as often as late ones, by their magnitude.
    fn next(&mut self, ms_max: f64) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let part = ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64;
        Duration::from_secs_f64(ms_max.powf(part) / 1000.0)
    }
}

/// A killed writer leaves nothing that is damaged; before it has made the log, it leaves no log.
fn assert_left_sound(log: &Path) {
    run(over(log, "verify", &[])).exits(if log.exists() { 0 } else { 3 });
}

/// Kills an import again and again; each next run goes on where the killed one was. One that is quicker than
/// its kill has to be whole, and makes room for a new log.
fn survives_kills(set: &Set, data: &Path) {
    let answers = set.answers(data);
    let dir = tempfile::tempdir().unwrap();
    let mut moments = Moments::new();
    let mut logs = 0;
    let mut log = dir.path().join("0");
    let mut kills = 0;
    while kills < set.kills {
        let moment = moments.next(set.kill_ms_max);
        let mut import = set.import(data, &log).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(moment);
        let _ = import.kill();
        let ended = import.wait().unwrap();
        if ended.signal().is_some() {
            kills += 1;
            println!("killed after {moment:?}");
            assert_left_sound(&log);
        } else {
            assert!(ended.success(), "{ended}");
            set.assert_whole(&answers, &log);
            std::fs::remove_dir_all(&log).unwrap();
            logs += 1;
            assert!(logs < 1000, "imports are quicker than all kills");
            log = dir.path().join(logs.to_string());
        }
    }
    run(set.import(data, &log)).exits(0);
    set.assert_whole(&answers, &log);
    assert_left_sound(&log);
}

#[test]
fn wikipedia_edits_survive_kills() {
    let Some(data) = data("wikipedia-edits, killed") else { return };
    survives_kills(&WIKIPEDIA, &data);
}

#[test]
fn online_retail_survives_kills() {
    let Some(data) = data("online-retail, killed") else { return };
    survives_kills(&RETAIL, &data);
}

#[test]
fn github_webhooks_survive_kills() {
    let Some(data) = data("github-webhooks, killed") else { return };
    survives_kills(&WEBHOOKS, &data);
}
