//! Names of Kafka's Java client and what to write instead: most examples on the web use them. Pure data.

/// What to write instead of a Java name.
enum Instead {
    /// librdkafka's name for the same thing, and how values differ.
    Property(&'static str, &'static str),
    /// Something else, in words.
    Words(&'static str),
}

use Instead::{Property, Words};

const SERDE: Instead = Words("records are bytes to the host and JSON to the plugin; leave it out");
const GROUP: Instead = Words("splits are assigned by the job itself, not by a consumer group; leave it out");
const TRUST: Instead = Words("write the authority's certificate as PEM and set `ca_file` of the connection");
const KEYSTORE: Instead =
    Words("write certificate and key as PEM and set `ssl.certificate.location` and `ssl.key.location`");
const METRICS: Instead = Words("the host has its own metrics; leave it out");
const CODE: Instead = Words("it names a Java class; leave it out");
const TLS: Instead = Words("OpenSSL's own choice is used; leave it out");

static NAMES: &[(&str, Instead)] = &[
    ("buffer.memory", Property("queue.buffering.max.kbytes", ", in KiB instead of bytes")),
    ("fetch.max.wait.ms", Property("fetch.wait.max.ms", "")),
    ("max.request.size", Property("message.max.bytes", "")),
    ("metadata.max.age.ms", Property("topic.metadata.refresh.interval.ms", "")),
    ("request.timeout.ms", Property("socket.timeout.ms", "")),
    ("default.api.timeout.ms", Property("socket.timeout.ms", "")),
    ("compression.gzip.level", Property("compression.level", "")),
    ("compression.lz4.level", Property("compression.level", "")),
    ("compression.zstd.level", Property("compression.level", "")),
    ("max.block.ms", Words("a full queue is back-pressure here, never an error; leave it out")),
    ("delivery.timeout.ms", Words("a checkpoint waits for its records; set `timeout` of `[checkpoint]`")),
    ("retries", Words("an idempotent producer repeats until the checkpoint's `timeout`; leave it out")),
    ("transaction.two.phase.commit.enable", Words("the engine's protocol does not use it; leave it out")),
    ("partitioner.class", Words("messages are partitioned by murmur2, as Java does; leave it out")),
    ("partitioner.ignore.keys", Words("set `key = \"none\"` of the sink")),
    ("partitioner.adaptive.partitioning.enable", Words("messages are partitioned by murmur2; leave it out")),
    ("partitioner.availability.timeout.ms", Words("messages are partitioned by murmur2; leave it out")),
    ("max.poll.records", Words("set `rows` of `[batch]`")),
    ("max.poll.interval.ms", GROUP),
    ("session.timeout.ms", GROUP),
    ("heartbeat.interval.ms", GROUP),
    ("partition.assignment.strategy", GROUP),
    ("group.instance.id", GROUP),
    ("group.remote.assignor", GROUP),
    (
        "auto.commit.interval.ms",
        Words("positions are in the job's store, and published with each checkpoint; leave it out"),
    ),
    ("exclude.internal.topics", Words("topics are named one by one in `topics`; leave it out")),
    ("allow.auto.create.topics", Words("create the topics before the job; leave it out")),
    ("key.serializer", SERDE),
    ("value.serializer", SERDE),
    ("key.deserializer", SERDE),
    ("value.deserializer", SERDE),
    ("interceptor.classes", CODE),
    ("metric.reporters", METRICS),
    ("metrics.num.samples", METRICS),
    ("metrics.recording.level", METRICS),
    ("auto.include.jmx.reporter", METRICS),
    ("enable.metrics.push", METRICS),
    ("security.providers", CODE),
    ("send.buffer.bytes", Words("the system's default is used; leave it out")),
    ("receive.buffer.bytes", Words("the system's default is used; leave it out")),
    ("client.dns.lookup", Words("all addresses of a name are tried; leave it out")),
    ("sasl.jaas.config", Words("set `sasl = { mechanism, username, password }` of the connection")),
    ("sasl.client.callback.handler.class", CODE),
    ("sasl.login.callback.handler.class", CODE),
    ("sasl.login.class", CODE),
    ("ssl.truststore.location", TRUST),
    ("ssl.truststore.password", TRUST),
    ("ssl.truststore.type", TRUST),
    ("ssl.truststore.certificates", TRUST),
    ("ssl.keystore.location", KEYSTORE),
    ("ssl.keystore.password", KEYSTORE),
    ("ssl.keystore.type", KEYSTORE),
    ("ssl.keystore.key", KEYSTORE),
    ("ssl.keystore.certificate.chain", KEYSTORE),
    ("ssl.protocol", TLS),
    ("ssl.provider", TLS),
    ("ssl.enabled.protocols", TLS),
    ("ssl.keymanager.algorithm", TLS),
    ("ssl.trustmanager.algorithm", TLS),
    ("ssl.secure.random.implementation", TLS),
    ("socket.connection.setup.timeout.max.ms", Property("socket.timeout.ms", "")),
];

/// What to write instead of a Java name; `None`: it is not one.
pub(super) fn advice(name: &str) -> Option<String> {
    let (_, instead) = NAMES.iter().find(|(java, _)| *java == name)?;
    Some(match instead {
        Property(librdkafka, difference) => format!("here it is `{librdkafka}`{difference}"),
        Words(words) => (*words).to_owned(),
    })
}

/// The librdkafka names that advice points to.
#[cfg(test)]
pub(super) fn targets() -> impl Iterator<Item = &'static str> {
    NAMES.iter().filter_map(|(_, instead)| match instead {
        Property(librdkafka, _) => Some(*librdkafka),
        Words(_) => None,
    })
}
