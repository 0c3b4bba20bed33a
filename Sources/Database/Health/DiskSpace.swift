internal import Foundation

/// Room on a volume.
package struct DiskSpace: Sendable, Equatable {
    package var freeBytes: Int
    package var totalBytes: Int

    package init(freeBytes: Int, totalBytes: Int) { (self.freeBytes, self.totalBytes) = (freeBytes, totalBytes) }

    /// From 0 to 1.
    package var freeShare: Double { totalBytes > 0 ? Double(freeBytes) / Double(totalBytes) : 1 }

    /// Of the volume that holds `path`; nil when nobody can say.
    package static func of(_ path: String) -> DiskSpace? {
        guard let attributes = try? FileManager.default.attributesOfFileSystem(forPath: path),
            let free = attributes[.systemFreeSize] as? NSNumber, let total = attributes[.systemSize] as? NSNumber
        else { return nil }
        return DiskSpace(freeBytes: free.intValue, totalBytes: total.intValue)
    }

    /// Of several volumes the one that is fullest.
    package static func fullest(of paths: [String]) -> DiskSpace? {
        paths.compactMap { of($0) }.min { $0.freeShare < $1.freeShare }
    }
}

/// Whether writes that can wait may begin: exports, imports, replays and back-fills. They are refused while the disk is
/// nearly full, so that what room is left is for sales and consent, which are never asked.
package struct BulkWrites: Sendable {
    /// Share of the volume that must be free.
    package static let freeShareMin = 0.05

    /// Too little is free.
    package struct Refused: Error, Equatable, Sendable {
        package let space: DiskSpace

        package init(space: DiskSpace) { self.space = space }

        package var sentence: String {
            let free = String(format: "%.1f", space.freeShare * 100)
            let least = String(format: "%.0f", BulkWrites.freeShareMin * 100)
            return "Only \(free) % of the disk is free. Exports, imports and replays are taken again above \(least) %."
        }
    }

    private let disk: @Sendable () -> DiskSpace?

    package init(disk: @escaping @Sendable () -> DiskSpace? = { nil }) { self.disk = disk }

    package func check() throws(Refused) {
        if let space = disk(), space.freeShare < Self.freeShareMin { throw Refused(space: space) }
    }
}
