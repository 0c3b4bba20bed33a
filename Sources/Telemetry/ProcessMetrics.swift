internal import Foundation

#if canImport(Glibc)
    internal import Glibc
#endif

/// Figures of this process, read from the kernel when somebody asks.
package struct ProcessMetrics: Sendable {
    private let resident: Gauge
    private let cpu: Gauge
    private let files: Gauge

    package init(registry: MetricRegistry, startedAt seconds: Double, version: String, commit: String) {
        resident = registry.gauge(.processResidentBytes)
        cpu = registry.gauge(.processCPUSeconds)
        files = registry.gauge(.processOpenFiles)
        registry.gauge(.processStartTime).set(seconds)
        registry.gauge(.buildInfo, version, commit).set(1)
    }

    /// Reads resident memory, CPU time and open files.
    package func refresh() {
        resident.set(Double(Self.residentBytes ?? 0))
        cpu.set(Self.cpuSeconds)
        if let names = try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd") {
            files.set(Double(names.count))
        }
    }

    /// Resident bytes of this process; nil where the kernel does not say.
    package static var residentBytes: Int? {
        guard let text = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8) else { return nil }
        let fields = text.split(separator: " ")
        guard fields.count > 1, let pages = Int(fields[1]) else { return nil }
        return pages * Int(sysconf(Int32(_SC_PAGESIZE)))
    }

    /// User and system time of all threads, in seconds.
    package static var cpuSeconds: Double {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }
}
