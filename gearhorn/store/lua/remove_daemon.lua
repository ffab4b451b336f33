-- Remove a daemon's entry if its renewal number is still the same.
-- KEYS: those of store
-- ARGV: those of daemons, a renewal number
-- Returns 1 if there is no entry now, else 0.
-- include daemons
if renewal ~= 0 and renewal ~= tonumber(given[2]) then return 0 end
discard()
return 1
