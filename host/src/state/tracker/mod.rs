//! Finds the pages of a linear memory that changed since the last barrier. (stub)
