-- contract: 0142
-- An older release finds what is due through the longer index just as well.
DROP INDEX jobs_due;
