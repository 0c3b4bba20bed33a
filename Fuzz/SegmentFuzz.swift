internal import AurumCore
internal import Events
internal import Foundation

/// libFuzzer's entry: any bytes as a segment file whose checksums are right. A crash, a hang or memory without bound is
/// a finding; an error is what damage should give.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    try? SegmentSeeds.readAll(SegmentMender.mended(Array(UnsafeBufferPointer(start: bytes, count: count))))
    return 0
}

/// Writes whole segments to start from into the folder that `Fuzz/run` names.
@_cdecl("LLVMFuzzerInitialize")
public func fuzzInitialize(_ count: UnsafeMutableRawPointer, _ arguments: UnsafeMutableRawPointer) -> CInt {
    guard let folder = ProcessInfo.processInfo.environment["AURUM_FUZZ_SEEDS"], let seeds = try? SegmentSeeds.make()
    else { return 0 }
    for (number, seed) in seeds.enumerated() {
        try? Data(seed).write(to: URL(fileURLWithPath: "\(folder)/seed-\(number)"))
    }
    return 0
}
