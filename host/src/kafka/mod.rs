//! Kafka: the only door to rdkafka. (stub)
