//! Apache Kafka's jars, through Maven, into `target/kafka/libs`.
//!
//! Fetches them once; a stamp beside them names the versions, so a second call costs nothing. Next room: `broker`, which
//! starts what lies there.

use super::FETCH_LIMIT;
use crate::failure::{Doing, Failure, Outcome};
use crate::{places, shell};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The broker and what prints its log (`slf4j-simple` 2.x prints none).
const ARTIFACTS: [(&str, &str, &str); 2] =
    [("org.apache.kafka", "kafka_2.13", "4.3.1"), ("org.slf4j", "slf4j-simple", "1.7.36")];

/// Whether the jars of these versions are there.
pub fn is_there() -> bool {
    fs::read_to_string(stamp()).is_ok_and(|text| text == pom())
}

/// Brings the jars, if they are not there.
///
/// # Errors
/// If Maven fails or takes too long; its own words are on the terminal.
pub fn fetch() -> Outcome<()> {
    if is_there() {
        return Ok(());
    }
    let folder = places::target().join("kafka");
    fs::create_dir_all(&folder).at("create", &folder)?;
    let description = folder.join("pom.xml");
    fs::write(&description, pom()).at("write", &description)?;
    let mut maven = Command::new("mvn");
    maven.current_dir(&folder).args(["--quiet", "--batch-mode", "dependency:copy-dependencies"]);
    maven.arg(format!("-DoutputDirectory={}", places::kafka_libs().display()));
    eprintln!("  fetching Apache Kafka {}", ARTIFACTS[0].2);
    shell::run_within(&mut maven, FETCH_LIMIT)?;
    let broker = places::kafka_libs().join(format!("{}-{}.jar", ARTIFACTS[0].1, ARTIFACTS[0].2));
    if !broker.exists() {
        return Err(Failure::Job(format!("maven ended well, but `{}` is not there", broker.display())));
    }
    // Last, so that a fetch that was cut off is done again.
    fs::write(stamp(), pom()).at("write", &stamp())
}

fn stamp() -> PathBuf {
    places::kafka_libs().join("fetched")
}

fn pom() -> String {
    let dependency = |(group, artifact, version): &(&str, &str, &str)| {
        format!(
            "    <dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
             <version>{version}</version></dependency>\n"
        )
    };
    let dependencies: String = ARTIFACTS.iter().map(dependency).collect();
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n  <modelVersion>4.0.0</modelVersion>\n  \
         <groupId>tidegate</groupId>\n  <artifactId>test-broker</artifactId>\n  <version>1</version>\n  \
         <dependencies>\n{dependencies}  </dependencies>\n</project>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::pom;

    #[test]
    fn the_description_names_broker_and_log() {
        let pom = pom();
        assert!(pom.contains("<artifactId>kafka_2.13</artifactId><version>4.3.1</version>"), "{pom}");
        assert!(pom.contains("<artifactId>slf4j-simple</artifactId><version>1.7.36</version>"), "{pom}");
    }
}
