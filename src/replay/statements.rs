//! Where the statements end in what mysqlbinlog prints. Pure.
//!
//! `mysql` executes what it has when its input ends, also half a statement (measured on 9.7.4). Who pipes to it must therefore end at a
//! statement's end, also when killed: what is written at once has to be whole.

/// What no statement of a binlog ends with, in `mysqlbinlog`'s output.
const DELIMITER_WORD: &[u8] = b"DELIMITER ";
/// A longer statement is passed on in parts: it cannot be written at once in any case.
const STATEMENT_MAX: usize = 16 << 20;

/// Cuts output into whole statements.
#[derive(Debug)]
pub struct Statements {
    buffer: Vec<u8>,
    /// Where the line begins that has not ended yet.
    line: usize,
    /// What was looked through.
    seen: usize,
    /// Ends of whole statements, in the buffer.
    ends: Vec<usize>,
    delimiter: Vec<u8>,
}

impl Default for Statements {
    fn default() -> Statements {
        Statements {
            buffer: Vec::new(),
            line: 0,
            seen: 0,
            ends: Vec::new(),
            delimiter: b";".to_vec(),
        }
    }
}

impl Statements {
    /// Takes the next output.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        while let Some(len) = self.buffer[self.seen..].iter().position(|&b| b == b'\n') {
            let end = self.seen + len;
            let line = &self.buffer[self.line..end];
            (self.line, self.seen) = (end + 1, end + 1);
            if let Some(word) = line.strip_prefix(DELIMITER_WORD) {
                self.delimiter = word.trim_ascii().to_vec();
            } else if !line.ends_with(&self.delimiter) {
                continue;
            }
            self.ends.push(end + 1);
        }
        self.seen = self.buffer.len();
        if self.seen - self.ends.last().copied().unwrap_or(0) > STATEMENT_MAX {
            self.ends.push(self.seen);
            self.line = self.seen;
        }
    }

    /// Gives whole statements of at most `max` bytes together, or a single one that is longer; `each` says whether to go on.
    ///
    /// # Errors
    /// Those of `each`.
    pub fn drain<E>(
        &mut self,
        max: usize,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut from = 0;
        let mut last: Option<usize> = None;
        for &end in &self.ends {
            if let Some(whole) = last
                && end - from > max
            {
                each(&self.buffer[from..whole])?;
                from = whole;
            }
            last = Some(end);
        }
        let Some(end) = last else { return Ok(()) };
        each(&self.buffer[from..end])?;
        self.ends.clear();
        self.buffer.drain(..end);
        self.seen -= end;
        self.line -= end;
        Ok(())
    }

    /// What is left: the end of the output, or half a statement.
    pub fn rest(&self) -> &[u8] {
        &self.buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "/*!50530 SET @@SESSION.PSEUDO_SLAVE_MODE=1*/;\nDELIMITER /*!*/;\n# at 4\nBINLOG '\nAAA\n'/*!*/;\n\
        INSERT INTO t VALUES ('a;\nb')\n/*!*/;\nCOMMIT/*!*/;\nDELIMITER ;\n# End of log file\n/*!50003 SET X=1*/;\n";

    fn pieces(chunk: usize, max: usize) -> (Vec<String>, String) {
        let mut statements = Statements::default();
        let mut out = Vec::new();
        for part in OUTPUT.as_bytes().chunks(chunk) {
            statements.push(part);
            let each = |bytes: &[u8]| {
                out.push(String::from_utf8(bytes.to_vec()).expect("text"));
                Ok::<_, ()>(())
            };
            statements.drain(max, each).expect("none fails");
        }
        let rest = String::from_utf8(statements.rest().to_vec()).expect("text");
        (out, rest)
    }

    #[test]
    fn what_is_given_ends_where_a_statement_does_however_it_comes() {
        let (one_by_one, rest) = pieces(usize::MAX, 1);
        assert_eq!(
            one_by_one,
            [
                "/*!50530 SET @@SESSION.PSEUDO_SLAVE_MODE=1*/;\n",
                "DELIMITER /*!*/;\n",
                "# at 4\nBINLOG '\nAAA\n'/*!*/;\n",
                "INSERT INTO t VALUES ('a;\nb')\n/*!*/;\n",
                "COMMIT/*!*/;\n",
                "DELIMITER ;\n",
                "# End of log file\n/*!50003 SET X=1*/;\n",
            ]
        );
        assert_eq!(rest, "");
        for chunk in 1..OUTPUT.len() {
            let (given, rest) = pieces(chunk, 60);
            assert_eq!(given.concat() + &rest, OUTPUT);
            let ends: Vec<&String> = one_by_one.iter().collect();
            for piece in &given {
                assert!(
                    ends.iter().any(|end| piece.ends_with(end.as_str())),
                    "{piece:?}"
                );
            }
        }
    }

    #[test]
    fn half_a_statement_is_kept_back_unless_it_is_too_long_to_keep() {
        let mut statements = Statements::default();
        statements.push(b"DELIMITER /*!*/;\nDROP TABLE a, b");
        let mut given = Vec::new();
        let mut take = |bytes: &[u8]| {
            given.extend_from_slice(bytes);
            Ok::<_, ()>(())
        };
        statements.drain(100, &mut take).expect("none fails");
        statements.push(b";\n");
        statements.drain(100, &mut take).expect("none fails");
        assert_eq!(statements.rest(), b"DROP TABLE a, b;\n");
        statements.push(&vec![b'x'; STATEMENT_MAX]);
        statements.drain(100, &mut take).expect("none fails");
        assert!(statements.rest().is_empty());
        assert_eq!(given.len(), 17 + 17 + STATEMENT_MAX);
    }
}
