import AurumCore
import Database
import Foundation
import TestSupport
import Testing

/// Both engines have one logical schema: tables, columns with their types, keys, indexes and rules.
@Suite struct SchemaTests {
    /// What is on one engine alone, as a line of the comparison says it. May only shrink.
    private static let exceptions: [Dialect: Set<String>] = [
        .sqlite: [
            // 0142 and 0143: every index here ends with seq by itself, and one that the other engine's planner would
            // take for a short cut does no harm.
            "index jobs priority, due_at WHERE state = 'scheduled'",
            "index jobs org, concurrency_key, place WHERE state = 'parked' AND ready_at IS NULL",
            "index jobs org WHERE state IN 'waiting', 'scheduled', 'parked'",
        ],
        .postgres: [
            // 0142: claims lock the first jobs in their order, and must find them in it.
            "index jobs priority, due_at, seq WHERE state = 'scheduled'",
            "index jobs org, concurrency_key, place, seq WHERE state = 'parked' AND ready_at IS NULL",
            "index jobs org WHERE finished_at IS NULL AND lease_until IS NULL",
            // 0120: writes run side by side, so the relay needs the order of their transactions.
            "column outbox.xid unknown xid8 NOT NULL DEFAULT pg_current_xact_id", "index outbox xid, seq",
            // 0122: what became of a transaction is asked of a server, while it is the same; no table of record.
            "column database_incarnation.one integer NOT NULL", "column database_incarnation.id text NOT NULL",
            "primary key database_incarnation one", "check database_incarnation one = 1",
        ],
    ]

    @Test func `after all migrations both engines have the same tables, columns, keys, indexes and rules`()
        async throws
    {
        let (one, other) = (try OpenDatabase(on: .sqlite), try OpenDatabase(on: .postgres))
        defer { withExtendedLifetime((one, other)) {} }
        let (sqlite, postgres) = (try await schema(one.database), try await schema(other.database))
        // Fewer would mean that something was not read.
        #expect(sqlite.count > 1000 && postgres.count > 1000, "\(sqlite.count) and \(postgres.count) lines")
        for kind in ["column ", "primary key ", "unique ", "index ", "foreign key ", "check ", "identity "] {
            for lines in [sqlite, postgres] { #expect(lines.contains { $0.hasPrefix(kind) }, "nothing begins \(kind)") }
        }
        for (engine, own, other) in [(Dialect.sqlite, sqlite, postgres), (.postgres, postgres, sqlite)] {
            let known = Self.exceptions[engine] ?? []
            let alone = own.subtracting(other)
            for line in alone.subtracting(known).sorted() { Issue.record("only on \(engine): \(line)") }
            for line in known.subtracting(alone).sorted() {
                Issue.record("no longer only on \(engine), take it off the list: \(line)")
            }
        }
    }

    @Test func `a column, a rule or an index that one engine lacks is seen`() async throws {
        let open = try OpenDatabase(on: .sqlite)
        defer { withExtendedLifetime(open) {} }
        let before = try await schema(open.database)
        try await open.database.write("test.change") { tx in
            try tx.run("ALTER TABLE leads ADD COLUMN canary INTEGER CHECK (canary BETWEEN 1 AND 5)")
            try tx.run("CREATE UNIQUE INDEX leads_canary ON leads (org, canary) WHERE canary IS NOT NULL")
        }
        let after = try await schema(open.database)
        #expect(
            after.subtracting(before).sorted() == [
                "check leads canary >= 1 AND canary <= 5", "column leads.canary integer",
                "unique leads org, canary WHERE canary IS NOT NULL",
            ])
        #expect(before.subtracting(after).isEmpty)
    }

    // MARK: Reading a schema

    /// Everything that makes a schema, one line each, in words that both engines share.
    private func schema(_ database: Database) async throws -> Set<String> {
        let lines = try await database.read("test.schema") { tx in
            var lines: [String] = []
            for statement in [Self.columns, Self.keys, Self.indexes, Self.references] {
                lines += try tx.values(String.self, statement)
            }
            if tx.dialect == .postgres {
                for statement in [Self.rules, Self.counting] { lines += try tx.values(String.self, statement) }
            } else {
                for table in try tx.all(MadeTable.self, Self.made) { lines += table.rulesAndCounting }
            }
            return lines
        }
        return Set(lines.map(Self.plain))
    }

