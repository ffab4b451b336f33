-- Remove a daemon's entry, if it is there.
-- KEYS, ARGV: those of daemons
-- include daemons
discard()
return 1
