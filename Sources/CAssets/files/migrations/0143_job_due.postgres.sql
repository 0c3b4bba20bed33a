-- contract: 0142
-- An older release finds what is due, parked or waiting through the new indexes, or counts what waits more slowly.
DROP INDEX jobs_due;
DROP INDEX jobs_parked;
DROP INDEX jobs_room;
