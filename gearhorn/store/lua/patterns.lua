-- Read the patterns of topics with journals.
-- KEYS: those of store
-- ARGV: those of store
-- Returns their version, the patterns in JSON, the identity of the journals' store, and 1 if they are in
--   force.
-- include checks
-- include patterns
return read_patterns()
