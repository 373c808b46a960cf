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
        let newest = self.state().last_seq;
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
