//! Bytes to key, timestamp and wanted columns. (stub)
