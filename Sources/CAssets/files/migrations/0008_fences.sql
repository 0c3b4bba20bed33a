-- The one sequence of fences of this database: every number up to `reserved` may have been handed out.
CREATE TABLE fences (
    name TEXT PRIMARY KEY,
    reserved INTEGER NOT NULL CHECK (reserved >= 0)
) STRICT;
INSERT INTO fences (name, reserved) VALUES ('fence', 0);

-- Work that one holder of a lock does at a time, and the largest fence that has written under its name.
CREATE TABLE fence_guards (
    name TEXT PRIMARY KEY,
    fence INTEGER NOT NULL CHECK (fence >= 0)
) STRICT;
