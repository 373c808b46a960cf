//! What an import found and did, for people and for programs.

use crate::cli::exit::Exit;
use crate::cli::{Global, output};
use crate::model::{FileName, StoreUrl};
use crate::sync::import::{Compared, Findings, Imported, Left, Life, Order, Pile, Placed};
use crate::sync::plan::Seen;
use anyhow::Result;
use serde_json::{Value, json};

/// All there is to say.
pub struct Report<'a> {
    from: String,
    to: &'a StoreUrl,
    findings: &'a Findings,
    order: &'a Order,
    /// What was done; nothing yet.
    pub imported: Option<Imported>,
}

impl<'a> Report<'a> {
    pub fn new(
        pile: &Pile,
        to: &'a StoreUrl,
        findings: &'a Findings,
        order: &'a Order,
    ) -> Report<'a> {
        Report {
            from: pile.describe(),
            to,
            findings,
            order,
            imported: None,
        }
    }

    /// Nothing can be imported.
    pub fn is_empty(&self) -> bool {
        self.order.lives.is_empty()
    }

    /// What there is beside what can be imported, counted.
    pub fn what_else(&self) -> String {
        let mut told = vec![format!(
            "{} refused",
            output::count(self.refused().count() as u64, "file")
        )];
        told.push(format!(
            "{} of another kind",
            output::count(self.findings.foreign.len() as u64, "file")
        ));
        if let Some(placed) = &self.order.unfinished {
            told.push(format!(
                "{} may still be written to; --final takes it",
                placed.found.item.path
            ));
        }
        told.join(", ")
    }

    fn refused(&self) -> impl Iterator<Item = &Left> {
        self.findings.refused.iter().chain(&self.order.nameless)
    }

    fn holes(&self) -> impl Iterator<Item = FileName> {
        self.order.lives.iter().flat_map(Life::holes)
    }

    /// Of a cut copy nothing is taken, where the stream has more: what is wrong with it is no finding.
    fn exit(&self, surpassed: &[String]) -> Exit {
        let imported = self.imported.as_ref();
        let outcome = imported.map(|imported| &imported.outcome);
        let damaged = { self.order.files() }.any(|file| {
            file.found.summary.damage.is_some() && !surpassed.contains(&file.found.item.path)
        });
        if outcome.is_some_and(|outcome| !outcome.orphans_left.is_empty()) {
            Exit::Failed
        } else if damaged
            || self.holes().next().is_some()
            || self.refused().next().is_some()
            || imported.is_some_and(|imported| imported.flaws > 0)
        {
            Exit::Findings
        } else {
            Exit::Done
        }
    }

    /// Prints what an import would do.
    pub fn print_plan(&self, global: &Global, compared: &Compared) -> Result<Exit> {
        if global.json {
            let mut document = self.json();
            document["order"] = self.order_json(compared);
            document["already_archived"] = json!(compared.archived());
            document["surpassed"] = json!(compared.surpassed);
            output::print_json(&document)?;
            return Ok(self.exit(&compared.surpassed));
        }
        let mut rows = Vec::new();
        for (n, (life, seen)) in self.order.lives.iter().zip(&compared.lives).enumerate() {
            add_rows(n + 1, life, (seen, &compared.surpassed), &mut rows);
        }
        let header = ["LIFE", "FILE", "SIZE", "STORED", "BEGINS", "STATE", "PATH"];
        output::print(&output::table(&header, &[0, 2], rows))?;
        let mut left = Vec::new();
        for dropped in &self.order.dropped {
            let why = format!("{} {}", dropped.why.told(), dropped.of);
            left.push(vec!["copy".to_owned(), dropped.path.clone(), why]);
        }
        for path in &compared.surpassed {
            let why = "the stream has more of it".to_owned();
            left.push(vec!["copy".to_owned(), path.clone(), why]);
        }
        if let Some(placed) = &self.order.unfinished {
            left.push(vec![
                "unfinished".to_owned(),
                placed.found.item.path.clone(),
                UNFINISHED.to_owned(),
            ]);
        }
        let rest = [
            ("refused", self.refused().collect::<Vec<_>>()),
            ("foreign", self.findings.foreign.iter().collect()),
        ];
        for (what, files) in rest {
            left.extend(
                files
                    .into_iter()
                    .map(|file| vec![what.to_owned(), file.path.clone(), file.reason.clone()]),
            );
        }
        if !left.is_empty() {
            let table = output::table(&["LEFT OUT", "PATH", "WHY"], &[], left);
            output::print(&format!("\n{table}"))?;
        }
        Ok(self.exit(&compared.surpassed))
    }

    /// Prints what an import did.
    pub fn print(&self, global: &Global, unencrypted: bool) -> Result<Exit> {
        let Some(imported) = &self.imported else {
            return Ok(Exit::Failed);
        };
        let outcome = &imported.outcome;
        if let [first, ..] = outcome.orphans_left.as_slice() {
            eprintln!(
                "binlogfs: {} of interrupted uploads cannot be removed ({first}): this account may not delete. Grant it that below segments/ and run again, \
                 or let somebody remove what 'binlogfs verify --orphans' lists",
                output::count(outcome.orphans_left.len() as u64, "object")
            );
        }
        if global.json {
            let mut document = self.json();
            let archived = outcome
                .archived
                .iter()
                .map(|(file, seq)| json!({ "file": file, "seq": seq }));
            document["archived"] = archived.collect();
            document["already_archived"] = json!(imported.already + outcome.by_another);
            document["surpassed"] = json!(imported.surpassed);
            document["bytes"] = json!(outcome.bytes);
            document["stored_bytes"] = json!(outcome.stored_bytes);
            document["orphans_removed"] = json!(outcome.orphans_removed);
            document["orphans_left"] = json!(outcome.orphans_left);
            document["damaged"] = json!(outcome.damaged);
            document["notices"] = json!(outcome.notices);
            output::print_json(&document)?;
            return Ok(self.exit(&imported.surpassed));
        }
        self.print_notes(imported, unencrypted);
        let already = match imported.already + outcome.by_another {
            0 => String::new(),
            already => format!(
                "; {} archived already",
                match already {
                    1 => "1 was".to_owned(),
                    many => format!("{many} were"),
                }
            ),
        };
        let text = match outcome.archived.as_slice() {
            [] => format!("imported 0 segments: nothing new{already}\n"),
            [(first, _), rest @ ..] => {
                let names = match rest {
                    [] => first.clone(),
                    [.., (last, _)] => format!("{first} to {last}"),
                };
                format!(
                    "imported {} ({names}): {} as {}{already}\n",
                    output::count(outcome.archived.len() as u64, "segment"),
                    output::size(outcome.bytes),
                    output::size(outcome.stored_bytes)
                )
            }
        };
        output::print(&text)?;
        Ok(self.exit(&imported.surpassed))
    }

    fn print_notes(&self, imported: &Imported, unencrypted: bool) {
        let note = |text: String| eprintln!("binlogfs: note: {text}");
        for dropped in &self.order.dropped {
            note(format!(
                "{} is {} {}: left out",
                dropped.path,
                dropped.why.told(),
                dropped.of
            ));
        }
        for path in &imported.surpassed {
            note(format!("{path}: the stream has more of it; left out"));
        }
        for left in self.refused() {
            note(format!("{} was not imported: {}", left.path, left.reason));
        }
        if !self.findings.foreign.is_empty() {
            let others = output::count(self.findings.foreign.len() as u64, "other file");
            note(format!(
                "left out, as no binlog: {others} in {}; --dry-run has the names",
                self.from
            ));
        }
        if let Some(placed) = &self.order.unfinished {
            note(format!(
                "{} is left out: {UNFINISHED}",
                placed.found.item.path
            ));
        }
        imported.outcome.notices.iter().cloned().for_each(note);
        if imported.outcome.archived.is_empty() {
            for hole in self.holes() {
                note(format!("{hole} is missing: a hole"));
            }
        } else if unencrypted {
            note(
                "stored without encryption; 'binlogfs keygen' makes a key for --recipient"
                    .to_owned(),
            );
        }
    }

    /// What is the same before and after.
    fn json(&self) -> Value {
        let left = |left: &Left| json!({ "path": left.path, "reason": left.reason });
        json!({
            "from": self.from,
            "to": self.to.to_string(),
            "holes": self.holes().collect::<Vec<_>>(),
            "copies": self.order.dropped,
            "refused": self.refused().map(left).collect::<Vec<_>>(),
            "foreign": self.findings.foreign.iter().map(left).collect::<Vec<_>>(),
            "unfinished": self.order.unfinished.as_ref().map(|placed| {
                json!({ "file": placed.name, "path": placed.found.item.path })
            }),
        })
    }

    fn order_json(&self, compared: &Compared) -> Value {
        let mut order = Vec::new();
        for (n, (life, seen)) in self.order.lives.iter().zip(&compared.lives).enumerate() {
            for placed in &life.files {
                let summary = &placed.found.summary;
                order.push(json!({
                    "life": n + 1,
                    "file": placed.name,
                    "path": placed.found.item.path,
                    "compression": placed.found.compression,
                    "size": summary.size,
                    "sha256": placed.found.sha256.to_string(),
                    "server_id": summary.server_id,
                    "server_version": summary.server_version,
                    "gtids": summary.gtids.to_string(),
                    "damaged": summary.damage,
                    "archived": seq_of(placed, seen),
                }));
            }
        }
        Value::Array(order)
    }
}

