//! Whether the ledger's pages say what its records say.

use super::audit::Audit;
use super::finding::{Finding, FindingKind};
use crate::ledger::page::{PAGE_MAX_BYTES, PAGES_PREFIX, page_end, page_of_key, read_page};
use crate::model::{ObjectKey, Seq};
use anyhow::Result;

impl Audit {
    /// Compares every page with the records, which were read themselves. A page that is missing is no finding: it is a copy.
    ///
    /// # Errors
    /// When the pages cannot be listed, or the index cannot be read.
    pub async fn check_pages(&mut self) -> Result<()> {
        let mut after: Option<ObjectKey> = None;
        loop {
            let listing = self.store().list(PAGES_PREFIX, after.as_ref()).await?;
            for (key, _) in &listing.objects {
                let Some(first) = page_of_key(key) else {
                    continue;
                };
                self.pages += 1;
                if let Some(wrong) = self.wrong_page(key, first).await? {
                    let finding = Finding::new(FindingKind::Page, wrong);
                    self.findings.push(finding.record(first).object(key));
                }
            }
            match listing.objects.into_iter().next_back() {
                Some((last, _)) if listing.more => after = Some(last),
                _ => return Ok(()),
            }
        }
    }

    /// What is wrong with a page.
    async fn wrong_page(&self, key: &ObjectKey, first: Seq) -> Result<Option<String>> {
        let mut newest = self.state().last_seq;
        if page_end(first) > newest {
            // Whoever archives may have made it, and its records, since the ledger was followed.
            self.follow_on().await?;
            newest = self.index().state()?.map_or(newest, |now| now.last_seq);
        }
        if page_end(first) > newest {
            return Ok(Some(format!(
                "{key} holds records after the newest one, {newest}: records were removed from the bucket, or it is no page of this ledger; \
                 restore what is missing from a copy"
            )));
        }
        let bytes = match self.store().get_all(key, PAGE_MAX_BYTES).await {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Some(error.to_string())),
        };
        let lines = match read_page(first, &bytes) {
            Ok(lines) => lines,
            Err(error) => {
                return Ok(Some(format!(
                    "{error}; readers pass it by and read the records, which takes longer"
                )));
            }
        };
        for line in &lines {
            match self.index().line(line.seq())? {
                Some(text) if text == line.text() => {}
                Some(_) => {
                    return Ok(Some(format!(
                        "{key} differs from ledger record {}, which counts",
                        line.seq()
                    )));
                }
                None => {
                    return Ok(Some(format!(
                        "ledger record {} cannot be read, and {key} has it: restore the record from there",
                        line.seq()
                    )));
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::page::{PAGE_RECORDS, page_key, write_page};
    use crate::ledger::testing;
    use crate::ledger::{Line, record_key};
    use crate::store::{MemoryStore, SharedStore};
    use crate::stream;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_page_that_is_made_while_the_ledger_is_looked_over_is_no_finding() {
        let memory = MemoryStore::new();
        let shared: SharedStore = Arc::new(memory.clone());
        let begun = stream::create(&shared, &testing::stream_file()).await;
        begun.expect("creates");
        let lines: Vec<Line> = testing::chain(PAGE_RECORDS).collect();
        let (last, before) = lines.split_last().expect("a page of records");
        let create = |line: &Line| memory.tamper(&record_key(line.seq()), line.stored());
        before.iter().for_each(create);
        let mut audit = Audit::open(&shared, Vec::new()).await.expect("opens");
        let page = write_page(&lines).expect("a page");
        memory.tamper(&page_key(Seq(1)), page);
        audit.check_pages().await.expect("compares");
        let [finding] = &audit.findings[..] else {
            panic!("{:?}", audit.findings)
        };
        assert!(
            finding.detail.contains("after the newest one, 999"),
            "{finding}"
        );
        audit.findings.clear();
        create(last);
        audit.check_pages().await.expect("compares");
        assert_eq!(audit.findings, []);
    }
}
