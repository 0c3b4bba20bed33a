internal import AurumCore

#if !FUZZ_ONE_MODULE
    internal import Events
#endif

/// libFuzzer's entry: any bytes as a body of any format. A crash, a hang or a count that does not add up is a finding.
///
/// The first byte chooses the format; the rest is the body. `make fuzz` builds and runs it.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count > 0 else { return 0 }
    let format = WireFormat.allCases[Int(bytes[0]) % WireFormat.allCases.count]
    let body = UnsafeRawBufferPointer(start: bytes + 1, count: count - 1)
    let receivedAt = Timestamp(milliseconds: 1_795_262_400_000)
    let result = ContractChecker().verdicts(body, format: format, receivedAt: receivedAt)
    if case .success(let verdicts) = result, format == .ndjson {
        let lines = body.split(separator: 0x0a).count { line in line.contains { ![0x20, 0x09, 0x0d].contains($0) } }
        precondition(verdicts.count == lines, "\(lines) lines gave \(verdicts.count) events")
    }
    _ = SegmentEnvelope.writeKey(of: body)
    return 0
}
