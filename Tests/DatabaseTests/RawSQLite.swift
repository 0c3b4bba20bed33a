import GRDB

/// Statements on a SQLite file past everything of ours, whatever its schema.
enum RawSQLite {
    static func run(_ sql: String, at path: String) throws {
        try DatabaseQueue(path: path).write { try $0.execute(sql: sql) }
    }
}