    /// A line without what the engines write differently: casts, brackets, BETWEEN, lists.
    private static func plain(_ line: String) -> String {
        line.replacing(/'(-?\d+)'::bigint/) { $0.output.1 }
            .replacing(/::(text|bigint)/, with: "")
            .replacing(/\b(\w+) BETWEEN (\d+) AND (\d+)/) {
                "\($0.output.1) >= \($0.output.2) AND \($0.output.1) <= \($0.output.3)"
            }
            .replacing("<> ALL", with: "NOT IN").replacing("= ANY", with: "IN").replacing("ARRAY", with: "")
            .replacing(/["()\[\]]/, with: " ")
            .replacing(/\s+/, with: " ").replacing(" ,", with: ",")
            .trimmingCharacters(in: .whitespaces)
    }

    /// Types by the rule of `PostgresText`: BIGINT is INTEGER, BYTEA is BLOB, TEXT sorts by its bytes.
    private static let columns: SQLStatement = .dialect(
        sqlite: """
            SELECT 'column ' || t.name || '.' || c.name || ' '
                || CASE c.type WHEN 'INTEGER' THEN 'integer' WHEN 'TEXT' THEN 'text' WHEN 'BLOB' THEN 'bytes'
                    WHEN 'REAL' THEN 'real' ELSE 'unknown ' || c.type END
                || CASE WHEN c."notnull" = 1 OR c.pk > 0 THEN ' NOT NULL' ELSE '' END
                || COALESCE(' DEFAULT ' || c.dflt_value, '')
            FROM sqlite_schema AS t JOIN pragma_table_info(t.name) AS c
            WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'
            """,
        postgres: """
            SELECT 'column ' || t.relname::text || '.' || c.attname::text || ' '
                || CASE format_type(c.atttypid, c.atttypmod) WHEN 'bigint' THEN 'integer' WHEN 'bytea' THEN 'bytes'
                    WHEN 'text' THEN CASE l.collname WHEN 'C' THEN 'text' ELSE 'unknown text of another order' END
                    WHEN 'double precision' THEN 'real'
                    ELSE 'unknown ' || format_type(c.atttypid, c.atttypmod) END
                || CASE WHEN c.attnotnull THEN ' NOT NULL' ELSE '' END
                || COALESCE(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '')
            FROM pg_class t JOIN pg_attribute c ON c.attrelid = t.oid AND c.attnum > 0 AND NOT c.attisdropped
            LEFT JOIN pg_collation l ON l.oid = c.attcollation
            LEFT JOIN pg_attrdef d ON d.adrelid = t.oid AND d.adnum = c.attnum
            WHERE t.relnamespace = current_schema()::regnamespace AND t.relkind = 'r'
            """)

    /// Columns of primary keys, in order.
    private static let keys: SQLStatement = .dialect(
        sqlite: """
            SELECT 'primary key ' || t.name || ' (' || (
                SELECT group_concat(name, ', ')
                FROM (SELECT name FROM pragma_table_info(t.name) WHERE pk > 0 ORDER BY pk)) || ')'
            FROM sqlite_schema AS t WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'
            """,
        postgres: """
            SELECT 'primary key ' || t.relname::text || ' (' || (
                SELECT string_agg(c.attname::text, ', ' ORDER BY k.place)
                FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place)
                JOIN pg_attribute c ON c.attrelid = t.oid AND c.attnum = k.number) || ')'
            FROM pg_class t JOIN pg_index i ON i.indrelid = t.oid AND i.indisprimary
            WHERE t.relnamespace = current_schema()::regnamespace AND t.relkind = 'r'
            """)

    /// All others, with their condition; rules of uniqueness are among them. Names do not matter.
    private static let indexes: SQLStatement = .dialect(
        sqlite: """
            SELECT CASE i."unique" WHEN 1 THEN 'unique ' ELSE 'index ' END || t.name || ' (' || (
                SELECT group_concat(name, ', ') FROM (SELECT name FROM pragma_index_info(i.name) ORDER BY seqno)) || ')'
                || CASE i.partial WHEN 1 THEN (
                    SELECT ' ' || substr(sql, instr(sql, 'WHERE ')) FROM sqlite_schema WHERE name = i.name) ELSE '' END
            FROM sqlite_schema AS t JOIN pragma_index_list(t.name) AS i
            WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' AND i.origin <> 'pk'
            """,
        postgres: """
            SELECT CASE WHEN i.indisunique THEN 'unique ' ELSE 'index ' END || t.relname::text || ' (' || (
                SELECT string_agg(pg_get_indexdef(i.indexrelid, k.place, true), ', ' ORDER BY k.place)
                FROM generate_series(1, i.indnatts::int) AS k (place)) || ')'
                || COALESCE(' WHERE ' || pg_get_expr(i.indpred, i.indrelid), '')
            FROM pg_class t JOIN pg_index i ON i.indrelid = t.oid AND NOT i.indisprimary
            WHERE t.relnamespace = current_schema()::regnamespace AND t.relkind = 'r'
            """)

    /// Foreign keys.
    private static let references: SQLStatement = .dialect(
        sqlite: """
            SELECT 'foreign key ' || t.name || ' (' || group_concat(f."from", ', ') || ') REFERENCES '
                || f."table" || ' (' || group_concat(f."to", ', ') || ')'
                || ' ON UPDATE ' || f.on_update || ' ON DELETE ' || f.on_delete
            FROM sqlite_schema AS t JOIN pragma_foreign_key_list(t.name) AS f
            WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'
            GROUP BY t.name, f.id
            """,
        postgres: """
            SELECT 'foreign key ' || t.relname::text || ' (' || (
                SELECT string_agg(c.attname::text, ', ' ORDER BY k.place)
                FROM unnest(f.conkey) WITH ORDINALITY AS k (number, place)
                JOIN pg_attribute c ON c.attrelid = f.conrelid AND c.attnum = k.number) || ') REFERENCES '
                || other.relname::text || ' (' || (
                SELECT string_agg(c.attname::text, ', ' ORDER BY k.place)
                FROM unnest(f.confkey) WITH ORDINALITY AS k (number, place)
                JOIN pg_attribute c ON c.attrelid = f.confrelid AND c.attnum = k.number) || ') ON UPDATE '
                || CASE f.confupdtype WHEN 'a' THEN 'NO ACTION' ELSE 'unknown ' || f.confupdtype::text END
                || ' ON DELETE '
                || CASE f.confdeltype WHEN 'a' THEN 'NO ACTION' ELSE 'unknown ' || f.confdeltype::text END
            FROM pg_constraint f JOIN pg_class t ON t.oid = f.conrelid JOIN pg_class other ON other.oid = f.confrelid
            WHERE f.contype = 'f' AND t.relnamespace = current_schema()::regnamespace
            """)

    /// CHECK rules of PostgreSQL.
    private static let rules: SQLStatement = """
        SELECT 'check ' || t.relname::text || ' ' || pg_get_expr(r.conbin, r.conrelid)
        FROM pg_constraint r JOIN pg_class t ON t.oid = r.conrelid
        WHERE r.contype = 'c' AND t.relnamespace = current_schema()::regnamespace
        """

    /// Columns of PostgreSQL that count by themselves.
    private static let counting: SQLStatement = """
        SELECT 'identity ' || t.relname::text || '.' || c.attname::text
        FROM pg_class t JOIN pg_attribute c ON c.attrelid = t.oid AND c.attidentity <> ''
        WHERE t.relnamespace = current_schema()::regnamespace AND t.relkind = 'r'
        """

    /// SQLite tells rules and counting columns only by the words that made a table.
    private static let made: SQLStatement = """
        SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
        """
}

/// A table of SQLite as it was made.
private struct MadeTable: RowDecodable, Sendable {
    let name: String
    let sql: String

    init(row: Row) throws { (name, sql) = (try row.get("name"), try row.get("sql")) }

    var rulesAndCounting: [String] {
        sql.matches(of: /(\w+) INTEGER PRIMARY KEY/).map { "identity \(name).\($0.output.1)" }
            + sql.matches(of: /\bCHECK\s*\(/).map { "check \(name) \(Self.bracket(sql[$0.range], in: sql))" }
    }

    /// From the bracket that ends `head` to the one that closes it.
    private static func bracket(_ head: Substring, in text: String) -> Substring {
        let start = text.index(before: head.endIndex)
        var depth = 0
        for index in text[start...].indices {
            if text[index] == "(" { depth += 1 }
            if text[index] == ")" { depth -= 1 }
            if depth == 0 { return text[start...index] }
        }
        return text[start...]
    }
}
