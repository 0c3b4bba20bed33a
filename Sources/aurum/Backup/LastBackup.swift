internal import AurumCore
internal import Database
internal import Foundation

/// What is known of the newest backup of a site: a small file in its data folder, which health reads.
struct LastBackup: Sendable {
    private let path: String

    init(in dataFolder: String) { path = dataFolder + "/last-backup.json" }

    /// nil when nobody made one.
    var figures: BackupFigures? {
        FileManager.default.contents(atPath: path).flatMap { try? JSONDecoder().decode(BackupFigures.self, from: $0) }
    }

    /// Whoever cannot be told finds the backup before as the last one, and warns too early.
    func note(_ figures: BackupFigures) {
        try? JSONEncoder().encode(figures).write(to: URL(fileURLWithPath: path), options: .atomic)
    }

    /// Every byte of the backup with this list was read; says so when it is the newest.
    func checked(_ manifest: BackupManifest, isWhole: Bool) {
        guard let known = figures, known.madeAt.rfc3339 == manifest.createdAt else { return }
        note(BackupFigures(madeAt: known.madeAt, isVerified: isWhole))
    }
}
