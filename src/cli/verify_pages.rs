//! Whether the ledger's pages say what its records say.

use super::reading::Reading;
use super::verify::Report;
use crate::ledger::page::{PAGE_MAX_BYTES, PAGES_PREFIX, page_end, page_of_key, read_page};
use crate::model::{ObjectKey, Seq};
use anyhow::Result;

/// Compares every page with the records, which were read themselves. A page that is missing is no finding: it is a copy.
pub async fn check(reading: &Reading, report: &mut Report) -> Result<()> {
    let mut after: Option<ObjectKey> = None;
    loop {
        let listing = reading.store.list(PAGES_PREFIX, after.as_ref()).await?;
        for (key, _) in &listing.objects {
            if let Some(first) = page_of_key(key) {
                report.pages += 1;
                let found = check_page(reading, key, first).await?;
                report.findings.extend(found);
            }
        }
        match listing.objects.into_iter().next_back() {
            Some((last, _)) if listing.more => after = Some(last),
            _ => return Ok(()),
        }
    }
}

/// What is wrong with a page.
async fn check_page(reading: &Reading, key: &ObjectKey, first: Seq) -> Result<Option<String>> {
    let newest = reading.state().last_seq;
    if page_end(first) > newest {
        return Ok(Some(format!(
            "{key} holds records after the newest one, {newest}: records were removed from the bucket, or it is no page of this ledger; restore \
             what is missing from a copy"
        )));
    }
    let bytes = match reading.store.get_all(key, PAGE_MAX_BYTES).await {
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
        match reading.index.line(line.seq())? {
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
