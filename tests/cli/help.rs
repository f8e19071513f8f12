//! What `--help` says of each reading verb. `TRYCMD=overwrite` writes the files anew.

use crate::common::program;

#[test]
fn the_help_of_each_verb_is_as_written() {
    trycmd::TestCases::new()
        .register_bin("annals", program())
        .env("COLUMNS", "100")
        .env("ANNALS_LOG", "")
        .case("tests/cli/help/*.trycmd");
}
