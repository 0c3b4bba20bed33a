internal import Foundation

/// The machine a figure was measured on.
package struct MachineFacts: Sendable, Codable, Hashable {
    package var processor: String
    package var cores: Int
    package var memoryMegabytes: Int
    package var kernel: String

    package static var current: MachineFacts {
        let info = ProcFile.read("/proc/cpuinfo") ?? ""
        let model = info.split(separator: "\n").first { $0.hasPrefix("model name") }
        let name = model?.split(separator: ":", maxSplits: 1).last.map { $0.trimmingCharacters(in: .whitespaces) }
        return MachineFacts(
            processor: name ?? "unknown processor", cores: ProcessInfo.processInfo.activeProcessorCount,
            memoryMegabytes: Int(ProcessInfo.processInfo.physicalMemory / 1_048_576),
            kernel: (ProcFile.read("/proc/sys/kernel/osrelease") ?? "unknown").trimmingCharacters(
                in: .whitespacesAndNewlines))
    }

    package var sentence: String { "\(cores) × \(processor), \(memoryMegabytes) MB, kernel \(kernel)" }
}