/// Why the newest file may be left out.
const UNFINISHED: &str = "it is the newest and ends in neither ROTATE nor STOP, so that its server may still write it; the archiver takes it when it is closed, or \
    --final now";

fn seq_of(placed: &Placed, seen: &[Seen]) -> Option<u64> {
    let own = |file: &&Seen| {
        file.listed.file == placed.name && file.head.head == placed.found.summary.head
    };
    Some(seen.iter().find(own)?.archived?.seq.0)
}

fn add_rows(
    n: usize,
    life: &Life,
    (seen, surpassed): (&[Seen], &[String]),
    rows: &mut Vec<Vec<String>>,
) {
    let mut holes = life.holes().peekable();
    for (placed, seen) in life.files.iter().zip(seen) {
        while let Some(hole) = holes.next_if(|hole| hole.number() < placed.name.number()) {
            let mut row = vec!["-".to_owned(); 7];
            (row[0], row[1], row[5]) = (n.to_string(), hole.to_string(), "hole".to_owned());
            rows.push(row);
        }
        let summary = &placed.found.summary;
        let is_surpassed = surpassed.contains(&placed.found.item.path);
        let state = match (seen.archived, &summary.damage) {
            _ if is_surpassed => "surpassed",
            (Some(_), _) => "archived",
            (None, Some(_)) => "damaged",
            (None, None) => "new",
        };
        rows.push(vec![
            n.to_string(),
            placed.name.to_string(),
            output::size(summary.size),
            placed.found.compression.name().to_owned(),
            output::time(Some(summary.created)),
            state.to_owned(),
            placed.found.item.path.clone(),
        ]);
    }
}
