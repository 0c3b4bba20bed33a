internal import Foundation

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// Room on a volume.
package struct DiskSpace: Sendable, Equatable {
    package var freeBytes: Int
    package var totalBytes: Int

    package init(freeBytes: Int, totalBytes: Int) { (self.freeBytes, self.totalBytes) = (freeBytes, totalBytes) }

    /// - Parameters:
    ///   - free: blocks that are free, those included that are reserved.
    ///   - available: blocks that anybody may take.
    ///   - bytes: of a block.
    package init(blocks: UInt64, free: UInt64, available: UInt64, bytes: UInt64) {
        let used = blocks - min(free, blocks)
        self.init(freeBytes: Int(clamping: available * bytes), totalBytes: Int(clamping: (used + available) * bytes))
    }

    /// From 0 to 1.
    package var freeShare: Double { totalBytes > 0 ? Double(freeBytes) / Double(totalBytes) : 1 }

    /// Of the volume that holds `path`, as `df` counts: without what is reserved for others, of which nothing is ever
    /// free. Capture measures the same. nil when nobody can say.
    package static func of(_ path: String) -> DiskSpace? {
        var status = statvfs()
        guard statvfs(path, &status) == 0 else { return nil }
        return DiskSpace(
            blocks: UInt64(status.f_blocks), free: UInt64(status.f_bfree), available: UInt64(status.f_bavail),
            bytes: UInt64(status.f_frsize))
    }

    /// Of several volumes the one that is fullest.
    package static func fullest(of paths: [String]) -> DiskSpace? {
        paths.compactMap { of($0) }.min { $0.freeShare < $1.freeShare }
    }
}

/// Whether writes that can wait may begin: exports, imports, replays and back-fills. They are refused while the disk is
/// nearly full, so that what room is left is for sales and consent, which are never asked.
package struct BulkWrites: Sendable {
    /// Share of the volume that must be free, unless it is set.
    package static let freeShareMin = 0.05

    /// Too little is free.
    package struct Refused: Error, Equatable, Sendable {
        package let space: DiskSpace
        package let freeShareMin: Double

        package init(space: DiskSpace, freeShareMin: Double = BulkWrites.freeShareMin) {
            (self.space, self.freeShareMin) = (space, freeShareMin)
        }

        package var sentence: String {
            let free = String(format: "%.1f", space.freeShare * 100)
            let least = String(format: "%.0f", freeShareMin * 100)
            return "Only \(free) % of the disk is free. Exports, imports and replays are taken again above \(least) %."
        }
    }

    private let disk: @Sendable () -> DiskSpace?

    /// Of the volume, what must be free.
    package let freeShareMin: Double

    package init(freeShareMin: Double = Self.freeShareMin, disk: @escaping @Sendable () -> DiskSpace? = { nil }) {
        (self.freeShareMin, self.disk) = (freeShareMin, disk)
    }

    package func check() throws(Refused) {
        if let space = disk(), space.freeShare < freeShareMin {
            throw Refused(space: space, freeShareMin: freeShareMin)
        }
    }
}
