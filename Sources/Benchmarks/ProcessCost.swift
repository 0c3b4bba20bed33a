internal import AurumCore
internal import Foundation

/// What this process used, and what others took of the machine meanwhile.
struct ProcessCost {
    /// User and system time of all threads, seconds.
    private(set) var cpuSeconds = 0.0
    private(set) var wallSeconds = 0.0
    /// Cores that other processes kept busy; nil where /proc does not say.
    private(set) var otherCores: Double?

    /// Above this a rate by the wall clock says more about the neighbours than about us.
    static let otherCoresMax = 0.2

    private let cpuStart = ProcessCost.cpuNow
    private let wallStart = ContinuousClock.now
    private let busyStart = ProcessCost.machineBusySeconds

    /// Takes the difference to its making.
    mutating func stop() {
        cpuSeconds = Self.cpuNow - cpuStart
        wallSeconds = max(1e-9, (ContinuousClock.now - wallStart).seconds)
        if let from = busyStart, let to = Self.machineBusySeconds {
            otherCores = max(0, (to - from - cpuSeconds) / wallSeconds)
        }
    }

    /// Why a rate of this span is not judged; nil on a quiet machine.
    var disturbance: String? {
        guard let otherCores, otherCores > Self.otherCoresMax else { return nil }
        return String(format: "other processes took %.2f cores", otherCores)
    }

    private static var cpuNow: Double {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) * 1e-6 }
        return seconds(usage.ru_utime) + seconds(usage.ru_stime)
    }

    private static var machineBusySeconds: Double? {
        guard let data = FileManager.default.contents(atPath: "/proc/stat"),
            let line = String(decoding: data, as: UTF8.self).split(separator: "\n").first
        else { return nil }
        let fields = line.split(separator: " ").dropFirst().compactMap { Double($0) }
        guard fields.count >= 8 else { return nil }
        return (fields[0] + fields[1] + fields[2] + fields[5] + fields[6]) / 100
    }

    /// CPU time of the calling thread, nanoseconds: other work on the machine does not count.
    static var threadNanoseconds: Double {
        Double(ThreadTime.nanoseconds)
    }
}

extension [Double] {
    /// The middle value; 0 of nothing.
    var median: Double {
        guard !isEmpty else { return 0 }
        let sorted = sorted()
        return (sorted[(count - 1) / 2] + sorted[count / 2]) / 2
    }
}

enum ProcessMemory {
    /// Resident memory of this process; 0 where the system does not say.
    static var residentBytes: Int {
        let text = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8)) ?? ""
        let pages = text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        return pages * Int(sysconf(Int32(_SC_PAGESIZE)))
    }
}
